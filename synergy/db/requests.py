"""Requests, their bodies and their ledger: rows to values and back, compare-and-set saves."""

from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Connection,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    type_coerce,
    union_all,
    update,
)

from synergy.core.errors import Conflict, NotFound
from synergy.core.lifecycle import HOLDS_QUOTA, WAITING, Event, Move, Step
from synergy.core.model import QuotaKind, Request, RequestClass, Resources, State
from synergy.db.classes import ClassCache
from synergy.db.models import BodyRow, ClassRow, Instant, QuarantineRow, RequestRow, StepRow
from synergy.db.vault import Vault
from synergy.ports import ClassLine, Consumption, Hold, LedgerEntry

_CHUNK: Final = 500  # bound parameters of one statement; SQLite and PostgreSQL have limits
_FIXED: Final = (
    "request_id", "batch_id", "project_id", "user_id", "server_name", "queued_at",
)  # fmt: skip
_CHANGING: Final = (
    "class_id", "flavor", "state", "changed_at", "ttl_s", "held_from", "released_at", "active_at",
    "expires_at", "retry_at", "attempts", "host", "why",
)  # fmt: skip
_VALUE_COLUMNS: Final = (*_FIXED, *_CHANGING, "generation")
_STEP: Final = tuple(Step.__dataclass_fields__)
_COLUMNS: Final = [getattr(RequestRow, name) for name in _VALUE_COLUMNS]
# `lifecycle.holds_quota`, said so that the index on the state is used: an OR of states, or a test
# of released_at, would read every waiting row.
_HOLDING: Final = and_(
    RequestRow.state.in_([*HOLDS_QUOTA, State.ERROR]),
    or_(RequestRow.state != State.ERROR, RequestRow.host.is_not(None)),
)
_SAVE: Final = (
    update(RequestRow)
    .where(RequestRow.request_id == bindparam("key"), RequestRow.generation == bindparam("read"))
    .values({name: bindparam(f"new_{name}") for name in (*_CHANGING, "generation")})
)
_REQUESTS: Final = select(*_COLUMNS)
_IDS: Final[BindParameter[Any]] = bindparam("ids", expanding=True)
_KNOWN: Final = select(RequestRow.request_id).where(RequestRow.request_id.in_(_IDS))
_FIND: Final = _REQUESTS.where(RequestRow.request_id.in_(_IDS))
_BODIES: Final = select(BodyRow.request_id, BodyRow.sealed).where(BodyRow.request_id.in_(_IDS))
_FORGET: Final = delete(BodyRow).where(BodyRow.request_id.in_(_IDS))
_WITH_BODY: Final = (
    _REQUESTS.join(BodyRow, BodyRow.request_id == RequestRow.request_id)
    .where(RequestRow.state == bindparam("state"))
    .order_by(RequestRow.seq)
)
_DELAYED: Final = _REQUESTS.where(
    RequestRow.state == State.QUEUED, RequestRow.retry_at.is_not(None)
)
_HELD: Final = (
    select(RequestRow.class_id, func.count()).where(_HOLDING).group_by(RequestRow.class_id)
)
_SPAN: Final = (
    RequestRow.class_id,
    RequestRow.host,
    RequestRow.held_from,
    RequestRow.released_at,
)
_HOLDS_SINCE: Final = union_all(  # each half has its index; an OR of both would read every row
    select(*_SPAN, func.count()).where(_HOLDING).group_by(*_SPAN),
    select(*_SPAN, func.count())
    .where(RequestRow.released_at > bindparam("at", type_=Instant))
    .group_by(*_SPAN),
)
_ENDS: Final = (
    select(RequestRow.class_id, RequestRow.expires_at, func.count())
    .where(_HOLDING)
    .group_by(RequestRow.class_id, RequestRow.expires_at)
)
_BEGIN: Final = bindparam("begin", type_=Instant)
_END: Final = bindparam("end", type_=Instant)
_UNTIL: Final = case(
    (RequestRow.released_at.is_(None), _END),
    (RequestRow.released_at > _END, _END),
    else_=RequestRow.released_at,
)
_FROM: Final = case((RequestRow.held_from < _BEGIN, _BEGIN), else_=RequestRow.held_from)
_OWNED: Final = (
    RequestRow.project_id, RequestRow.user_id, RequestRow.class_id, RequestRow.host
)  # fmt: skip
_CONSUMPTION: Final = (
    select(
        *_OWNED,
        func.count().label("servers"),
        func.sum(type_coerce(_UNTIL, BigInteger) - type_coerce(_FROM, BigInteger)).label("held_us"),
    )
    .where(
        RequestRow.held_from < _END,
        or_(RequestRow.released_at.is_(None), RequestRow.released_at > _BEGIN),
    )
    .group_by(*_OWNED)
    .order_by(*_OWNED)
)
_LEDGER: Final = (
    select(StepRow.seq, RequestRow.project_id, *(getattr(StepRow, name) for name in _STEP))
    .join(RequestRow, RequestRow.request_id == StepRow.request_id)
    .order_by(StepRow.seq)
)
_SORTED_BY: Final[dict[str, Any]] = {
    "received": RequestRow.seq,
    "name": RequestRow.server_name,
    **{
        name: getattr(RequestRow, name)
        for name in ("queued_at", "changed_at", "flavor", "state", "user_id", "project_id")
    },
}
_EXPIRING: Final = _REQUESTS.where(RequestRow.state == State.EXPIRING).order_by(RequestRow.seq)
_ENDING: Final = _REQUESTS.where(
    RequestRow.state == State.ACTIVE, RequestRow.expires_at <= bindparam("by", type_=Instant)
).order_by(RequestRow.expires_at, RequestRow.seq)
_NEXT_EXPIRY: Final = select(func.min(RequestRow.expires_at)).where(
    RequestRow.state == State.ACTIVE
)


