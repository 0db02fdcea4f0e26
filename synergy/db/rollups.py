"""Usage by hour and day, the spans that it is summed up from, and counts of the ledger.

Why: a report over a year must not read every request. What is summed up here can be summed up again
from the spans, which are in three places: a request tells its present or last one, `usage_spans`
the earlier ones and those of archived requests. Must not know what usage costs.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Connection,
    Executable,
    Select,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    type_coerce,
    update,
)

from synergy.core.errors import Conflict
from synergy.core.lifecycle import TERMINAL
from synergy.core.model import QuotaKind, RequestClass, State
from synergy.core.rollup import Level
from synergy.db import usage_statements as statements
from synergy.db.classes import Classes
from synergy.db.columns import Instant, Values, is_instant
from synergy.db.models import (
    ClassRow,
    FinishedRow,
    HourRow,
    LedgerHourRow,
    RequestRow,
    RollupProgressRow,
    SeriesRow,
    SpanRow,
    StepRow,
)
from synergy.db.rows import Damaged, DamageLog, RowReader
from synergy.db.usage_statements import LENGTHS, SERIES, TABLES
from synergy.ports import (
    UNREADABLE_PROGRESS,
    Consumption,
    News,
    RollupProgress,
    Series,
    UsageLine,
)

CHUNK: Final = 500  # bound parameters of one statement
_HOUR_US: Final = 3_600_000_000
_LAST_SEQ: Final = 2**63 - 1


def _ended(state: Any) -> Select[Any]:
    """Return the statement that counts ledger entries by a terminal state."""
    between = StepRow.seq > bindparam("after"), StepRow.seq <= bindparam("until")
    return (
        select(state, func.count())
        .where(*between, state.in_(sorted(TERMINAL)))
        .group_by(state)
        .with_hint(StepRow, "NOT INDEXED", "sqlite")  # by number: only the newest entries
    )


_INTO: Final = _ended(StepRow.to_state)
_OUT_OF: Final = _ended(StepRow.from_state)
_GROWTH: Final = tuple(RollupProgress.__dataclass_fields__)
_GROWTH_COLUMNS: Final = [
    RollupProgressRow.growth_id,
    *(getattr(RollupProgressRow, name) for name in _GROWTH),
]
_GROWTH_ROW: Final = select(*_GROWTH_COLUMNS)
_GROWTH_OF: Final = RowReader(
    _GROWTH_COLUMNS, lambda row: RollupProgress(**dict(zip(_GROWTH, row[1:], strict=True)))
)


def series_of(kind: RequestClass, project_id: str, user_id: str) -> Series:
    """Return the series of a user's requests of a class."""
    return Series(
        project_id=project_id, user_id=user_id, association_id=kind.association_id,
        quota=kind.quota, qos=kind.qos, demand=kind.demand,
    )  # fmt: skip


def _project(project_id: str | None) -> dict[str, object]:
    """Return what a statement of one project or of all takes."""
    return {} if project_id is None else {"project_id": project_id}


