"""Why a request waits: stable codes, the same in API, CLI, metrics and log."""

from enum import StrEnum


class Reason(StrEnum):
    """Exactly one for every request that waits (DESIGN.md §7)."""

    PENDING_EVALUATION = "pending_evaluation"
    HELD_BY_USER = "held_by_user"
    HELD_BY_ADMIN = "held_by_admin"
    PROJECT_SUSPENDED = "project_suspended"
    NEVER_FITS = "never_fits"
    USER_LIMIT = "user_limit"
    PROJECT_BORROW_LIMIT = "project_borrow_limit"
    NO_FREE_QUOTA = "no_free_quota"
    FRAGMENTED = "fragmented"
    AWAITING_EXPIRY = "awaiting_expiry"
    PRIORITY = "priority"
    DISPATCH_RETRY = "dispatch_retry"
    BROKER_DOWN = "broker_down"
    NOVA_DOWN = "nova_down"
    SHARED_QUOTA_DISABLED = "shared_quota_disabled"
