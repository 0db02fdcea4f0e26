"""What is shown of the forecast that is stored of a request: both ends of its start interval.

Why: a number is taken for a promise, so none is shown before enough forecasts were held against
what happened. Must not know how a forecast is made, or who asks.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import inf

from synergy.core.declared.answers.forecasts import StartForecast
from synergy.core.forecasts.correction import NEEDED
from synergy.core.forecasts.record import Recorded
from synergy.core.model import Request, State
from synergy.managers.support.render import NO_FORECAST, instant_json
from synergy.ports import Reading


def starts_shown(
    uow: Reading, requests: Sequence[Request], now: datetime
) -> dict[str, StartForecast]:
    """Return what is shown of each request, by id; nothing of one that does not wait."""
    queued = [one.request_id for one in requests if one.state is State.QUEUED]
    held = {one.request_id for one in requests if one.state is State.HELD}
    resolved = uow.forecasts.count_resolved(NEEDED) if queued else 0
    stored = uow.forecasts.of(queued) if resolved >= NEEDED else {}
    found = {one.request_id: NO_FORECAST for one in requests}
    found |= dict.fromkeys(held, _without("it is held"))
    for request_id in queued:
        found[request_id] = _start_shown(stored.get(request_id), resolved, now)
    return found


def _start_shown(stored: Recorded | None, resolved: int, now: datetime) -> StartForecast:
    if resolved < NEEDED:
        return _without(f"{resolved} of {NEEDED} needed")
    if stored is None:
        return _without("the queue was not run forward since it came")
    p50_at = _instant(stored, stored.published.p50_s)
    p90_at = _instant(stored, stored.published.p90_s)
    return {
        "forecast_p50_at": instant_json(p50_at),
        "forecast_p90_at": instant_json(p90_at),
        "forecast_text": _words(p50_at, p90_at, now),
    }


def _without(why: str) -> StartForecast:
    return {**NO_FORECAST, "forecast_text": f"no forecast yet: {why}"}


def _instant(stored: Recorded, wait_s: float) -> datetime | None:
    """Return when that is, in whole seconds; None for never."""
    if wait_s == inf:
        return None
    return (stored.made_at + timedelta(seconds=wait_s)).replace(microsecond=0)


def _words(p50_at: datetime | None, p90_at: datetime | None, now: datetime) -> str:
    if p90_at is not None and p90_at < now:
        return f"later than forecast: nine of ten such requests start by {p90_at.isoformat()}"
    if p50_at is None:
        return "no start is foreseen with the lifetimes that are known"
    by = p90_at.isoformat() if p90_at is not None else "no instant that is known"
    return f"half of such requests start by {p50_at.isoformat()}, nine of ten by {by}"
