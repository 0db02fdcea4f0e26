"""Usage reports: resource-hours by whom, on which quota, in which time, and what they cost.

Why: an operator has to show what was delivered beside what was promised. Hours come from the
servers themselves or from sums over them, never from the decayed history. Must not know shares'
algorithm.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from synergy.core.billing import billing
from synergy.core.declared.answers import usage as answers
from synergy.core.errors import InvalidInput
from synergy.core.model import QuotaKind
from synergy.core.rollup import DAY, Coverage, Level, Part, day_of, parts_of
from synergy.managers.fairshare.charging import Tariff
from synergy.managers.fairshare.rollups import coverage_of, priced
from synergy.ports import Reading, Series, Store, UsageLine

_MAX_PERIODS: Final = 400
_HOUR_US: Final = 3_600_000_000.0
_Key = tuple[str | None, str | None, str | None]
_Period = tuple[datetime, datetime]


@dataclass(slots=True)
class _Sum:
    """What was held of some series, by their numbers: to hash a series takes longer than the rest
    of a line."""

    servers: int = 0
    held_us: dict[int, int] = field(default_factory=dict)
    weighted_us: dict[int, float] = field(default_factory=dict)

    def add(self, number: int, line: UsageLine, *, first: bool) -> None:
        """Add a line; `first` tells that the period begins with it."""
        self.servers += line.started + (line.running if first else 0)
        self.held_us[number] = self.held_us.get(number, 0) + line.held_us
        self.weighted_us[number] = self.weighted_us.get(number, 0.0) + line.weighted_us

    def resource_hours(self, series: Sequence[Series]) -> dict[str, float]:
        """Return the amounts by resource class."""
        found: dict[str, int] = {}
        for number, held_us in self.held_us.items():
            for name, amount in series[number].demand.amounts:
                found[name] = found.get(name, 0) + amount * held_us
        return {name: round(us / _HOUR_US, 6) for name, us in sorted(found.items())}

    def billed_hours(self, rates: Sequence[float]) -> float:
        """Return the cost."""
        return sum(rates[number] * us for number, us in self.weighted_us.items()) / _HOUR_US


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What the rows of settled periods follow from, besides the tariff."""

    edition: int
    coverage: Coverage
    project_id: str | None
    group_by: tuple[str, ...]
    begin: datetime
    end: datetime
    count: int


class SettledUsage:
    """Remembers rows of periods that are over and summed up: a year by day is asked for again and
    again, and of one edition of the sums its days stay the same.

    Bounded by rows, the least recently asked for go first; for any number of threads.
    """

    def __init__(self, max_rows: int = 20_000) -> None:
        self._maximum, self._held = max_rows, 0
        self._lock = threading.Lock()
        self._known: OrderedDict[_Question, tuple[Tariff, list[answers.Usage]]] = OrderedDict()

    def rows(
        self, question: _Question, tariff: Tariff, find: Callable[[], list[answers.Usage]]
    ) -> list[answers.Usage]:
        """Return the rows, found now or earlier; nobody may change them."""
        with self._lock:
            known = self._known.get(question)
            if known is not None and known[0] == tariff:
                self._known.move_to_end(question)
                return known[1]
        rows = find()
        with self._lock:
            self._forget(question)
            self._known[question] = tariff, rows
            self._held += len(rows)
            while self._held > self._maximum:
                self._forget(next(iter(self._known)))
        return rows

    def _forget(self, question: _Question) -> None:
        _, rows = self._known.pop(question, (None, ()))
        self._held -= len(rows)


