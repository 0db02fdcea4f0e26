"""Moves what is finished for long out of the tables that the service works with.

Why: a finished request costs kilobytes of rows and index entries, of which a compressed record
keeps a few hundred bytes. A record is moved in one transaction of the same database, so a crash or
a full disk at any step leaves it either here or there, whole. Must not know when or why.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select, update

from synergy.core.errors import Conflict, NotFound
from synergy.core.ids import as_stored
from synergy.core.lifecycle import TERMINAL, Event, Step
from synergy.core.model import (
    OnPrivateFull,
    QuotaKind,
    Request,
    RequestClass,
    Resources,
    State,
)
from synergy.core.reasons import Reason
from synergy.core.rollup import DAY, day_of
from synergy.db.classes import Classes
from synergy.db.columns import EPOCH, MICROSECOND, Unreadable
from synergy.db.models import (
    ArchiveRow,
    AuditRow,
    Base,
    BodyRow,
    ClassRow,
    QuarantineRow,
    RequestRow,
    RollupProgressRow,
    SpanRow,
    StepRow,
)
from synergy.db.rollups import CHUNK, SqlRollups, series_of
from synergy.db.rows import DamageLog
from synergy.ports import LedgerEntry

# What records look like, so that each alone compresses well. It is part of the format: a change
# needs a new first byte.
_FORMAT: Final = b"\x01"
_ALIKE: Final = (
    b'{"request":{"seq":1,"request_id":"-4000-8000-","class_id":1,"batch_id":"r-","project_id":"",'
    b'"user_id":"","server_name":"server","flavor":"m1.small","state":"DELETED","queued_at":17,'
    b'"changed_at":17,"ttl_s":86400,"held_from":17,"released_at":17,"active_at":17,"expires_at":17,'
    b'"retry_at":null,"attempts":0,"host":"compute","why":"","generation":5},"class":{"class_id":1,'
    b'"digest":"","association_id":1,"demand":{"DISK_GB":20,"MEMORY_MB":2048,"VCPU":1},'
    b'"quota":"shared","on_private_full":"queue","qos":"normal","nice":0,"ttl_s":86400,'
    b'"constraints":[]},"ledger":[{"seq":1,"request_id":"","project_id":"","at":17,'
    b'"from_state":"RECEIVED","to_state":"QUEUED","event":"ADMITTED","round_id":null,"why":""},'
    b'{"from_state":"QUEUED","to_state":"DISPATCHING","event":"SELECTED"},"HANDED_OVER","BUILDING",'
    b'"BOOTED","ACTIVE","TTL_REACHED","EXPIRING","REMOVED","DELETED","CANCELLED","REJECTED"]}'
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of record: its rows, and when they are finished.

    key, at    the columns that name a record and tell its age
    key_type   makes the key of the name of a record, which is a text
    finished   what else has to hold
    children   table and column of the rows that belong to it, by name in the record
    left_out   columns that the archive must not hold
    oldest_first, by_key  the indexes by `at` and by `key`, where SQLite would choose another one:
                          it guesses that few rows are in a state
    """

    table: type[Base]
    key: str
    at: str
    key_type: type = str
    finished: tuple[ColumnElement[bool], ...] = ()
    children: Mapping[str, tuple[type[Base], str]]
    left_out: frozenset[str] = frozenset()
    oldest_first: str = ""
    by_key: str = ""


