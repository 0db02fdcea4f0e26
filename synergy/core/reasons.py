"""The reasons for which a request waits or fails: code, meaning, and what ends the wait.

Why: API, command line, metrics, log and the reference page show the same reasons, so each is
declared once, here. Must not know how a reason is found.
"""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Every waiting request has exactly one; a refused or lost request may have one, too.

    The value is the stable code; `meaning` is the sentence that a user reads; `unblocked_by` is the
    text of the reference page on what must happen.
    """

    meaning: str
    unblocked_by: str

    def __new__(cls, code: str, meaning: str, unblocked_by: str) -> Self:
        """Create a member from its code, its meaning and what unblocks it."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning, member.unblocked_by = meaning, unblocked_by
        return member

    PENDING_EVALUATION = (
        "pending_evaluation",
        "It arrived after the last round; the next round evaluates it.",
        "The next round.",
    )
    HELD_BY_USER = (
        "held_by_user",
        "Its user holds it until it is released.",
        "``synergy request release``, by its user or an administrator.",
    )
    HELD_BY_ADMIN = (
        "held_by_admin",
        "An administrator holds it until it is released.",
        "``synergy request release``, by an administrator.",
    )
    PROJECT_SUSPENDED = (
        "project_suspended",
        "Its project is suspended: no new servers are started for it.",
        "``synergy project set --no-suspended``.",
    )
    NEVER_FITS = (
        "never_fits",
        "It can never fit.",
        "Nothing: it is rejected. Ask for a smaller flavor, or raise the limit that it exceeds.",
    )
    USER_LIMIT = (
        "user_limit",
        "Its user already uses as much of the shared quota as the user may.",
        "Servers of this user on the shared quota end.",
    )
    PROJECT_BORROW_LIMIT = (
        "project_borrow_limit",
        "Its account already uses as much of the shared quota as it may borrow.",
        "Servers of the account on the shared quota end, or its ``borrow_limit`` is raised.",
    )
    NO_FREE_QUOTA = (
        "no_free_quota",
        "Not enough quota is free.",
        "Servers on the same quota end, or the quota grows.",
    )
    FRAGMENTED = (
        "fragmented",
        "Enough quota is free, but no single host has room for it.",
        "Servers on one host end, or a host is added; Placement is asked again in every round.",
    )
    AWAITING_EXPIRY = (
        "awaiting_expiry",
        (
            "Its private quota is lent out, and comes back when the lifetimes of the borrowing "
            "servers end."
        ),
        "The borrowing servers end; the quota that they release is kept for it.",
    )
    PRIORITY = (
        "priority",
        "It would fit, but the round ended at requests ahead of it.",
        "The requests ahead of it start; its own priority grows with its age.",
    )
    RESERVED_FOR_OTHER = (
        "reserved_for_other",
        "It would fit, but the free quota is reserved for a request with a higher priority.",
        (
            "The request ahead of it starts. With a lifetime that ends before then, it would start "
            "now."
        ),
    )
    BACKFILL_WOULD_DELAY = (
        "backfill_would_delay",
        (
            "It would fit, but its lifetime is too long: it would delay a request with a higher "
            "priority."
        ),
        (
            "The request ahead of it starts; or create the server with a shorter lifetime "
            "(``synergy:ttl_s``)."
        ),
    )
    DISPATCH_RETRY = (
        "dispatch_retry",
        "It could not be handed to Nova; the hand-over is retried soon.",
        "Its back-off ends (``retry_at``).",
    )
    BROKER_DOWN = (
        "broker_down",
        "The message broker of Nova does not answer.",
        "The broker answers again.",
    )
    NOVA_DOWN = (
        "nova_down",
        "Nova does not answer.",
        "Nova and Placement answer again; they are asked every few seconds.",
    )
    LOST = (
        "lost",
        "Nova's conductor received it, but has reported no progress for a long time.",
        (
            "Nova reports progress. The request is never sent again; its project's ``on_lost`` may "
            "end it."
        ),
    )
    SHARED_QUOTA_DISABLED = (
        "shared_quota_disabled",
        "The private quotas exceed the capacity of the cloud: nothing is shared now.",
        "Hosts are added or come back, or private quotas are lowered.",
    )
    INVALID_REQUEST = (
        "invalid_request",
        "It asks for something with a value that is not allowed.",
        (
            "Nothing: it is rejected. Correct the value that the text names, and create the server "
            "again."
        ),
    )
    USER_WAITING_LIMIT = (
        "user_waiting_limit",
        "Its user already has the maximum number of waiting requests.",
        (
            "Nothing: it is rejected. Create the server again later, or raise "
            "``max_waiting_per_user``."
        ),
    )
    PROJECT_WAITING_LIMIT = (
        "project_waiting_limit",
        "Its project already has the maximum number of waiting requests.",
        "Nothing: it is rejected. Create the server again later, or raise ``max_waiting``.",
    )
    NO_TRUST = (
        "no_trust",
        "Its token may expire before it starts, and no trust can be created with it.",
        (
            "Nothing: it is rejected. Use a token that can create trusts, such as one issued for a "
            "password."
        ),
    )
    OWNER_GONE = (
        "owner_gone",
        "Its user or its project was deleted or disabled.",
        "Nothing: it is cancelled.",
    )
    CANCELLED = (
        "cancelled",
        "It was cancelled.",
        "Nothing: its user, a manager of the project or an operator cancelled it.",
    )
    DELETED_BY_USER = (
        "deleted_by_user",
        "Its server was deleted while it waited.",
        "Nothing: it is cancelled.",
    )
    UNREADABLE = (
        "unreadable",
        "Its message cannot be read; it is quarantined until an operator acts.",
        "``synergy request release``, after you corrected what the text names.",
    )
    NO_VALID_HOST = (
        "no_valid_host",
        "Nova found no host for it.",
        "Nothing: Nova gave up the build. Create the server again.",
    )
    RETRIES_EXHAUSTED = (
        "retries_exhausted",
        "Its build failed on every host that Nova tried.",
        "Nothing: Nova gave up the build. Create the server again, or check the hosts.",
    )
    BUILD_ERROR = (
        "build_error",
        "Its build failed.",
        "Nothing: Nova gave up the build. The server's fault says more.",
    )
    LIFETIME_OVER = (
        "lifetime_over",
        "Its lifetime on the shared quota is over.",
        "Nothing: its server ends as its project's ``expiry_action`` says.",
    )
    EXPIRES_SOON = (
        "expires_soon",
        "The end of its lifetime is near.",
        "Nothing: it ends, unless it is extended.",
    )
    QUEUE_WAITS = (
        "queue_waits",
        "Its lifetime is over, and requests wait for the shared quota: it ends after a notice.",
        "Nothing: it ends, unless it is extended.",
    )
    KEPT = (
        "kept",
        "Its lifetime is over, but it is locked or has the metadata synergy:keep.",
        "It ends once it is unlocked and the metadata is gone.",
    )
    EXTENSION_NOT_ALLOWED = (
        "extension_not_allowed",
        "Users of its project may not extend lifetimes.",
        "An operator extends it, or sets ``extend_policy`` of the project.",
    )
    EXTENSION_NOT_IDLE = (
        "extension_not_idle",
        "Lifetimes may be extended only while no request waits for the shared quota.",
        "The waiting requests start.",
    )
    EXTENSIONS_USED_UP = (
        "extensions_used_up",
        "Users may not extend it again: it has had the maximum number of extensions.",
        "An operator extends it, or raises ``max_extensions`` of the project.",
    )
    EXTENSION_TOO_LONG = (
        "extension_too_long",
        "It would live longer than its project allows.",
        ("Ask for less, or let an operator extend it or raise ``max_ttl_s`` of the project."),
    )


def coded(reason: Reason, text: str) -> str:
    """Return what a server's fault and the ledger say: the code first, which programs find there,
    then a sentence."""
    return f"{reason}: {text}"
