"""Reads from the store what waits and holds quota now, to be run forward. Changes nothing."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import inf
from typing import Final
from uuid import UUID

from synergy.core.forecasts.drawing import Held, Line
from synergy.core.ids import ID_BYTES
from synergy.core.model import Request, RequestClass, State
from synergy.ports import Reading

_HOLD: Final = (State.DISPATCHING, State.BUILDING, State.ACTIVE, State.EXPIRING)
_PAGE: Final = 1000


def read_waiting(uow: Reading, project_of: Mapping[int, str], maximum: int) -> list[Line]:
    """Return what waits, the oldest of each class first, at most `maximum` requests."""
    found: list[Line] = []
    for line in uow.requests.lines():
        if maximum <= 0:
            break
        found.append(
            Line(
                kind=line.request_class,
                project_id=project_of.get(line.request_class.association_id, ""),
                ids=line.ids[: maximum * ID_BYTES],
                queued_at_s=line.queued_at_s[:maximum],
            )
        )
        maximum -= len(line.queued_at_s)
    return found


def ids_of(line: Line) -> list[str]:
    """Return the ids of what waits, as they are written."""
    starts = range(0, len(line.ids), ID_BYTES)
    return [str(UUID(bytes=line.ids[start : start + ID_BYTES])) for start in starts]


def read_holding(uow: Reading, now: datetime) -> list[Held]:
    """Return what holds quota; its life begins when it runs."""
    found: list[Held] = []
    kinds: dict[RequestClass, RequestClass] = {}  # one of each: what is equal is sent once
    after: str | None = None
    while page := uow.requests.search(states=list(_HOLD), limit=_PAGE, after=after):
        found += [_held(one, kinds.setdefault(one.request_class, one.request_class), now)
                  for one in page]  # fmt: skip
        after = page[-1].request_id
    return found


def _held(request: Request, kind: RequestClass, now: datetime) -> Held:
    ends = request.expires_at
    if ends is None and kind.ttl_s > 0 and request.active_at is None:
        ends = now + timedelta(seconds=kind.ttl_s)
    return Held(
        key=UUID(request.request_id).int,
        kind=kind,
        project_id=request.project_id,
        began_s=(request.held_from or now).timestamp(),
        known_end_s=ends.timestamp() if ends is not None else inf,
    )