# The newest row of a numbered table always stays: SQLite gives the highest number plus one, and a
# number must never come twice.
_NEWEST_STEP: Final = select(func.max(StepRow.seq)).scalar_subquery()
_COUNTED: Final = select(func.max(RollupProgressRow.ledger_seq)).scalar_subquery()
KINDS: Final[Mapping[str, Kind]] = {
    "request": Kind(
        table=RequestRow,
        key="request_id",
        at="changed_at",
        finished=(
            RequestRow.state.in_(sorted(TERMINAL)),
            RequestRow.seq < select(func.max(RequestRow.seq)).scalar_subquery(),
            ~exists().where(BodyRow.request_id == RequestRow.request_id),  # its user is to be told
            ~exists().where(
                StepRow.request_id == RequestRow.request_id,
                (StepRow.seq > _COUNTED) | (StepRow.seq == _NEWEST_STEP),
            ),
        ),
        children={"ledger": (StepRow, "request_id")},
        oldest_first="ix_requests_changed_at_seq",
        by_key="sqlite_autoindex_requests_1",
    ),
    "audit": Kind(
        table=AuditRow,
        key="seq",
        at="at",
        key_type=int,
        finished=(AuditRow.seq < select(func.max(AuditRow.seq)).scalar_subquery(),),
        children={},
    ),
    "quarantine": Kind(
        table=QuarantineRow,
        key="message_id",
        at="at",
        children={},
        left_out=frozenset({"sealed"}),  # tokens and passwords
    ),
}


E = TypeVar("E", bound=StrEnum)
# What events were called when records were archived that are older than a renaming.
_EVENTS_THEN: Final = {
    "PAUSED": Event.HELD,
    "RESUMED": Event.RELEASED,
    "PARKED": Event.SHELVED,
    "UNPARKED": Event.UNSHELVED,
    "KEPT": Event.UNMANAGED,
}
_INSTANTS: Final = (
    "queued_at", "changed_at", "held_from", "released_at", "active_at", "expires_at", "retry_at",
)  # fmt: skip