def usage_report(
    store: Store,
    tariff: Tariff,
    *,
    begin: datetime,
    end: datetime,
    group_by: Sequence[str],
    period: str,
    project_id: str | None,
    promised: Mapping[str, float] | None,
    settled: SettledUsage | None = None,
) -> answers.UsageReport:
    """Return rows of usage between two instants, by period and group.

    promised  norm_shares of each project, to compare what was delivered with; None leaves that out
    settled   remembers what the next report needs again
    Raises InvalidInput when the time is empty or has too many periods.
    """
    periods, known = list(_periods(begin, end, period)), settled or SettledUsage()
    with store.reading() as uow:
        names = _names(uow, group_by)
        progress = uow.rollups.progress()
        coverage = coverage_of(progress)

        def found(some: Sequence[_Period]) -> list[answers.Usage]:
            lines = _lines(uow, tariff, some, coverage, project_id, group_by)
            return _rows(lines, some, group_by, tariff)

        count = _settled(periods, coverage)
        rows: list[answers.Usage] = []
        # The first begins anywhere, the others where days or hours do: of a report that is asked
        # for a minute later they are the same.
        for past in filter(None, (periods[: min(1, count)], periods[1:count])):
            question = _Question(
                edition=progress.edition, coverage=coverage, project_id=project_id,
                group_by=tuple(group_by), begin=past[0][0], end=past[-1][1], count=len(past),
            )  # fmt: skip
            rows += known.rows(question, tariff, partial(found, past))
        rows += found(periods[count:])
    return {
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "usage": rows if not names else [_named(row, names, promised) for row in rows],
    }