class SqlRollups:
    """The repository of sums; see `ports.Rollups`."""

    def __init__(self, connection: Connection, classes: Classes, damage: DamageLog) -> None:
        self._connection, self._classes, self._damage = connection, classes, damage

    def progress(self) -> RollupProgress:
        row = self._connection.execute(_GROWTH_ROW).first()
        try:
            if row is None:
                raise Damaged("it is missing")
            return _GROWTH_OF.one(row)
        except Damaged as error:
            self._damage.note(
                RollupProgressRow.__tablename__, 1, f"{error}; nothing is summed up any more"
            )
            return UNREADABLE_PROGRESS

    # --- spans ------------------------------------------------------------------------------------

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
        given = {"begin": begin, "end": end} | _project(project_id)
        of = project_id is not None
        sums = _Consumed(by_project=by_project, by_user=by_user, hosts=hosts)
        for query in (
            statements.open_spans(one_project=of),
            statements.closed_spans(self._side(RequestRow, begin, end), one_project=of),
        ):
            for project, user, class_id, host, *amounts in self._connection.execute(
                query, given
            ).all():
                owner = (project, user, class_id)
                if owner not in sums.numbers:
                    try:
                        kind = self._classes.get(class_id)
                    except Damaged as error:
                        self._damage.note(ClassRow.__tablename__, class_id, str(error))
                        continue
                    sums.know(owner, series_of(kind, project, user))
                sums.add(owner, host, amounts)
        earlier = statements.earlier_spans(self._side(SpanRow, begin, end), one_project=of)
        for series_id, *named, host, running, count, held in self._connection.execute(
            earlier, given
        ):
            if series_id not in sums.numbers:
                known = _SERIES_READER.all([(series_id, *named)], self._damage)
                if not known:
                    continue
                sums.know(series_id, known[0][1])
            sums.add(series_id, host, (running, count, held))
        return sums.all()

    def _side(self, table: Any, begin: datetime, end: datetime) -> str:
        """Return the hint of the index with fewer spans to look through: what was claimed before
        the end, or what was released after the begin. SQLite cannot know which."""
        oldest, newest = self._connection.execute(statements.bounds(table)).one()
        name = table.__tablename__
        known = isinstance(oldest, datetime) and isinstance(newest, datetime)
        if known and end - oldest < newest - begin:
            return f"INDEXED BY ix_{name}_held_from_released_at"
        return f"INDEXED BY ix_{name}_released_at_held_from"

    def first_held_at(self) -> datetime | None:
        firsts = [
            self._connection.execute(
                select(func.min(table.held_from)).where(is_instant(table.held_from))
            ).scalar_one()
            for table in (RequestRow, SpanRow)
        ]
        return min((one for one in firsts if isinstance(one, datetime)), default=None)

    def add_spans(self, spans: Sequence[tuple[Series, str | None, datetime, datetime]]) -> None:
        """Keep spans (series, host, held_from, released_at) that no request tells any longer."""
        kept = [span for span in spans if span[2] < span[3]]
        if not kept:
            return
        ids = self._ids_of({span[0] for span in kept})
        self._connection.execute(
            insert(SpanRow),
            [
                {"series_id": ids[series], "host": host, "held_from": since, "released_at": until}
                for series, host, since, until in kept
            ],
        )

    # --- sums -------------------------------------------------------------------------------------

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
        if not (by_project or by_user):
            return self._lines_of_all(level, begin, end, project_id, summed=summed)
        series = self._series(project_id, by_user=by_user)
        given = {"begin": begin, "end": end}
        # Few buckets of everybody are read by their instant, many buckets series by series.
        few = (end - begin) / LENGTHS[level] < 31 and len(series) > CHUNK
        query = statements.lines(level, summed=summed, by_series=not few)
        if few:
            rows: Iterable[Values] = self._connection.execute(query, given)
        else:
            rows = self._of_each(query, given, series)
        return [
            UsageLine(
                series=series[series_id], begins_at=begins_at, running=running, started=started,
                held_us=int(held_us), weighted_us=weighted_us,
            )
            for series_id, begins_at, running, started, held_us, weighted_us
            in (rows if summed else _LINE_READERS[level].all(rows, self._damage))
            if series_id in series
        ]  # fmt: skip

    def _lines_of_all(
        self, level: Level, begin: datetime, end: datetime, project_id: str | None, *, summed: bool
    ) -> list[UsageLine]:
        """Return the lines of series without their project: the database adds projects up, so
        that a year of all of them is few rows.

        Each size of server is a question of its own, by the ids of its series: joined to the table
        of series, SQLite reads the lines by their instant, and so those of every user too.
        """
        alike: dict[Series, list[int]] = {}
        for series_id, series in self._series(project_id, by_user=False).items():
            everybody = replace(series, project_id="", association_id=0)
            alike.setdefault(everybody, []).append(series_id)
        query = statements.added_up(level, summed=summed)
        given = {"begin": begin, "end": end}
        return [
            UsageLine(
                series=series, begins_at=at, running=int(running), started=int(started),
                held_us=int(held_us), weighted_us=weighted_us,
            )
            for series, ids in alike.items()
            for at, running, started, held_us, weighted_us in self._of_each(query, given, ids)
        ]  # fmt: skip

    def _of_each(
        self, query: Executable, given: Mapping[str, object], series: Iterable[int]
    ) -> Iterator[Values]:
        ids = sorted(series)
        for start in range(0, len(ids), CHUNK):
            part = {"series_ids": ids[start : start + CHUNK]}
            yield from self._connection.execute(query, {**given, **part})

    def _series(self, project_id: str | None, *, by_user: bool) -> dict[int, Series]:
        query = statements.series(of_users=by_user, one_project=project_id is not None)
        rows = self._connection.execute(query, _project(project_id))
        return dict(_SERIES_READER.all(rows, self._damage))

    def forget_bucket(self, level: Level, begins_at: datetime) -> None:
        table = TABLES[level]
        self._connection.execute(delete(table).where(table.begins_at == begins_at))

    def add_lines(self, level: Level, lines: Sequence[UsageLine]) -> None:
        if not lines:
            return
        ids = self._ids_of({line.series for line in lines})
        self._connection.execute(
            insert(TABLES[level]),
            [
                {
                    "series_id": ids[line.series], "begins_at": line.begins_at,
                    "running": line.running, "started": line.started, "held_us": line.held_us,
                    "weighted_us": line.weighted_us,
                }
                for line in lines
            ],
        )  # fmt: skip

    def has_hours(self, before: datetime) -> bool:
        first = self._connection.execute(select(func.min(HourRow.begins_at))).scalar_one()
        return first is not None and first < before

    def forget_hours(self, before: datetime, limit: int) -> int:
        first = self._connection.execute(select(func.min(HourRow.begins_at))).scalar_one()
        if first is None or first >= before:
            return 0
        doomed = self._connection.execute(
            select(HourRow.series_id).where(HourRow.begins_at == first).limit(limit)
        ).all()
        later = first + LENGTHS[Level.HOURS]
        self._connection.execute(
            update(RollupProgressRow)
            .where(RollupProgressRow.hours_from < later)
            .values(hours_from=later)
        )
        key = (HourRow.begins_at == first) & HourRow.series_id.in_([row[0] for row in doomed])
        return self._connection.execute(delete(HourRow).where(key)).rowcount

    def _ids_of(self, wanted: set[Series]) -> dict[Series, int]:
        """Return the ids of series, writing those that are new."""
        by_digest = {_digest(one): one for one in wanted}
        known = self._known(list(by_digest))
        missing = sorted(set(by_digest) - set(known))
        if missing:
            self._connection.execute(
                insert(SeriesRow),
                [
                    {"digest": digest}
                    | {n: getattr(by_digest[digest], n) for n in Series.__dataclass_fields__}
                    for digest in missing
                ],
            )
            known |= self._known(missing)
        return {by_digest[digest]: series_id for digest, series_id in known.items()}

    def _known(self, digests: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(digests), CHUNK):
            part = digests[start : start + CHUNK]
            query = select(SeriesRow.digest, SeriesRow.series_id).where(SeriesRow.digest.in_(part))
            found |= {row[0]: row[1] for row in self._connection.execute(query)}
        return found

    # --- counts of the ledger ---------------------------------------------------------------------

    def news(self, progress: RollupProgress, limit: int) -> News:
        newest = self._connection.execute(select(func.max(StepRow.seq))).scalar_one() or 0
        newest = max(newest, progress.ledger_seq)  # the newest entries may be archived
        # What was the newest in the last pass: a transaction with a lower number may have been
        # open then, but no longer.
        until = min(progress.newest_seq, progress.ledger_seq + limit)
        after = StepRow.seq > progress.ledger_seq
        counted = (after, StepRow.seq <= until)
        at_us = type_coerce(StepRow.at, BigInteger)
        hour = (at_us - at_us % _HOUR_US).label("hour")
        hours = self._connection.execute(
            select(type_coerce(hour, Instant), func.min(StepRow.seq))
            .where(*counted, is_instant(StepRow.at))
            .group_by(hour)
        )
        first_at = self._connection.execute(
            select(func.min(StepRow.at)).where(after, is_instant(StepRow.at))
        ).scalar()
        return News(
            first_at=first_at if isinstance(first_at, datetime) else None,
            finished=self._finished(progress.ledger_seq, until),
            first_seqs={row[0]: row[1] for row in hours if isinstance(row[0], datetime)},
            ledger_seq=max(until, progress.ledger_seq),
            newest_seq=newest,
        )

    def finished(self) -> dict[State, int]:
        """Return how many requests ended in each state since the beginning."""
        counts: dict[State, int] = dict.fromkeys(sorted(TERMINAL), 0)
        for row in self._connection.execute(select(FinishedRow.state, FinishedRow.count)):
            counts[row[0]] += row[1]
        for state, count in self._finished(self.progress().ledger_seq, _LAST_SEQ).items():
            counts[state] += count
        return counts

    def _finished(self, after: int, until: int) -> dict[State, int]:
        """Return how many requests ended in each state, less those that came back from it.

        after, until  numbers of ledger entries: behind the first, up to the second
        """
        counts = Counter[State]()
        for query, sign in ((_INTO, 1), (_OUT_OF, -1)):
            for row in self._connection.execute(query, {"after": after, "until": until}):
                counts[row[0]] += sign * row[1]
        return counts

    def count(self, news: News) -> None:
        for state, count in sorted(news.finished.items()):
            self._add_to(FinishedRow, {"state": state}, {"count": FinishedRow.count + count},
                         {"count": count})  # fmt: skip
        for begins_at, seq in sorted(news.first_seqs.items()):
            lowest = case((LedgerHourRow.first_seq < seq, LedgerHourRow.first_seq), else_=seq)
            self._add_to(LedgerHourRow, {"begins_at": begins_at}, {"first_seq": lowest},
                         {"first_seq": seq})  # fmt: skip

    def _add_to(
        self,
        table: Any,
        key: Mapping[str, object],
        changed: Mapping[str, object],
        new: Mapping[str, object],
    ) -> None:
        if self._connection.execute(update(table).filter_by(**key).values(changed)).rowcount == 0:
            self._connection.execute(insert(table).values(**key, **new))

    def save_progress(self, before: RollupProgress, after: RollupProgress) -> None:
        as_read = [
            getattr(RollupProgressRow, name).is_not_distinct_from(getattr(before, name))
            for name in _GROWTH
        ]
        values = {name: getattr(after, name) for name in _GROWTH}
        done = self._connection.execute(update(RollupProgressRow).where(*as_read).values(values))
        if done.rowcount != 1 and before != after:
            raise Conflict("usage was summed up by another process meanwhile")


