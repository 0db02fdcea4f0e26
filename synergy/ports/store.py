"""The store, as protocols: what managers read and write in one transaction.

Must not know SQL.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Unpack

from synergy.core.audit import AuditEntry, AuditOutcome
from synergy.core.clockwatch import Mark
from synergy.core.declared.filters import ChangeFilters
from synergy.core.forecasts.record import Recorded
from synergy.core.model import (
    Association,
    Domain,
    Project,
)
from synergy.core.usage import Charged, History
from synergy.ports.requests import ReadableRequests, Requests
from synergy.ports.rollups import (
    Archive,
    ReadableArchive,
    ReadableRollups,
    Rollups,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """A Keystone trust that Synergy keeps for a user of a project."""

    project_id: str
    user_id: str
    trust_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Brake:
    """No server is ended any more until a person says so: `due` of them were at once."""

    since: datetime
    due: int


class ReadableOutbox(Protocol):
    """How far others were told of the ledger, to be read."""

    def position(self, name: str) -> int | None:
        """Return the number of the last entry that was sent, None where none ever was."""

    def newest(self) -> int:
        """Return the number of the newest entry of the ledger, 0 of an empty one."""


class Outbox(ReadableOutbox, Protocol):
    """How far others were told of the ledger, to be read and written."""

    def move(self, name: str, number: int) -> None:
        """Write the number of the last entry that was sent."""


class ReadableProjects(Protocol):
    """Managed projects, their domains and users, to be read."""

    def edition(self) -> int | None:
        """Return a number that each change of a project or domain makes another one, None while one
        is being written. Asked before the rest is read: what it tells of is then this or newer."""

    def all(self) -> list[Project]:
        """Return every managed project whose row can be read."""

    def damaged(self) -> dict[str, str]:
        """Return why the others cannot be read, by project_id."""

    def get(self, project_id: str) -> Project:
        """Return one. Raises NotFound."""

    def domains(self) -> list[Domain]:
        """Return the domains of managed projects."""

    def associations(self) -> list[Association]:
        """Return every association."""


class Projects(ReadableProjects, Protocol):
    """Managed projects, to be read and written."""

    def add(self, project: Project) -> None:
        """Store a new project. Raises Conflict when it is managed already."""

    def save(self, project: Project) -> None:
        """Write, unless someone wrote since it was read: then raise Conflict."""

    def remove(self, project_id: str) -> None:
        """Delete a project and its associations' shares; their history stays."""

    def save_domain(self, domain: Domain) -> None:
        """Write a domain."""

    def association(self, project_id: str, user_id: str, user_name: str) -> Association:
        """Return an association, making it on first sight, and active if it was not."""

    def save_association(self, association: Association) -> None:
        """Write an association's name, shares, priority, and whether it is active."""


class ReadableUsage(Protocol):
    """Fair-share history, to be read."""

    def load(self) -> History:
        """Return the history; an empty one when usage was never charged."""


class Usage(ReadableUsage, Protocol):
    """Fair-share history, to be read and written."""

    def save(self, charged: Charged) -> None:
        """Write what a pass changed."""


class ReadableTrusts(Protocol):
    """Keystone trusts of Synergy's own, to be read."""

    def all(self) -> list[Trust]:
        """Return every trust."""

    def intended(self) -> set[tuple[str, str]]:
        """Return the (project_id, user_id) of whose trusts nobody knows whether they were made."""


class Trusts(ReadableTrusts, Protocol):
    """Keystone trusts, to be read and written."""

    def intend(self, project_id: str, user_id: str) -> None:
        """Note that a trust is about to be made."""

    def add(self, trust: Trust) -> None:
        """Store a trust; it is no intent any longer."""

    def give_up(self, project_id: str, user_id: str) -> None:
        """Forget an intent: there is no such trust."""

    def remove(self, trust_id: str) -> None:
        """Forget a trust."""


class ReadableSafety(Protocol):
    """What keeps servers from being ended wrongly, to be read."""

    def mark(self) -> Mark | None:
        """Return how far the time had come, None before anybody stored it."""

    def brake(self) -> Brake | None:
        """Return the brake that is on, None when none is."""


class Safety(ReadableSafety, Protocol):
    """What keeps servers from being ended wrongly, to be read and written."""

    def save_mark(self, mark: Mark) -> None:
        """Write how far the time has come."""

    def put_on(self, brake: Brake) -> None:
        """Let nothing be ended from now on."""

    def release(self) -> None:
        """Take the brake off, if one is on."""