def _names(uow: Reading, group_by: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return the names that rows need, by what they are the names of."""
    found = {}
    if "project" in group_by:
        found["project"] = {p.project_id: p.name for p in uow.projects.all()}
    if "user" in group_by:
        found["user"] = {a.user_id: a.user_name for a in uow.projects.associations()}
    return found


def _settled(periods: Sequence[_Period], coverage: Coverage) -> int:
    """Return how many of the first periods end by the last midnight that is summed up."""
    if coverage.rolled_until is None:
        return 0
    until = day_of(coverage.rolled_until)
    return sum(end <= until for _, end in periods)


def _rows(
    lines: Iterable[UsageLine],
    periods: Sequence[_Period],
    group_by: Sequence[str],
    tariff: Tariff,
) -> list[answers.Usage]:
    """Return the rows of some periods, without names and promises."""
    series, by_period = _by_period(lines, periods, group_by)
    rates = [_rate(one, tariff) for one in series]
    shared_rates = [
        rate if one.quota is QuotaKind.SHARED else 0.0
        for one, rate in zip(series, rates, strict=True)
    ]
    rows: list[answers.Usage] = []
    for (period_begin, period_end), sums in zip(periods, by_period, strict=True):
        billed = {key: entry.billed_hours(rates) for key, entry in sums.items()}
        shared = sum(entry.billed_hours(shared_rates) for entry in sums.values())
        for key in sorted(sums, key=lambda key: tuple(part or "" for part in key)):
            project, user, quota = key
            delivered = shared and _is_promised(project, user, quota)
            rows.append(
                {
                    "begin": period_begin.isoformat(),
                    "end": period_end.isoformat(),
                    "project_id": project,
                    "project": None,
                    "user_id": user,
                    "user": None,
                    "quota": quota,
                    "servers": sums[key].servers,
                    "resource_hours": sums[key].resource_hours(series),
                    "billed_hours": round(billed[key], 6),
                    "promised_share": None,
                    "delivered_share": billed[key] / shared if delivered else None,
                }
            )
    return rows


def _is_promised(project: str | None, user: str | None, quota: str | None) -> bool:
    """Return whether a row can be compared with shares: they are promised to projects."""
    return project is not None and user is None and quota == QuotaKind.SHARED


def _named(
    row: answers.Usage,
    names: Mapping[str, Mapping[str, str]],
    promised: Mapping[str, float] | None,
) -> answers.Usage:
    """Return a row with the names of today, and beside what was promised."""
    project, user = row["project_id"], row["user_id"]
    named: answers.Usage = {
        **row,
        "project": names.get("project", {}).get(project or ""),
        "user": names.get("user", {}).get(user or ""),
    }
    if promised is None:
        named["delivered_share"] = None
    elif _is_promised(project, user, row["quota"]):
        named["promised_share"] = promised.get(project or "")
    return named


def _lines(
    uow: Reading,
    tariff: Tariff,
    periods: Sequence[_Period],
    coverage: Coverage,
    project_id: str | None,
    group_by: Sequence[str],
) -> Iterator[UsageLine]:
    """Read what was held in the periods from the coarsest sums that are exact."""
    by = {f"by_{name}": name in group_by for name in ("project", "user")}
    for part in parts_of(periods, coverage):
        if part.level is Level.PRORATED:
            yield from _prorated(uow, part, project_id, by)
        elif part.level is Level.SPANS:
            held = uow.rollups.consumption(
                part.begin, part.end, project_id=project_id, hosts=tariff.hosts, **by
            )
            yield from priced(held, tariff, part.begin)
        else:
            yield from uow.rollups.lines(
                part.level, part.begin, part.end,
                project_id=project_id, summed=part.whole, **by,
            )  # fmt: skip


def _prorated(
    uow: Reading, part: Part, project_id: str | None, by: Mapping[str, bool]
) -> Iterator[UsageLine]:
    """Return the share of its day that a part has: the spans are purged, the days are left."""
    day = day_of(part.begin)
    ratio = (part.end - part.begin) / DAY
    for line in uow.rollups.lines(Level.DAYS, day, day + DAY, project_id=project_id, **by):
        yield replace(
            line,
            begins_at=part.begin,
            held_us=round(line.held_us * ratio),
            weighted_us=line.weighted_us * ratio,
        )


def _by_period(
    lines: Iterable[UsageLine], periods: Sequence[_Period], group_by: Sequence[str]
) -> tuple[list[Series], list[dict[_Key, _Sum]]]:
    """Return the series by their numbers, and the sums of each period by group."""
    begins = [begin for begin, _ in periods]
    found: list[dict[_Key, _Sum]] = [{} for _ in periods]
    numbers: dict[Series, int] = {}
    keys: list[_Key] = []
    last, number = None, 0
    for line in lines:
        if line.series is not last:  # lines come series by series
            last = line.series
            number = numbers.setdefault(last, len(numbers))
            if number == len(keys):
                keys.append(_key(last, group_by))
        index = bisect_right(begins, line.begins_at) - 1
        sums, key = found[index], keys[number]
        entry = sums.get(key)
        if entry is None:
            entry = sums[key] = _Sum()
        entry.add(number, line, first=line.begins_at == begins[index])
    return list(numbers), found


def _rate(series: Series, tariff: Tariff) -> float:
    """Return what a server of a series costs, without its host's factor."""
    billed = billing(series.demand, tariff.weights, maximum=tariff.max_tres)
    return billed * tariff.qos.get(series.qos, 1.0)


def _key(series: Series, group_by: Sequence[str]) -> _Key:
    return (
        series.project_id if "project" in group_by else None,
        series.user_id if "user" in group_by else None,
        series.quota.value if "quota" in group_by else None,
    )


def _periods(begin: datetime, end: datetime, period: str) -> Iterator[_Period]:
    """Return the periods between two instants; they begin at UTC hours, days, Mondays, months."""
    if begin >= end:
        raise InvalidInput(f"begin is {begin.isoformat()}, but must be before {end.isoformat()}")
    at, count = begin, 0
    while at < end:
        until = end if period == "none" else min(end, _next(at, period))
        yield at, until
        at, count = until, count + 1
        if count > _MAX_PERIODS:
            raise InvalidInput(
                f"there are more than {_MAX_PERIODS} periods of a {period}: ask for a shorter "
                "time or longer periods"
            )


def _next(at: datetime, period: str) -> datetime:
    """Return where the period after the one of `at` begins."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    if period == "hour":
        return hour + timedelta(hours=1)
    day = hour.replace(hour=0)
    if period == "day":
        return day + timedelta(days=1)
    if period == "week":
        return day + timedelta(days=7 - day.weekday())
    year, month = divmod(day.year * 12 + day.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
