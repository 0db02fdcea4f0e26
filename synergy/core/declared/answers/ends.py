"""The ends of servers, and what is kept after them."""

from typing import Annotated, Final, TypedDict

from synergy.core.declared.answers.parts import At, Count
from synergy.core.declared.read import OfOperators, Read
from synergy.core.declared.shapes import Also


class ClockShown(TypedDict):
    """Whether the wall clock is believed."""

    trusted: bool
    wall: At
    now: At
    off_s: float


class RefusedEnd(TypedDict):
    """A server that Nova does not end."""

    id: str
    why: str
    next_try_at: At


class Expiry(TypedDict):
    """Whether servers are ended when their lifetimes are over, or why not."""

    suspended: bool
    reason: Annotated[str, Also({"enum": ["clock", "most_per_pass"]})] | None
    text: str
    since: At | None
    due: Count
    due_on_resume: Count
    expiring: Count
    next_end: At | None
    most_per_pass: Count
    clock: ClockShown
    refused: list[RefusedEnd]


class QuarantineSize(TypedDict):
    """How many messages are kept aside, how many may be, and how many rows of each table were found
    damaged since the start and set aside."""

    quarantined: int
    quarantine_max: int
    damaged: dict[str, int]


class ArchiveStatus(TypedDict):
    """What was archived, what the archive holds, and what waits aside."""

    keep_days: int
    since_start: dict[str, int]
    archived: dict[str, int]
    quarantined: int
    quarantine_max: int


class Notifier(TypedDict):
    """How far notifications are sent, what waits, and what was sent and dropped since the start.

    position    number of the last entry of the ledger that was sent
    waiting     entries behind it
    not_posted  notifications that the webhook did not take
    """

    active: bool
    position: Count | None
    waiting: Count
    oldest_waiting_at: At | None
    lag_s: float
    sent: Count
    dropped: Count
    not_posted: Count
    last_error: str


class Reset(TypedDict):
    """That all usage was cleared, and of how many users; `reset_at` is null after a dry run."""

    reset_at: str | None
    users: Count


class TrustShown(TypedDict):
    """Whom a trust is kept for."""

    project_id: str
    user_id: str


SHOW_EXPIRY: Final = Read[Expiry](
    manager="expiry",
    name="show",
    path="/v1/expiry",
    operation="show_expiry",
    method="expiry",
    summary="Show whether servers are ended, or why not.",
    noun="expiry",
    whose=OfOperators("Show whether servers are ended, or why not."),
    answer=Expiry,
    key="expiry",
)
READS: Final = (SHOW_EXPIRY,)