class SqlArchive:
    """The repository of the archive; see `ports.Archive`."""

    kinds = tuple(KINDS)

    def __init__(self, connection: Connection, classes: Classes, damage: DamageLog) -> None:
        self._connection, self._classes = connection, classes
        self._rollups = SqlRollups(connection, classes, damage)

    # --- into the archive -------------------------------------------------------------------------

    def due(self, kind: str, before: datetime, limit: int) -> list[str]:
        of, at = KINDS[kind], getattr(KINDS[kind].table, KINDS[kind].at)
        query = select(getattr(of.table, of.key)).where(at < before, *of.finished)
        if of.oldest_first:  # or SQLite sorts everything that is finished, for each batch
            query = query.with_hint(of.table, f"INDEXED BY {of.oldest_first}", "sqlite")
        return [str(key) for key in self._connection.scalars(query.order_by(at).limit(limit))]

    def due_count(self, kind: str, before: datetime) -> int:
        of, at = KINDS[kind], getattr(KINDS[kind].table, KINDS[kind].at)
        query = select(func.count()).select_from(of.table).where(at < before, *of.finished)
        return self._connection.execute(query).scalar_one()

    def oldest(self, kind: str, maximum: int, limit: int) -> list[str]:
        surplus = min(self.size(kind) - maximum, limit)
        if surplus <= 0:
            return []
        of = KINDS[kind]
        query = select(getattr(of.table, of.key)).order_by(getattr(of.table, of.at)).limit(surplus)
        return [str(key) for key in self._connection.scalars(query)]

    def size(self, kind: str) -> int:
        query = select(func.count()).select_from(KINDS[kind].table)
        return self._connection.execute(query).scalar_one()

    def move(self, kind: str, keys: Sequence[str]) -> int:
        of = KINDS[kind]
        key = getattr(of.table, of.key)
        chosen = key.in_([of.key_type(one) for one in keys])
        rows = self._rows(of.table, chosen, *of.finished, index=of.by_key)
        if not rows:
            return 0
        records: dict[str, dict[str, Any]] = {
            str(row[of.key]): {kind: _without(row, of.left_out)} for row in rows
        }
        for name, (table, column) in of.children.items():
            for record in records.values():
                record[name] = []
            owned = getattr(table, column).in_(list(records))
            for row in self._rows(table, owned):
                records[str(row[column])][name].append(row)
            self._connection.execute(delete(table).where(owned))
        if of.table is RequestRow:
            self._complete(rows, records)
        self._connection.execute(
            insert(ArchiveRow),
            [
                {"kind": kind, "key": str(row[of.key]), "at": row[of.at],
                 "record": pack(records[str(row[of.key])])}
                for row in rows
            ],
        )  # fmt: skip
        gone = self._connection.execute(delete(of.table).where(key.in_([r[of.key] for r in rows])))
        if gone.rowcount != len(rows):
            raise Conflict(f"{kind} records were deleted while they were archived")
        return len(rows)

    def _rows(self, table: Any, *conditions: Any, index: str = "") -> list[dict[str, object]]:
        columns = list(table.__table__.columns)
        order = list(table.__table__.primary_key.columns)
        query = select(*columns).where(*conditions).order_by(*order)
        if index:  # or SQLite reads everything that is finished, for each batch
            query = query.with_hint(table, f"INDEXED BY {index}", "sqlite")
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def _complete(
        self, rows: Sequence[Mapping[str, Any]], records: Mapping[str, dict[str, Any]]
    ) -> None:
        """Add their classes, which may go, and keep the spans, which usage is summed up from."""
        wanted = sorted({row["class_id"] for row in rows})
        classes = {
            row["class_id"]: row for row in self._rows(ClassRow, ClassRow.class_id.in_(wanted))
        }
        spans = []
        for row in rows:
            records[row["request_id"]]["class"] = classes[row["class_id"]]
            if row["held_from"] is not None and row["released_at"] is not None:
                kind = self._classes.get(row["class_id"])
                series = series_of(kind, row["project_id"], row["user_id"])
                spans.append((series, row["host"], row["held_from"], row["released_at"]))
        self._rollups.add_spans(spans)

    # --- what is in it ----------------------------------------------------------------------------

    def counts(self, before: datetime | None = None) -> dict[str, int]:
        query = select(ArchiveRow.kind, func.count()).group_by(ArchiveRow.kind)
        if before is not None:
            query = query.where(ArchiveRow.at < before)
        return {row[0]: row[1] for row in self._connection.execute(query)}

    def record(self, kind: str, key: str) -> dict[str, Any]:
        query = select(ArchiveRow.record).where(ArchiveRow.kind == kind, ArchiveRow.key == key)
        found = self._connection.execute(query).scalar()
        if found is None:
            raise NotFound(f"{kind} {key!r} is not in the archive")
        return unpack(found)

    def request(self, request_id: str) -> tuple[Request, list[LedgerEntry]]:
        record = self.record("request", as_stored(request_id))
        try:
            return _request_of(record), [_entry_of(row) for row in record["ledger"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise NotFound(
                f"request {request_id!r} is archived, but its record cannot be read: {error!r}"
            ) from error

    def purge(self, before: datetime, limit: int) -> int:
        progress = self._rollups.progress()
        if progress.rolled_until is None or progress.rolled_until < before:
            until = progress.rolled_until.isoformat() if progress.rolled_until else "no day"
            raise Conflict(
                f"usage is summed up until {until}, so what is older than {before.isoformat()} "
                "cannot be purged yet: run the service, or synergy-manage db rebuild-usage, first"
            )
        gone = 0
        for table, key, at in (
            (ArchiveRow, ArchiveRow.archive_id, ArchiveRow.at),
            (SpanRow, SpanRow.span_id, SpanRow.released_at),
        ):
            newest = select(func.max(key)).scalar_subquery()
            doomed = select(key).where(at < before, key < newest).order_by(at).limit(limit)
            ids = list(self._connection.scalars(doomed))
            for start in range(0, len(ids), CHUNK):
                part = ids[start : start + CHUNK]
                gone += self._connection.execute(delete(table).where(key.in_(part))).rowcount
        if gone and (progress.purged_until is None or progress.purged_until < before):
            self._connection.execute(
                update(RollupProgressRow).values(purged_until=_whole_day(before))
            )
        return gone

    # --- classes ----------------------------------------------------------------------------------

    def unused_classes(self, after: int, limit: int) -> tuple[list[int], int | None]:
        looked_at = list(
            self._connection.scalars(
                select(ClassRow.class_id)
                .where(ClassRow.class_id > after)
                .order_by(ClassRow.class_id)
                .limit(limit)
            )
        )
        if not looked_at:
            return [], None
        return self._unused(looked_at), looked_at[-1]

    def drop_classes(self, class_ids: Sequence[int]) -> int:
        # What this process remembers of them goes first: an intake that follows looks them up.
        self._classes.forget()
        unused = self._unused(class_ids)
        if unused:
            self._connection.execute(delete(ClassRow).where(ClassRow.class_id.in_(unused)))
        return len(unused)

    def _unused(self, class_ids: Sequence[int]) -> list[int]:
        newest = select(func.max(ClassRow.class_id)).scalar_subquery()
        query = select(ClassRow.class_id).where(
            ClassRow.class_id.in_(list(class_ids)),
            ClassRow.class_id < newest,
            ~exists().where(RequestRow.class_id == ClassRow.class_id),
        )
        return list(self._connection.scalars(query))


def _without(row: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, object]:
    return {name: value for name, value in row.items() if name not in left_out}


def _whole_day(at: datetime) -> datetime:
    """Return the end of the day of an instant: a part of that day has spans no longer."""
    return day_of(at) if day_of(at) == at else day_of(at) + DAY


def pack(record: Mapping[str, object]) -> bytes:
    """Return a record compressed."""
    packer = zlib.compressobj(level=9, wbits=-15, zdict=_ALIKE)
    text = json.dumps(record, default=_plain, separators=(",", ":")).encode()
    return _FORMAT + packer.compress(text) + packer.flush()


def unpack(packed: bytes) -> dict[str, Any]:
    """Return the record. Raises NotFound for a format that this version does not know."""
    if packed[:1] != _FORMAT:
        raise NotFound(f"the archive's record has format {packed[:1]!r}, which is newer than this")
    opener = zlib.decompressobj(wbits=-15, zdict=_ALIKE)
    found: dict[str, Any] = json.loads(opener.decompress(packed[1:]) + opener.flush())
    return found


def _request_of(record: Mapping[str, Any]) -> Request:
    """Return an archived request. Raises KeyError, TypeError or ValueError."""
    kind, row = record["class"], record["request"]
    known = {name: row[name] for name in Request.__dataclass_fields__ if name in row}
    known |= {name: _instant(row.get(name)) for name in _INSTANTS}
    known["state"] = State(row["state"])
    known["reason"] = _member(Reason, row["reason"]) if row.get("reason") else None
    names = RequestClass.__dataclass_fields__
    request_class = RequestClass(
        **{name: kind[name] for name in names if name in kind}
        | {
            "demand": Resources.of(kind["demand"]),
            "quota": QuotaKind(kind["quota"]),
            "on_private_full": _member(OnPrivateFull, kind["on_private_full"]),
            "constraints": tuple((name, value) for name, value in kind["constraints"]),
        }
    )
    return Request(request_class=request_class, **known)


def _entry_of(row: Mapping[str, Any]) -> LedgerEntry:
    step = Step(
        request_id=row["request_id"],
        at=EPOCH + row["at"] * MICROSECOND,
        from_state=State(row["from_state"]),
        to_state=State(row["to_state"]),
        event=_EVENTS_THEN.get(row["event"]) or Event(row["event"]),
        round_id=row["round_id"],
        why=row["why"],
    )
    return LedgerEntry(number=row["seq"], project_id=row["project_id"], step=step)


def _member(kind: type[E], value: str) -> E:
    return kind(value)


def _instant(value: int | None) -> datetime | None:
    return None if value is None else EPOCH + value * MICROSECOND


def _plain(value: object) -> object:
    """Return what JSON knows: instants in microseconds since the epoch, as in the tables."""
    if isinstance(value, datetime):
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Resources):
        return dict(value)
    if isinstance(value, Unreadable):
        return value.shown
    raise TypeError(f"{value!r} has no place in the archive")
