"""Usage reports: resource-hours by whom, on which quota, in which time, and what they cost.

Why: an operator has to show what was delivered beside what was promised. Hours come from the
requests themselves, never from the decayed history. Must not know shares' algorithm.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from synergy.core.billing import billing
from synergy.core.errors import InvalidInput
from synergy.core.model import QuotaKind
from synergy.managers.base import Json
from synergy.managers.charging import Tariff
from synergy.managers.render import instant_json
from synergy.ports import Consumption, Store

GROUPS: Final = ("project", "user", "quota")
PERIODS: Final = ("none", "hour", "day", "week", "month")
_MOST_PERIODS: Final = 400
_HOUR_S: Final = 3600.0
_Key = tuple[str | None, str | None, str | None]


@dataclass(slots=True)
class _Sum:
    servers: int = 0
    hours: dict[str, float] = field(default_factory=dict)
    billed_hours: float = 0.0

    def add(self, one: Consumption, tariff: Tariff) -> None:
        kind, hours = one.request_class, one.held_s / _HOUR_S
        self.servers += one.servers
        for name, amount in kind.demand.amounts:
            self.hours[name] = self.hours.get(name, 0.0) + amount * hours
        rate = billing(kind.demand, tariff.weights, maximum=tariff.max_tres)
        rate *= tariff.qos.get(kind.qos, 1.0) * tariff.hosts.get(one.host or "", 1.0)
        self.billed_hours += rate * hours


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
) -> Json:
    """Return rows of usage between two instants, by period and group.

    promised  norm_shares of each project, to compare what was delivered with; None leaves that out
    Raises InvalidInput when the time is empty or has too many periods.
    """
    windows = list(_windows(begin, end, period))
    rows: list[dict[str, Any]] = []
    with store.reading() as uow:
        names = {p.project_id: p.name for p in uow.projects.all()}
        users = {a.user_id: a.user_name for a in uow.projects.associations()}
        for window_begin, window_end in windows:
            sums: dict[_Key, _Sum] = {}
            shared = 0.0
            for one in uow.requests.consumption(window_begin, window_end, project_id=project_id):
                entry = sums.setdefault(_key(one, group_by), _Sum())
                before = entry.billed_hours
                entry.add(one, tariff)
                if one.request_class.quota is QuotaKind.SHARED:
                    shared += entry.billed_hours - before
            for (project, user, quota), entry in sorted(sums.items(), key=_by_key):
                whole = project is not None and user is None  # shares are promised to projects
                comparable = promised is not None and whole and quota == QuotaKind.SHARED
                rows.append(
                    {
                        "begin": instant_json(window_begin),
                        "end": instant_json(window_end),
                        "project_id": project,
                        "project": names.get(project or ""),
                        "user_id": user,
                        "user": users.get(user or ""),
                        "quota": quota,
                        "servers": entry.servers,
                        "resource_hours": {n: round(h, 6) for n, h in sorted(entry.hours.items())},
                        "billed_hours": round(entry.billed_hours, 6),
                        "promised_share": (promised or {}).get(project or "")
                        if comparable
                        else None,
                        "delivered_share": entry.billed_hours / shared
                        if comparable and shared
                        else None,
                    }
                )
    return {"begin": instant_json(begin), "end": instant_json(end), "usage": rows}


def _key(one: Consumption, group_by: Sequence[str]) -> _Key:
    return (
        one.project_id if "project" in group_by else None,
        one.user_id if "user" in group_by else None,
        one.request_class.quota.value if "quota" in group_by else None,
    )


def _by_key(item: tuple[_Key, _Sum]) -> tuple[str, ...]:
    return tuple(part or "" for part in item[0])


def _windows(begin: datetime, end: datetime, period: str) -> Iterator[tuple[datetime, datetime]]:
    """Return the periods between two instants; they begin at UTC hours, days, Mondays, months."""
    if begin >= end:
        raise InvalidInput(f"begin is {begin.isoformat()}, but must be before {end.isoformat()}")
    at, count = begin, 0
    while at < end:
        until = end if period == "none" else min(end, _next(at, period))
        yield at, until
        at, count = until, count + 1
        if count > _MOST_PERIODS:
            raise InvalidInput(
                f"there are more than {_MOST_PERIODS} periods of a {period}: ask for a shorter "
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
