"""Usage sums, the archive, and the counts of the ledger, as protocols.

Why: they keep the store from growing without bound. Must not know SQL.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from synergy.core.lifecycle import Step
from synergy.core.model import QuotaKind, Request, Resources, State
from synergy.core.rollup import Level

HOURS_KEPT_DAYS: Final = 45  # usage by the hour; a report by hours has 400 periods at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What usage is summed by; user_id "" means all users of the project, project_id "" all
    projects."""

    project_id: str
    user_id: str
    association_id: int
    quota: QuotaKind
    qos: str
    demand: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumption:
    """Servers of one series on one host in a period.

    running  how many held quota at its begin
    started  how many claimed quota in it
    held_us  for how many microseconds in total
    """

    series: Series
    host: str | None
    running: int
    started: int
    held_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """A series in an hour or a day that begins at an instant; weighted_us includes host factors."""

    series: Series
    begins_at: datetime
    running: int
    started: int
    held_us: int
    weighted_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupProgress:
    """How far sums and counts are complete; see `db.models.RollupProgressRow`."""

    rolled_until: datetime | None
    hours_from: datetime | None
    ledger_seq: int
    newest_seq: int
    purged_until: datetime | None
    edition: int


# Stands for a row that cannot be read: then no sum is trusted and nothing is counted twice, and
# reports are computed from the spans.
UNREADABLE_PROGRESS: Final = RollupProgress(
    rolled_until=None,
    hours_from=None,
    ledger_seq=2**63 - 1,
    newest_seq=2**63 - 1,
    purged_until=None,
    edition=0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What is in the ledger and not counted yet.

    first_at    the earliest instant in it, or None
    finished    how many requests ended in each state
    first_seqs  the lowest number of each hour
    ledger_seq, newest_seq  how far it is counted with this, and the newest entry now
    """

    first_at: datetime | None
    finished: Mapping[State, int]
    first_seqs: Mapping[datetime, int]
    ledger_seq: int
    newest_seq: int


class ReadableRollups(Protocol):
    """Usage by hour and day, and by the spans themselves."""

    def progress(self) -> RollupProgress:
        """Return how far sums and counts are complete."""

    def consumption(
        self,
        begin: datetime,
        end: datetime,
        *,
        project_id: str | None = None,
        by_project: bool = True,
        by_user: bool = True,
        hosts: Collection[str] | None = None,
    ) -> list[Consumption]:
        """Return the exact usage between two instants, from the spans.

        by_project, by_user  False merges the series that differ only in that
        hosts                merges the servers on all others; None merges none
        """

    def lines(
        self,
        level: Level,
        begin: datetime,
        end: datetime,
        *,
        project_id: str | None = None,
        by_project: bool = True,
        by_user: bool = False,
        summed: bool = False,
    ) -> list[UsageLine]:
        """Return the sums of hours or days.

        by_project  False merges the series that differ only in the project
        summed      one line per series, from its first begin
        """

    def has_hours(self, before: datetime) -> bool:
        """Return whether there are hourly sums from before an instant."""

    def first_held_at(self) -> datetime | None:
        """Return when quota was held for the first time."""

    def news(self, progress: RollupProgress, limit: int) -> News:
        """Read at most `limit` uncounted entries of the ledger."""


class Rollups(ReadableRollups, Protocol):
    """Usage by hour and day, writable."""

    def forget_bucket(self, level: Level, begins_at: datetime) -> None:
        """Delete the sums of an hour or a day."""

    def add_lines(self, level: Level, lines: Sequence[UsageLine]) -> None:
        """Write sums."""

    def save_progress(self, before: RollupProgress, after: RollupProgress) -> None:
        """Save how far it is complete. Raises Conflict when the stored value is no longer
        `before`."""

    def count(self, news: News) -> None:
        """Add entries of the ledger to the counts."""

    def forget_hours(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` hourly sums from before an instant, and return how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A step with its number, which grows, and whose it is."""

    number: int
    project_id: str
    step: Step


class ReadableArchive(Protocol):
    """Archived records, which nothing works with any longer."""

    @property
    def kinds(self) -> Sequence[str]:
        """Return the kinds of records."""

    def due(self, kind: str, before: datetime, limit: int) -> list[str]:
        """Return the keys of the records of a kind that finished before an instant."""

    def due_count(self, kind: str, before: datetime) -> int:
        """Return how many records `due` would find."""

    def oldest(self, kind: str, maximum: int, limit: int) -> list[str]:
        """Return the keys of the oldest records of a kind, beyond the `maximum` to keep."""

    def size(self, kind: str) -> int:
        """Return how many records of a kind are not archived."""

    def counts(self, before: datetime | None = None) -> dict[str, int]:
        """Count the archived records by kind: all, or those from before an instant."""

    def record(self, kind: str, key: str) -> dict[str, object]:
        """Return an archived record. Raises NotFound."""

    def request(self, request_id: str) -> tuple[Request, list[LedgerEntry]]:
        """Return an archived request with its ledger. Raises NotFound."""

    def unused_classes(self, after: int, limit: int) -> tuple[list[int], int | None]:
        """Look at `limit` classes with an id above `after`: those no request refers to, and the
        last that was looked at, or None at the end."""


class Archive(ReadableArchive, Protocol):
    """The archive, writable."""

    def move(self, kind: str, keys: Sequence[str]) -> int:
        """Move records into the archive, and return how many; one that changed since is not
        moved."""

    def purge(self, before: datetime, limit: int) -> int:
        """Delete at most `limit` archived records, and as many spans, from before an instant for
        good; return how many records and spans. Raises Conflict when usage is not summed up."""

    def drop_classes(self, class_ids: Sequence[int]) -> int:
        """Delete those of the classes that no request refers to, and return how many."""
