"""When the end of a server is announced, and who ends first where only need ends servers.

Must not know servers, clocks or who is told.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from synergy.core.model import Request, Resources, total

HOUR_S: Final = 3600.0


def lead_due(leads_s: Iterable[int], request: Request, now: datetime) -> int | None:
    """Return the lead at which a request's end is to be announced now, None for no announcement.

    leads_s  seconds before the end; one as long as the whole lifetime would announce every start

    Of several leads that passed, for instance while the service was away, the shortest is it.
    """
    if request.expires_at is None:
        return None
    left_s = (request.expires_at - now).total_seconds()
    warned_s = request.warned_s
    due = (
        lead_s
        for lead_s in leads_s
        if left_s <= lead_s < request.ttl_s and (warned_s is None or lead_s < warned_s)
    )
    return min(due, default=None)


def needed_first(
    overdue: Sequence[Request],
    waiting: Iterable[tuple[Resources, int]],
    ending: Iterable[Resources],
    *,
    now: datetime,
    fairshare_of: Callable[[int], float],
) -> list[Request]:
    """Return those of the overdue servers that have to end for what waits, the first to end first.

    waiting       (demand, count) of what waits
    ending        demands of the servers that end already
    fairshare_of  the factor of an association, in [0, 1]

    Longest overdue first, by whole hours, then least deserving, then by the end of the lifetime.
    """
    lacking = {
        name: amount
        for name, amount in _less(_wanted(waiting), total(ending)).items()
        if amount > 0
    }

    def order(request: Request) -> tuple[float, float, datetime, str]:
        ended_at = request.expires_at or now
        hours = (now - ended_at).total_seconds() // HOUR_S
        factor = fairshare_of(request.request_class.association_id)
        return -hours, factor, ended_at, request.request_id

    chosen = []
    for request in sorted(overdue, key=order):
        useful = [name for name in request.demand if lacking.get(name, 0) > 0]
        if useful:
            chosen.append(request)
            lacking = _less(lacking, request.demand)
    return chosen


def _wanted(waiting: Iterable[tuple[Resources, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for demand, count in waiting:
        for name, amount in demand.items():
            sums[name] = sums.get(name, 0) + amount * count
    return sums


def _less(amounts: dict[str, int], taken: Resources) -> dict[str, int]:
    return {name: amount - taken.get(name, 0) for name, amount in amounts.items()}