class ReadableAudit(Protocol):
    """Who changed what through the API, to be read."""

    def search(
        self, *, limit: int = 1000, after: int = 0, **filters: Unpack[ChangeFilters]
    ) -> list[tuple[int, AuditEntry]]:
        """Return changes with their numbers, oldest first, behind number `after`."""


class Audit(ReadableAudit, Protocol):
    """Who changed what through the API, to be read and written."""

    def add(self, entry: AuditEntry) -> int:
        """Write a change down, and return its number."""

    def settle(
        self,
        number: int,
        outcome: AuditOutcome,
        *,
        status: int,
        why: str,
        before: Mapping[str, object] | None,
        after: Mapping[str, object] | None,
    ) -> None:
        """Write what became of a change."""


class ReadableForecasts(Protocol):
    """When requests were forecast to start, and what happened."""

    def open(self) -> list[Recorded]:
        """Return the forecasts that are not settled, in the order in which they were made."""

    def standing(self) -> dict[str, Recorded]:
        """Return the last one of each request of which any is not settled, by id."""

    def over(self) -> list[tuple[Recorded, datetime | None]]:
        """Return those that are not settled although their request no longer waits, and since when
        it holds quota: None where it left without a start, or is held."""

    def last(self, limit: int, project_id: str | None = None) -> list[Recorded]:
        """Return those that were resolved last, the oldest of them first."""

    def of(self, request_ids: Sequence[str]) -> dict[str, Recorded]:
        """Return the last one of each of some requests, by id, that is not settled."""

    def count_resolved(self, maximum: int) -> int:
        """Return how many were resolved, `maximum` for that many or more."""

    def count_open(self, project_id: str | None = None) -> int:
        """Return of how many requests one is not settled."""


class Forecasts(ReadableForecasts, Protocol):
    """Forecasts, to be read and written."""

    def add(self, forecasts: Sequence[Recorded]) -> None:
        """Store new forecasts."""

    def settle(self, settled: Sequence[tuple[int, datetime, float | None]]) -> None:
        """Settle (forecast_id, when that was noticed, seconds until it started or None)."""

    def forget(self, before: datetime) -> None:
        """Drop those that were settled before an instant."""


class Reading(Protocol):
    """A transaction that reads: it never waits for a writer, and cannot write."""

    @property
    def requests(self) -> ReadableRequests:
        """Requests, their classes, bodies and ledger."""

    @property
    def outbox(self) -> ReadableOutbox:
        """How far others were told of the ledger."""

    @property
    def projects(self) -> ReadableProjects:
        """Managed projects."""

    @property
    def usage(self) -> ReadableUsage:
        """Fair-share history."""

    @property
    def trusts(self) -> ReadableTrusts:
        """Keystone trusts."""

    @property
    def rollups(self) -> ReadableRollups:
        """Usage by hour and day."""

    @property
    def archive(self) -> ReadableArchive:
        """Records that nothing works with any longer."""

    @property
    def safety(self) -> ReadableSafety:
        """What keeps servers from being ended wrongly."""

    @property
    def audit(self) -> ReadableAudit:
        """Who changed what through the API."""

    @property
    def forecasts(self) -> ReadableForecasts:
        """When requests were forecast to start."""


class Writing(Protocol):
    """A transaction that writes: leaving it without `commit` rolls back.

    Nobody else writes while it is open, so no call may leave the process meanwhile: fetch, decide,
    then write.
    """

    @property
    def requests(self) -> Requests:
        """Requests, their classes, bodies and ledger."""

    @property
    def outbox(self) -> Outbox:
        """How far others were told of the ledger."""

    @property
    def projects(self) -> Projects:
        """Managed projects."""

    @property
    def usage(self) -> Usage:
        """Fair-share history."""

    @property
    def trusts(self) -> Trusts:
        """Keystone trusts."""

    @property
    def rollups(self) -> Rollups:
        """Usage by hour and day."""

    @property
    def archive(self) -> Archive:
        """Records that nothing works with any longer."""

    @property
    def safety(self) -> Safety:
        """What keeps servers from being ended wrongly."""

    @property
    def audit(self) -> Audit:
        """Who changed what through the API."""

    @property
    def forecasts(self) -> Forecasts:
        """When requests were forecast to start."""

    def commit(self) -> None:
        """Make it last. Raises Conflict or UpstreamUnavailable, and then nothing is written."""


class Store(Protocol):
    """Opens transactions."""

    def reading(self) -> AbstractContextManager[Reading]:
        """Open a transaction that reads."""

    def writing(self) -> AbstractContextManager[Writing]:
        """Open a transaction that writes."""

    def damaged(self) -> dict[str, int]:
        """Return how many rows of each table could not be read since the start: they are set aside,
        and everything else goes on without them."""