class SqlRequests:
    """The repository of requests; see `ports.Requests`."""

    def __init__(self, connection: Connection, classes: ClassCache, vault: Vault) -> None:
        self._connection, self._classes, self._vault = connection, classes, vault

    def class_id(self, request_class: RequestClass) -> int:
        return self._classes.id_of(self._connection, request_class)

    def known(self, request_ids: Sequence[str]) -> set[str]:
        return {
            request_id
            for part in _parts(request_ids)
            for request_id in self._connection.scalars(_KNOWN, {"ids": part})
        }

    def add(self, entries: Sequence[tuple[Move, bytes]]) -> None:
        if not entries:
            return
        rows = [
            {name: getattr(move.request, name) for name in _VALUE_COLUMNS} for move, _ in entries
        ]
        self._connection.execute(insert(RequestRow), rows)
        sealed = [
            {"request_id": move.request.request_id, "sealed": self._vault.seal(body)}
            for move, body in entries
        ]
        self._connection.execute(insert(BodyRow), sealed)
        self._record([move for move, _ in entries])

    def get(self, request_id: str) -> Request:
        found = self.find([request_id])
        if request_id not in found:
            raise NotFound(f"request {request_id!r} does not exist")
        return found[request_id]

    def find(self, request_ids: Sequence[str]) -> dict[str, Request]:
        return {
            row.request_id: self._value(row)
            for part in _parts(request_ids)
            for row in self._connection.execute(_FIND, {"ids": part})
        }

    def search(
        self,
        *,
        states: Sequence[State] = (),
        project_id: str | None = None,
        user_id: str | None = None,
        quota: QuotaKind | None = None,
        flavor: str | None = None,
        name: str | None = None,
        batch_id: str | None = None,
        sort_key: str = "received",
        descending: bool = False,
        limit: int = 1000,
        after: str | None = None,
    ) -> list[Request]:
        by = _SORTED_BY[sort_key]
        order = (by, RequestRow.seq) if by is not RequestRow.seq else (by,)
        query = _REQUESTS.order_by(*(c.desc() if descending else c for c in order)).limit(limit)
        if states:
            query = query.where(RequestRow.state.in_(states))
        wanted = {
            RequestRow.project_id: project_id,
            RequestRow.user_id: user_id,
            RequestRow.flavor: flavor,
            RequestRow.server_name: name,
            RequestRow.batch_id: batch_id,
        }
        query = query.where(*(c == value for c, value in wanted.items() if value is not None))
        if quota is not None:
            of_kind = select(ClassRow.class_id).where(ClassRow.quota == quota)
            query = query.where(RequestRow.class_id.in_(of_kind))
        if after is not None:
            place = self._connection.execute(
                select(*order).where(RequestRow.request_id == after)
            ).first()
            if place is None:
                raise NotFound(f"marker: request {after!r} does not exist")
            query = query.where(_behind(order, tuple(place), descending=descending))
        return [self._value(row) for row in self._connection.execute(query)]

    def save(self, moves: Sequence[Move]) -> None:
        changed = [move for move in moves if move.step is not None]
        if not changed:
            return
        values = [
            {
                "key": move.request.request_id,
                "read": move.request.generation,
                "new_generation": move.request.generation + 1,
                **{f"new_{name}": getattr(move.request, name) for name in _CHANGING},
            }
            for move in changed
        ]
        done = self._connection.execute(_SAVE, values)
        if done.rowcount != len(changed):
            ids = ", ".join(move.request.request_id for move in changed[:5])
            raise Conflict(f"a request changed since it was read: one of {ids}")
        self._record(changed)

    def _record(self, moves: Sequence[Move]) -> None:
        steps = [
            {name: getattr(move.step, name) for name in _STEP}
            for move in moves
            if move.step is not None
        ]
        if steps:
            self._connection.execute(insert(StepRow), steps)

    def bodies(self, request_ids: Sequence[str]) -> dict[str, bytes]:
        return {
            row.request_id: self._vault.open(row.sealed)
            for part in _parts(request_ids)
            for row in self._connection.execute(_BODIES, {"ids": part})
        }

    def forget_bodies(self, request_ids: Sequence[str]) -> None:
        for part in _parts(request_ids):
            self._connection.execute(_FORGET, {"ids": part})

    def reseal_bodies(self) -> int:
        """Seal every kept body and quarantined message with the first key; return how many."""
        count = 0
        for table, key in (
            (BodyRow, BodyRow.request_id),
            (QuarantineRow, QuarantineRow.message_id),
        ):
            for found, sealed in self._connection.execute(select(key, table.sealed)).all():
                self._connection.execute(
                    update(table).where(key == found).values(sealed=self._vault.reseal(sealed))
                )
                count += 1
        return count

    def with_body(self, state: State) -> list[Request]:
        return [self._value(row) for row in self._connection.execute(_WITH_BODY, {"state": state})]

    def lines(self) -> Iterator[ClassLine]:
        self._classes.load(self._connection)
        rows = self._connection.exec_driver_sql(
            "SELECT class_id, request_id, queued_at FROM requests "
            "WHERE state = 'QUEUED' AND retry_at IS NULL "
            "ORDER BY class_id, queued_at, request_id",
            execution_options={"stream_results": True, "yield_per": 10_000},
        )
        for class_id, members in groupby(rows, key=lambda row: row[0]):
            ids, queued_at_s = bytearray(), array("d")
            for _, request_id, queued_us in members:
                ids += bytes.fromhex(request_id.replace("-", ""))
                queued_at_s.append(queued_us / 1e6)
            yield ClassLine(
                class_id=class_id,
                request_class=self._classes.get(self._connection, class_id),
                ids=bytes(ids),
                queued_at_s=queued_at_s,
            )

    def delayed(self) -> list[Request]:
        return [self._value(row) for row in self._connection.execute(_DELAYED)]

    def held(self) -> list[tuple[int, QuotaKind, Resources, int]]:
        kinds = [
            (self._classes.get(self._connection, class_id), count)
            for class_id, count in self._connection.execute(_HELD).all()
        ]
        return [(kind.association_id, kind.quota, kind.demand, count) for kind, count in kinds]

    def holds_since(self, at: datetime) -> list[Hold]:
        found = []
        rows = sorted(self._connection.execute(_HOLDS_SINCE, {"at": at}).all(), key=_span_order)
        for class_id, host, held_from, released_at, count in rows:
            assert held_from is not None  # asked for
            kind = self._classes.get(self._connection, class_id)
            if kind.quota is QuotaKind.SHARED:
                found.append(
                    Hold(
                        association_id=kind.association_id,
                        demand=kind.demand,
                        qos=kind.qos,
                        host=host,
                        held_from=held_from,
                        released_at=released_at,
                        count=count,
                    )
                )
        return found

    def consumption(
        self, begin: datetime, end: datetime, *, project_id: str | None = None
    ) -> list[Consumption]:
        window = {"begin": begin, "end": end}
        query = _CONSUMPTION
        if project_id is not None:
            query = query.where(RequestRow.project_id == project_id)
        return [
            Consumption(
                project_id=row.project_id,
                user_id=row.user_id,
                request_class=self._classes.get(self._connection, row.class_id),
                host=row.host,
                servers=row.servers,
                held_s=float(row.held_us) / 1e6,
            )
            for row in self._connection.execute(query, window).all()
        ]

    def events(
        self,
        *,
        project_id: str | None = None,
        request_id: str | None = None,
        event: Event | None = None,
        since: datetime | None = None,
        limit: int = 1000,
        after: int = 0,
    ) -> list[LedgerEntry]:
        query = _LEDGER.where(StepRow.seq > after).limit(limit)
        if project_id is not None:
            query = query.where(RequestRow.project_id == project_id)
        if request_id is not None:
            query = query.where(StepRow.request_id == request_id)
        if event is not None:
            query = query.where(StepRow.event == event)
        if since is not None:
            query = query.where(StepRow.at >= since)
        return [
            LedgerEntry(
                number=number, project_id=owner, step=Step(**dict(zip(_STEP, step, strict=True)))
            )
            for number, owner, *step in self._connection.execute(query)
        ]

    def counts(self) -> dict[State, int]:
        query = select(RequestRow.state, func.count()).group_by(RequestRow.state)
        return {row.state: row[1] for row in self._connection.execute(query)}

    def ends(self) -> list[tuple[RequestClass, datetime | None, int]]:
        return [
            (self._classes.get(self._connection, class_id), expires_at, count)
            for class_id, expires_at, count in self._connection.execute(_ENDS).all()
        ]

    def ending(self, by: datetime) -> list[Request]:
        return [self._value(row) for row in self._connection.execute(_ENDING, {"by": by})]

    def expiring(self) -> list[Request]:
        return [self._value(row) for row in self._connection.execute(_EXPIRING)]

    def next_expiry(self) -> datetime | None:
        return self._connection.execute(_NEXT_EXPIRY).scalar_one()

    def waiting_count(self, project_id: str, user_id: str | None = None) -> int:
        query = select(func.count()).where(
            RequestRow.project_id == project_id, RequestRow.state.in_(WAITING)
        )
        if user_id is not None:
            query = query.where(RequestRow.user_id == user_id)
        return self._connection.execute(query).scalar_one()

    def projects_with(self, states: Sequence[State]) -> list[str]:
        query = select(RequestRow.project_id).where(RequestRow.state.in_(states)).distinct()
        return list(self._connection.scalars(query.order_by(RequestRow.project_id)))

    def waiting_owners(self) -> dict[tuple[str, str], str]:
        owner = RequestRow.project_id, RequestRow.user_id
        rows = self._connection.execute(
            select(*owner, func.min(RequestRow.request_id))
            .where(RequestRow.state.in_((*WAITING, State.DISPATCHING)))
            .group_by(*owner)
        )
        return {(project_id, user_id): request_id for project_id, user_id, request_id in rows}

    def steps(self, request_id: str) -> list[Step]:
        rows = self._connection.execute(
            select(*(getattr(StepRow, name) for name in _STEP))
            .where(StepRow.request_id == request_id)
            .order_by(StepRow.seq)
        )
        return [Step(**dict(zip(_STEP, row, strict=True))) for row in rows]

    def quarantine(self, message_id: str, body: bytes, why: str, at: datetime) -> bool:
        known = select(QuarantineRow.message_id).where(QuarantineRow.message_id == message_id)
        if self._connection.execute(known).first() is not None:
            return False
        sealed = self._vault.seal(body)
        self._connection.execute(
            insert(QuarantineRow).values(message_id=message_id, at=at, why=why, sealed=sealed)
        )
        return True

    def quarantined(self) -> list[tuple[str, datetime, str]]:
        rows = self._connection.execute(
            select(QuarantineRow.message_id, QuarantineRow.at, QuarantineRow.why).order_by(
                QuarantineRow.at
            )
        )
        return [(row.message_id, row.at, row.why) for row in rows]

    def _value(self, row: Any) -> Request:
        values = dict(zip(_VALUE_COLUMNS, row, strict=True))
        kind = self._classes.get(self._connection, values["class_id"])
        return Request(request_class=kind, **values)


def _behind(order: Sequence[Any], place: Sequence[Any], *, descending: bool) -> Any:
    """Return the condition that a row comes after `place` in an order of one or two columns."""
    (column, *rest), (value, *others) = order, place
    beyond = column < value if descending else column > value
    if not rest:
        return beyond
    return or_(beyond, and_(column == value, _behind(rest, others, descending=descending)))


def _span_order(row: Any) -> tuple[int, str, datetime, datetime]:
    """Sums of usage must not depend on the order in which a database returns rows."""
    class_id, host, held_from, released_at, _ = row
    ended_at = released_at or datetime.max.replace(tzinfo=held_from.tzinfo)
    return class_id, host or "", held_from, ended_at


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