class _Consumed:
    """What was held, by as much of its series and host as is asked for: a report that does not ask
    for users gets one entry of thousands of rows.

    numbers  of the series of each owner: to hash a series takes longer than the rest of a row
    """

    def __init__(self, *, by_project: bool, by_user: bool, hosts: Collection[str] | None) -> None:
        self._by_project, self._by_user, self._hosts = by_project, by_user, hosts
        self.numbers: dict[object, int] = {}
        self._numbers_of: dict[Series, int] = {}
        self._sums: dict[tuple[int, str | None], list[int]] = {}

    def know(self, owner: object, series: Series) -> None:
        """Note whose an owner's rows are."""
        if not (self._by_user and self._by_project):
            series = replace(
                series,
                user_id=series.user_id if self._by_user else "",
                project_id=series.project_id if self._by_project else "",
                association_id=0,
            )
        self.numbers[owner] = self._numbers_of.setdefault(series, len(self._numbers_of))

    def add(self, owner: object, host: str | None, amounts: Values) -> None:
        """Add a row of (running, all, held_us)."""
        key = self.numbers[owner], host if self._hosts is None or host in self._hosts else None
        running, count, held_us = amounts
        known = self._sums.get(key)
        if known is None:
            self._sums[key] = [int(running), int(count), int(held_us)]
        else:
            known[0] += int(running)
            known[1] += int(count)
            known[2] += int(held_us)

    def all(self) -> list[Consumption]:
        """Return the sums."""
        series = list(self._numbers_of)
        return [
            Consumption(
                series=series[number], host=host, running=running, started=count - running,
                held_us=held_us,
            )
            for (number, host), (running, count, held_us) in self._sums.items()
        ]  # fmt: skip


def _series(named: Values) -> tuple[int, Series]:
    series_id, *rest = named
    return series_id, Series(**dict(zip(Series.__dataclass_fields__, rest, strict=True)))


_SERIES_READER: Final = RowReader([SeriesRow.series_id, *SERIES], _series)
_LINE_READERS: Final = {
    level: RowReader(
        [
            table.series_id, table.begins_at, table.running, table.started, table.held_us,
            table.weighted_us,
        ],
        lambda row: row,
    )
    for level, table in TABLES.items()
}  # fmt: skip


def _digest(series: Series) -> str:
    named = [
        series.project_id, series.user_id, series.association_id, QuotaKind(series.quota).value,
        series.qos, series.demand.amounts,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()
