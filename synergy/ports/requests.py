"""The repository of requests and their ledger, as protocols.

Must not know SQL.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol, Unpack
from uuid import UUID

from synergy.core.declared.filters import EventFilters, RequestFilters
from synergy.core.ids import ID_BYTES
from synergy.core.lifecycle import Move, Step
from synergy.core.model import (
    QuotaKind,
    Request,
    RequestClass,
    Resources,
    State,
)
from synergy.core.reasons import Reason
from synergy.ports.rollups import (
    LedgerEntry,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Requests of one class on one host that hold quota from the same instant, or held it until
    another."""

    association_id: int
    demand: Resources
    qos: str
    host: str | None
    held_from: datetime
    released_at: datetime | None
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLine:
    """The waiting members of one class as the store has them, oldest first, packed."""

    class_id: int
    request_class: RequestClass
    ids: bytes
    queued_at_s: Sequence[float]

    def request_ids(self) -> list[str]:
        """Return the members' ids as they are written."""
        starts = range(0, len(self.ids), ID_BYTES)
        return [str(UUID(bytes=self.ids[start : start + ID_BYTES])) for start in starts]


class Standing(NamedTuple):
    """What of a request, and of the last round, says why it waits."""

    state: State
    class_id: int
    retry_at: datetime | None
    reason: Reason | None


class ReadableRequests(Protocol):
    """Requests, their classes, bodies and ledger, to be read."""

    def known(self, request_ids: Sequence[str]) -> set[str]:
        """Return those that are stored, whatever their state."""

    def get(self, request_id: str) -> Request:
        """Return one request. Raises NotFound."""

    def find(self, request_ids: Sequence[str]) -> dict[str, Request]:
        """Return those that are stored."""

    def standings(self, request_ids: Sequence[str]) -> dict[str, Standing]:
        """Return what of each stored one says why it waits; a quarter of the work of `find`."""

    def search(
        self,
        *,
        sort_key: str = "received",
        descending: bool = False,
        limit: int = 1000,
        after: str | None = None,
        **filters: Unpack[RequestFilters],
    ) -> list[Request]:
        """Return requests, by default in the order in which they were received.

        sort_key  one of `filters.SORT_KEYS`; equal ones are in the order of their arrival
        after     a request_id: begin behind it. Raises NotFound when it is gone
        """

    def bodies(self, request_ids: Sequence[str]) -> dict[str, bytes]:
        """Return the bodies that are kept and that a key opens."""

    def broken_bodies(self, request_ids: Sequence[str]) -> dict[str, str]:
        """Return why the others have no body: it is not kept, or no key opens it."""

    def with_body(self, state: State) -> list[Request]:
        """Return the requests of a state whose body is still kept."""

    def lines(self) -> Iterator[ClassLine]:
        """Walk the classes with queued requests that no retry delays, without writing."""

    def delayed(self) -> list[Request]:
        """Return the queued requests that failed to be handed over and wait for a retry."""

    def claims(self) -> list[tuple[int, QuotaKind, Resources, int]]:
        """Return (association_id, quota, demand, count) of what holds quota now."""

    def holds_since(self, at: datetime) -> list[Hold]:
        """Return shared spans that last, or that ended after `at`."""

    def events(
        self, *, limit: int = 1000, after: int = 0, **filters: Unpack[EventFilters]
    ) -> list[LedgerEntry]:
        """Return rows of the ledger behind number `after`, oldest first."""

    def counts(self) -> dict[State, int]:
        """Return how many requests are in each state; of a terminal one how many ever were."""

    def ends(self) -> list[tuple[RequestClass, datetime | None, int]]:
        """Return (class, end of life, count) of what holds quota; None: its life has not begun."""

    def ending(self, by: datetime) -> list[Request]:
        """Return the servers, running or failed, whose lifetime is over by then, the first to end
        first."""

    def ending_page(
        self, by: datetime, *, project_id: str | None, limit: int, after: str | None
    ) -> list[Request]:
        """Return a page of these, of a project or of all: the first ones, or those behind the
        request `after`. Raises NotFound, InvalidInput."""

    def to_warn(self, lead_s: int, by: datetime) -> list[Request]:
        """Return servers that end by then and were not told so at this lead or a shorter one,
        the first to end first; not those that live no longer than the lead."""

    def expiring(self) -> list[Request]:
        """Return the servers whose lifetime is over and that are not gone yet."""

    def next_expiry(self, after: datetime = ...) -> datetime | None:
        """Return the earliest end, behind an instant, of a shared server that runs or failed."""

    def unshown_ends(self, limit: int) -> list[Request]:
        """Return running servers whose metadata shows another end than they have, or none."""

    def waiting_to_borrow(self) -> list[tuple[RequestClass, int]]:
        """Return (class, count) of the queued requests that may use the shared quota and whose
        projects are not suspended."""

    def projects_with(self, states: Sequence[State]) -> list[str]:
        """Return the ids of projects that have requests in one of these states."""

    def waiting_count(self, project_id: str, user_id: str | None = None) -> int:
        """Return how many requests of a project, or of one of its users, wait."""

    def waiting_counts(self, project_ids: Sequence[str]) -> dict[tuple[str, str], int]:
        """Return how many requests wait of each (project_id, user_id) of these projects."""

    def ids_of(self, states: Sequence[State], project_id: str | None = None) -> list[str]:
        """Return the ids of the requests in these states, of one project or of all."""

    def waiting_owners(self) -> dict[tuple[str, str], str]:
        """Return (project_id, user_id) -> one request_id, for everyone with a waiting request."""

    def steps(self, request_id: str) -> list[Step]:
        """Return a request's ledger, oldest first."""

    def quarantined(self) -> list[tuple[str, datetime, str]]:
        """Return (message_id, at, why) of the messages kept aside."""

    def damaged(self) -> dict[str, str]:
        """Return why requests were set aside when they were read, by id."""


class Requests(ReadableRequests, Protocol):
    """Requests, to be read and written."""

    def class_id(self, request_class: RequestClass) -> int:
        """Return the id of the class, giving it one on first sight."""

    def add(self, entries: Sequence[tuple[Move, bytes]]) -> None:
        """Store new requests with their first step and body."""

    def save(self, moves: Sequence[Move]) -> None:
        """Write moves and their steps. Raises Conflict if one changed since it was read."""

    def forget_bodies(self, request_ids: Sequence[str]) -> None:
        """Delete bodies that are no longer needed."""

    def end_shown(self, request_id: str, at: datetime | None) -> None:
        """Note which end a server's metadata shows. No move: others may move it meanwhile."""

    def quarantine(self, message_id: str, body: bytes, why: str, at: datetime) -> bool:
        """Keep a message that cannot be read; False when it is there already."""
