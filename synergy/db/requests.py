"""Requests, their bodies and their ledger: rows to values and back, compare-and-set saves."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Any, Final, Unpack

from sqlalchemy import (
    Connection,
    func,
    insert,
    select,
    update,
)

from synergy.core.declared.filters import EventFilters, RequestFilters
from synergy.core.errors import Conflict, InvalidInput, NotFound, SealBroken
from synergy.core.ids import as_stored
from synergy.core.lifecycle import WAITING, Move, Step
from synergy.core.model import QuotaKind, Request, RequestClass, Resources, State
from synergy.db import request_statements as sql
from synergy.db.classes import Classes
from synergy.db.columns import (
    EPOCH,
    LATEST_US,
    ODD,
    Unreadable,
    Values,
)
from synergy.db.models import (
    BodyRow,
    ClassRow,
    QuarantineRow,
    RequestRow,
    StepRow,
)
from synergy.db.rollups import SqlRollups, series_of
from synergy.db.rows import Damaged, DamageLog, RowReader, texts
from synergy.db.search import SORTED_BY, Filters, LedgerPages, Page, RequestPages, behind
from synergy.db.vault import Vault
from synergy.ports import ClassLine, Hold, LedgerEntry, Standing

_LONGEST_MESSAGE_ID: Final = 64
_LONGEST_KEPT: Final = 8 * 2**20  # bytes of a quarantined message; databases bound a statement
_CHUNK: Final = 500  # bound parameters of one statement; SQLite and PostgreSQL have limits


def _step(row: Values) -> Step:
    return Step(**dict(zip(sql.STEP, row, strict=True)))


def _entry(row: Values) -> LedgerEntry:
    number, owner, *step = row
    return LedgerEntry(number=number, project_id=owner, step=_step(step))


def _span(row: Values) -> tuple[Any, ...]:
    if row[_HELD_FROM] is None:
        raise Damaged("held_from is None, but it holds quota or held some")
    return tuple(row)


_HELD_FROM: Final = 2
_QUARANTINE_COLUMNS: Final = (QuarantineRow.message_id, QuarantineRow.at, QuarantineRow.why)
_QUARANTINE_READER: Final = RowReader(_QUARANTINE_COLUMNS, tuple)
_SPAN_READER: Final = RowReader(sql.SPAN, _span)
_REQUEST_READER: Final = RowReader(sql.COLUMNS, tuple)
_STANDING_READER: Final = RowReader(sql.STANDING, lambda row: (row[0], Standing(*row[1:])))
_STEP_READER: Final = RowReader(sql.STEP_COLUMNS, _step)
_ENTRY_READER: Final = RowReader(sql.ENTRY, _entry)


class SqlRequests:
    """The repository of requests; see `ports.Requests`."""

    def __init__(
        self, connection: Connection, classes: Classes, vault: Vault, damage: DamageLog
    ) -> None:
        self._connection, self._classes, self._vault = connection, classes, vault
        self._damage = damage
        self._rollups = SqlRollups(connection, classes, damage)

    def class_id(self, request_class: RequestClass) -> int:
        return self._classes.id_of(request_class)

    def known(self, request_ids: Sequence[str]) -> set[str]:
        return {
            request_id
            for part in _parts(request_ids)
            for request_id in self._connection.scalars(sql.KNOWN, {"ids": part})
        }

    def add(self, entries: Sequence[tuple[Move, bytes]]) -> None:
        if not entries:
            return
        rows = [
            {name: getattr(move.request, name) for name in sql.VALUE_COLUMNS} for move, _ in entries
        ]
        self._connection.execute(insert(RequestRow), rows)
        sealed = [
            {"request_id": move.request.request_id, "sealed": self._vault.seal(body)}
            for move, body in entries
        ]
        self._connection.execute(insert(BodyRow), sealed)
        self._record([move for move, _ in entries])

    def get(self, request_id: str) -> Request:
        known = as_stored(request_id)
        found = self.find([known])
        if known not in found:
            why = self._damage.of(RequestRow.__tablename__).get(known)
            damage = f"cannot be read: its row is damaged, {why}" if why else "does not exist"
            raise NotFound(f"request {request_id!r} {damage}")
        return found[known]

    def find(self, request_ids: Sequence[str]) -> dict[str, Request]:
        return {
            request.request_id: request
            for part in _parts(request_ids)
            for request in self._values(self._connection.execute(sql.FIND, {"ids": part}))
        }

    def standings(self, request_ids: Sequence[str]) -> dict[str, Standing]:
        return {
            request_id: standing
            for part in _parts(request_ids)
            for request_id, standing in _STANDING_READER.all(
                self._connection.execute(sql.STANDINGS, {"ids": part}), self._damage
            )
        }

    def search(
        self,
        *,
        sort_key: str = "received",
        descending: bool = False,
        limit: int = 1000,
        after: str | None = None,
        **filters: Unpack[RequestFilters],
    ) -> list[Request]:
        project_id = filters.get("project_id")
        pages = RequestPages(self._connection, (*sql.COLUMNS, SORTED_BY[sort_key], RequestRow.seq))
        page = Page(
            filters=Filters(**filters),
            sort_key=sort_key,
            descending=descending,
            limit=limit,
            place=None if after is None else pages.place_of(after, SORTED_BY[sort_key], project_id),
        )
        found: list[Request] = []
        while len(found) < limit:  # again where damaged rows left a page short
            page = replace(page, limit=limit - len(found))
            rows = pages.read(page)
            found += self._values(row[: len(sql.COLUMNS)] for row in rows)
            if len(rows) < page.limit or any(isinstance(one, Unreadable) for one in rows[-1]):
                break
            page = replace(page, place=tuple(rows[-1][len(sql.COLUMNS) :]))
        return found

    def save(self, moves: Sequence[Move]) -> None:
        changed = [move for move in moves if move.step is not None]
        if not changed:
            return
        values = [
            {
                "key": move.request.request_id,
                "read": move.request.generation,
                "new_generation": move.request.generation + 1,
                **{f"new_{name}": getattr(move.request, name) for name in sql.CHANGING},
            }
            for move in changed
        ]
        self._keep_earlier_spans(changed)
        done = self._connection.execute(sql.SAVE, values)
        if done.rowcount != len(changed):
            ids = ", ".join(move.request.request_id for move in changed[:5])
            raise Conflict(f"a request changed since it was read: one of {ids}")
        self._record(changed)

    def _keep_earlier_spans(self, moves: Sequence[Move]) -> None:
        """Where quota is claimed again, or in another size, keep the span that the row has."""
        begins = {
            move.request.request_id: move.request.held_from
            for move in moves
            if move.step is not None
            and move.request.held_from == move.step.at
            and (move.request.generation > 0 or move.step.from_state is not State.QUEUED)
        }
        spans = []
        for part in _parts(list(begins)):
            rows = self._connection.execute(sql.PRESENT_SPANS, {"ids": part}).all()
            for row in rows:
                until, kind = begins[row.request_id], self._of_class(row.class_id)
                if until is None or kind is None:
                    continue
                if any(isinstance(one, Unreadable) for one in row):
                    continue  # such a row cannot be saved either
                series = series_of(kind, row.project_id, row.user_id)
                ended_at = min(row.released_at or until, until)
                spans.append((series, row.host, row.held_from, ended_at))
        self._rollups.add_spans(spans)

    def _record(self, moves: Sequence[Move]) -> None:
        steps = [
            {name: getattr(move.step, name) for name in sql.STEP}
            | {"project_id": move.request.project_id}
            for move in moves
            if move.step is not None
        ]
        if steps:
            self._connection.execute(insert(StepRow), steps)

    def bodies(self, request_ids: Sequence[str]) -> dict[str, bytes]:
        found = {}
        for request_id, sealed in self._sealed(request_ids):
            try:
                found[request_id] = self._vault.open(sealed)
            except SealBroken as error:
                self._damage.note(BodyRow.__tablename__, request_id, str(error))
        return found

    def broken_bodies(self, request_ids: Sequence[str]) -> dict[str, str]:
        broken = dict.fromkeys(request_ids, "its message is not stored")
        for request_id, sealed in self._sealed(request_ids):
            try:
                self._vault.open(sealed)
            except SealBroken as error:
                broken[request_id] = str(error)
            else:
                del broken[request_id]
        return broken

    def _sealed(self, request_ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for part in _parts(request_ids):
            rows = self._connection.execute(sql.BODIES, {"ids": part})
            yield from ((row[0], row[1]) for row in rows)

    def forget_bodies(self, request_ids: Sequence[str]) -> None:
        for part in _parts(request_ids):
            self._connection.execute(sql.FORGET, {"ids": part})

    def with_body(self, state: State) -> list[Request]:
        return self._values(self._connection.execute(sql.WITH_BODY, {"state": state}))

    def lines(self) -> Iterator[ClassLine]:
        # Before the rows: while those come in a stream, no other question can be asked.
        self._classes.load()
        rows = self._connection.exec_driver_sql(
            "SELECT class_id, request_id, queued_at FROM requests "
            "WHERE state = 'QUEUED' AND retry_at IS NULL "
            "ORDER BY class_id, queued_at, request_id",
            execution_options={"stream_results": True, "yield_per": 10_000},
        )
        for class_id, members in groupby(rows, key=lambda row: row[0]):
            request_class = self._classes.known(class_id)
            ids, queued_at_s = bytearray(), array("d")
            for _, request_id, queued_us in members:
                if request_class is None:
                    self._damage.note(RequestRow.__tablename__, request_id, _no_class(class_id))
                    continue
                try:
                    packed = bytes.fromhex(request_id.replace("-", ""))
                    queued_s = queued_us / 1e6
                except (AttributeError, TypeError, ValueError):
                    packed, queued_s = b"", -1.0
                if len(packed) != 16 or not 0 <= queued_us < LATEST_US:
                    why = f"request_id is {request_id!a}, queued_at {queued_us!a}"
                    self._damage.note(RequestRow.__tablename__, request_id, why)
                    continue
                ids += packed
                queued_at_s.append(queued_s)
            if request_class is not None and ids:
                yield ClassLine(
                    class_id=class_id,
                    request_class=request_class,
                    ids=bytes(ids),
                    queued_at_s=queued_at_s,
                )

    def delayed(self) -> list[Request]:
        return self._values(self._connection.execute(sql.DELAYED))

    def _of_class(self, class_id: int) -> RequestClass | None:
        """Return the class of rows that are counted together, None where it is damaged."""
        try:
            return self._classes.get(class_id)
        except Damaged as error:
            self._damage.note(ClassRow.__tablename__, class_id, str(error))
            return None

    def claims(self) -> list[tuple[int, QuotaKind, Resources, int]]:
        return [
            (kind.association_id, kind.quota, kind.demand, count)
            for class_id, count in self._connection.execute(sql.HELD).all()
            if (kind := self._of_class(class_id)) is not None
        ]

    def holds_since(self, at: datetime) -> list[Hold]:
        found = []
        rows = self._connection.execute(sql.HOLDS_SINCE, {"at": at}).all()
        spans = [
            (*span, row[-1]) for row in rows for span in _SPAN_READER.all([row[:-1]], self._damage)
        ]
        for class_id, host, held_from, released_at, count in sorted(spans, key=_span_order):
            kind = self._of_class(class_id)
            if kind is not None and kind.quota is QuotaKind.SHARED:
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
        return found + [
            Hold(
                association_id=association_id, demand=demand, qos=qos, host=host,
                held_from=held_from, released_at=released_at, count=count,
            )
            for association_id, demand, qos, host, held_from, released_at, count
            in self._connection.execute(sql.EARLIER_SINCE, {"at": at})
        ]  # fmt: skip

    def events(
        self, *, limit: int = 1000, after: int = 0, **filters: Unpack[EventFilters]
    ) -> list[LedgerEntry]:
        pages = LedgerPages(self._connection, sql.ENTRY)
        found: list[LedgerEntry] = []
        while len(found) < limit:  # again where damaged rows left a page short
            rows = pages.read(limit=limit - len(found), after=after, **filters)
            if not rows:
                break
            found += _ENTRY_READER.all(rows, self._damage)
            after = rows[-1][0]
        return found

    def counts(self) -> dict[State, int]:
        live = self._connection.execute(sql.LIVE_COUNTS)
        every = {row[0]: row[1] for row in live} | self._rollups.finished()
        return {state: count for state, count in every.items() if count}

    def ends(self) -> list[tuple[RequestClass, datetime | None, int]]:
        return [
            (kind, expires_at, count)
            for class_id, expires_at, count in self._connection.execute(sql.ENDS).all()
            if not isinstance(expires_at, Unreadable)
            and (kind := self._of_class(class_id)) is not None
        ]

    def ending(self, by: datetime) -> list[Request]:
        return self._values(self._connection.execute(sql.ENDING, {"by": by}))

    def ending_page(
        self, by: datetime, *, project_id: str | None, limit: int, after: str | None
    ) -> list[Request]:
        query, place = sql.ENDING.add_columns(*sql.BY_END), None
        if project_id is not None:
            query = query.where(RequestRow.project_id == project_id)
        if after is not None:
            pages = RequestPages(self._connection, sql.COLUMNS)
            place = pages.place_of(after, RequestRow.expires_at, project_id)
            if place[0] is None:
                raise InvalidInput(f"marker: request {after!r} has no end any more")
        found: list[Request] = []
        while (left := limit - len(found)) > 0:  # again where damaged rows left a page short
            page = (
                query if place is None else query.where(behind(sql.BY_END, place, descending=False))
            )
            rows = self._connection.execute(page.limit(left), {"by": by}).all()
            found += self._values(row[: len(sql.COLUMNS)] for row in rows)
            if len(rows) < left or any(isinstance(one, Unreadable) for one in rows[-1]):
                break
            place = tuple(rows[-1][len(sql.COLUMNS) :])
        return found

    def to_warn(self, lead_s: int, by: datetime) -> list[Request]:
        return self._values(self._connection.execute(sql.TO_WARN, {"lead_s": lead_s, "by": by}))

    def expiring(self) -> list[Request]:
        return self._values(self._connection.execute(sql.EXPIRING))

    def next_expiry(self, after: datetime = EPOCH) -> datetime | None:
        return self._connection.execute(sql.NEXT_EXPIRY, {"after": after}).scalar_one()

    def unshown_ends(self, limit: int) -> list[Request]:
        return self._values(self._connection.execute(sql.UNSHOWN.limit(limit)))

    def end_shown(self, request_id: str, at: datetime | None) -> None:
        shown = update(RequestRow).where(RequestRow.request_id == request_id)
        self._connection.execute(shown.values(shown_end_at=at))

    def waiting_to_borrow(self) -> list[tuple[RequestClass, int]]:
        return [
            (kind, count)
            for class_id, count in self._connection.execute(sql.WAITING_TO_BORROW).all()
            if (kind := self._of_class(class_id)) is not None
        ]

    def waiting_count(self, project_id: str, user_id: str | None = None) -> int:
        query = select(func.count()).where(
            RequestRow.project_id == project_id, RequestRow.state.in_(WAITING)
        )
        if user_id is not None:
            query = query.where(RequestRow.user_id == user_id)
        return self._connection.execute(query).scalar_one()

    def waiting_counts(self, project_ids: Sequence[str]) -> dict[tuple[str, str], int]:
        return {
            (project_id, user_id): count
            for part in _parts(project_ids)
            for project_id, user_id, count in self._connection.execute(
                sql.WAITING_COUNTS, {"ids": part}
            )
        }

    def ids_of(self, states: Sequence[State], project_id: str | None = None) -> list[str]:
        query = select(RequestRow.request_id).where(RequestRow.state.in_(states))
        if project_id is not None:
            query = query.where(RequestRow.project_id == project_id)
        return texts(self._connection.scalars(query))

    def projects_with(self, states: Sequence[State]) -> list[str]:
        query = select(RequestRow.project_id).where(RequestRow.state.in_(states)).distinct()
        return texts(self._connection.scalars(query.order_by(RequestRow.project_id)))

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
            select(*sql.STEP_COLUMNS)
            .where(StepRow.request_id == as_stored(request_id))
            .order_by(StepRow.seq)
        )
        return _STEP_READER.all(rows, self._damage)

    def quarantine(self, message_id: str, body: bytes, why: str, at: datetime) -> bool:
        key = message_id
        if not 1 <= len(key) <= _LONGEST_MESSAGE_ID or ODD.search(key):
            key = hashlib.sha256(message_id.encode(errors="surrogatepass")).hexdigest()
        known = select(QuarantineRow.message_id).where(QuarantineRow.message_id == key)
        if self._connection.execute(known).first() is not None:
            return False
        if len(body) > _LONGEST_KEPT:
            body, why = b"", f"{why}; its {len(body):,} bytes are too many to be kept"
        sealed = self._vault.seal(body)
        self._connection.execute(
            insert(QuarantineRow).values(message_id=key, at=at, why=why, sealed=sealed)
        )
        return True

    def quarantined(self) -> list[tuple[str, datetime, str]]:
        rows = self._connection.execute(select(*_QUARANTINE_COLUMNS).order_by(QuarantineRow.at))
        return _QUARANTINE_READER.all(rows, self._damage)

    def damaged(self) -> dict[str, str]:
        return self._damage.of(RequestRow.__tablename__)

    def _value(self, row: Values) -> Request:
        values = dict(zip(sql.VALUE_COLUMNS, row, strict=True))
        return Request(request_class=self._classes.get(values["class_id"]), **values)

    def _values(self, rows: Iterable[Values]) -> list[Request]:
        rows = list(rows)
        self._classes.read_ahead({row[sql.CLASS_ID] for row in rows})
        return _REQUEST_READER.all_made(rows, self._damage, self._value)


def _no_class(class_id: object) -> str:
    return f"its class {ascii(class_id)[:40]} is missing or damaged"


def _span_order(row: Values) -> tuple[int, str, datetime, datetime]:
    """Sums of usage must not depend on the order in which a database returns rows."""
    class_id, host, held_from, released_at, _ = row
    ended_at = released_at or datetime.max.replace(tzinfo=held_from.tzinfo)
    return class_id, host or "", held_from, ended_at


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _CHUNK):
        yield ids[start : start + _CHUNK]
