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
        "It came after the last round; the next one looks at it.",
        "The next round.",
    )
    HELD_BY_USER = (
        "held_by_user",
        "It is held by its user, and waits until it is released.",
        "``synergy request release``, by its user or an administrator.",
    )
    HELD_BY_ADMIN = (
        "held_by_admin",
        "It is held by an administrator, and waits until it is released.",
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
        "Its user holds as much of the shared quota as the user may.",
        "Servers of this user on the shared quota end.",
    )
    PROJECT_BORROW_LIMIT = (
        "project_borrow_limit",
        "Its account holds as much of the shared quota as it may borrow.",
        "Servers of the account on the shared quota end, or its ``borrow_limit`` is raised.",
    )
    NO_FREE_QUOTA = (
        "no_free_quota",
        "There is not enough quota free.",
        "Servers on the same quota end, or the quota grows.",
    )
    FRAGMENTED = (
        "fragmented",
        "There is enough quota free, but no single host has room for it.",
        "Servers on one host end, or a host is added; Placement is asked again in every round.",
    )
    AWAITING_EXPIRY = (
        "awaiting_expiry",
        "Its quota is lent, and comes back when the borrowers' lifetimes end.",
        "Servers of the borrowers end; what they give back is kept for it.",
    )
    PRIORITY = (
        "priority",
        "It would fit, but the round ended at others before it.",
        "The requests before it start; its own priority grows with its age.",
    )
    RESERVED_FOR_OTHER = (
        "reserved_for_other",
        "It would fit, but what is free is reserved for a request with a higher priority.",
        "The request before it starts. With a lifetime that ends before that it would start now.",
    )
    BACKFILL_WOULD_DELAY = (
        "backfill_would_delay",
        "It would fit, but its lifetime is too long: a request with a higher priority would wait.",
        "The request before it starts; or a shorter lifetime (``synergy:ttl_s``).",
    )
    DISPATCH_RETRY = (
        "dispatch_retry",
        "It could not be handed to Nova, and is tried again soon.",
        "The end of its back-off, ``retry_at``.",
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
        "Nova's conductor has it, and for long nothing was heard of it.",
        "Nova tells of it. It is never sent again; ``on_lost`` of its project may end it.",
    )
    SHARED_QUOTA_DISABLED = (
        "shared_quota_disabled",
        "The private quotas exceed the cloud: nothing is shared now.",
        "Hosts are added or come back, or private quotas are lowered.",
    )
    INVALID_REQUEST = (
        "invalid_request",
        "It asks for something in a form that is not allowed.",
        "Nothing: it is rejected. Correct what the text names, and ask again.",
    )
    USER_WAITING_LIMIT = (
        "user_waiting_limit",
        "As many requests of its user wait as may.",
        "Nothing: it is rejected. Ask again later, or raise ``max_waiting_per_user``.",
    )
    PROJECT_WAITING_LIMIT = (
        "project_waiting_limit",
        "As many requests of its project wait as may.",
        "Nothing: it is rejected. Ask again later, or raise ``max_waiting``.",
    )
    NO_TRUST = (
        "no_trust",
        "Its token would not last until it starts, and no trust can be made with it.",
        "Nothing: it is rejected. Ask with a token that may make trusts, such as a password's.",
    )
    OWNER_GONE = (
        "owner_gone",
        "Its user or its project was deleted or disabled.",
        "Nothing: it is cancelled.",
    )
    CANCELLED = (
        "cancelled",
        "It was cancelled.",
        "Nothing: somebody with the right to do so cancelled it.",
    )
    DELETED_BY_USER = (
        "deleted_by_user",
        "Its server was deleted while it waited.",
        "Nothing: it is cancelled.",
    )
    UNREADABLE = (
        "unreadable",
        "Its message cannot be read, and is kept for a person.",
        "``synergy request release``, once what the text names is corrected.",
    )
    NO_VALID_HOST = (
        "no_valid_host",
        "Nova found no host for it.",
        "Nothing: Nova gave up its build. Ask again.",
    )
    RETRIES_EXHAUSTED = (
        "retries_exhausted",
        "Its build failed on every host that Nova tried.",
        "Nothing: Nova gave up its build. Ask again, or look at the hosts.",
    )
    BUILD_ERROR = (
        "build_error",
        "Its build failed.",
        "Nothing: Nova gave up its build. The server's fault says more.",
    )
    LIFETIME_OVER = (
        "lifetime_over",
        "Its lifetime on the shared quota is over.",
        "Nothing: its server is ended as its project's ``expiry_action`` says.",
    )
    EXPIRES_SOON = (
        "expires_soon",
        "The end of its lifetime is near.",
        "Nothing: it ends, unless it is extended.",
    )
    QUEUE_WAITS = (
        "queue_waits",
        "Its lifetime is over, and somebody waits for the shared quota: it ends after a notice.",
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
        "Lifetimes may be extended only while nobody waits for the shared quota.",
        "The requests that wait start.",
    )
    EXTENSIONS_USED_UP = (
        "extensions_used_up",
        "It was extended as often as users may.",
        "An operator extends it, or raises ``max_extensions`` of the project.",
    )
    EXTENSION_TOO_LONG = (
        "extension_too_long",
        "It would live longer than servers of its project may.",
        "Ask for less, or an operator extends it or raises ``max_ttl_s`` of the project.",
    )


def coded(reason: Reason, text: str) -> str:
    """Return what a server's fault and the ledger say: the code first, which programs find there,
    then a sentence."""
    return f"{reason}: {text}"
