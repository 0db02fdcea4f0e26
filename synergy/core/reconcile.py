"""What follows from every pair of our state and Nova's status: one table, absence included.

Why: notifications get lost, lie or come late, a store may be restored from yesterday, and each pair
that nobody thought of leaves a server charged, or living, for ever. Must not know how Nova is
asked. The table in the documentation is generated from this one.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from synergy.core.lifecycle import TERMINAL, WAITING, Event
from synergy.core.model import Request, Resources, ServerStatus, State

S, N, E = State, ServerStatus, Event


class Stay(StrEnum):
    """Why a pair moves nothing."""

    AGREES = "agrees"
    UNDER_WAY = "under way"  # Nova is at work; without a sign of life it is lost after a while
    UNSETTLED = "unsettled"  # being handed over: asked after a while whether it was sent
    OVER = "over"  # it ended here, and what Nova keeps of it holds nothing


RUNNING: Final = (N.ACTIVE, N.STOPPED)
SIZED: Final = (S.ACTIVE, S.EXPIRING)  # where a server may have another flavor, or another host
ABSENT: Final = N.DELETED

_WAITING_ROW: Final[Mapping[ServerStatus, Event | Stay]] = {
    N.SCHEDULING: Stay.AGREES,
    N.BUILDING: E.HANDED_OVER,
    N.ACTIVE: E.BOOTED,
    N.STOPPED: E.BOOTED,
    N.SHELVED: E.PARKED,
    N.ERROR: E.BUILD_FAILED,
    N.DELETED: E.REMOVED,
}
_ENDED_ROW: Final[Mapping[ServerStatus, Event | Stay]] = {
    status: E.REVIVED if status in RUNNING else Stay.OVER for status in ServerStatus
}
_ROWS: Final[Mapping[State, Mapping[ServerStatus, Event | Stay]]] = {
    **dict.fromkeys(WAITING, _WAITING_ROW),
    S.DISPATCHING: {**_WAITING_ROW, N.SCHEDULING: Stay.UNSETTLED},
    S.BUILDING: {
        **_WAITING_ROW,
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
    },
    S.ACTIVE: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: Stay.AGREES,
        N.STOPPED: Stay.AGREES,
        N.SHELVED: E.PARKED,
        N.ERROR: E.BUILD_FAILED,
        N.DELETED: E.REMOVED,
    },
    S.EXPIRING: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: Stay.AGREES,
        N.STOPPED: Stay.AGREES,
        N.SHELVED: E.PARKED,
        N.ERROR: Stay.AGREES,  # it still has to end
        N.DELETED: E.REMOVED,
    },
    S.PARKED: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: E.UNPARKED,
        N.STOPPED: E.UNPARKED,
        N.SHELVED: Stay.AGREES,
        N.ERROR: E.BUILD_FAILED,
        N.DELETED: E.REMOVED,
    },
    S.ERROR: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: E.BOOTED,
        N.STOPPED: E.BOOTED,
        N.SHELVED: E.PARKED,
        N.ERROR: Stay.AGREES,
        N.DELETED: E.REMOVED,
    },
    **dict.fromkeys(TERMINAL, _ENDED_ROW),
}
TABLE: Final[Mapping[tuple[State, ServerStatus], Event | Stay]] = {
    (state, status): _ROWS[state][status] for state in State for status in ServerStatus
}


def missed(
    request: Request,
    status: ServerStatus,
    *,
    host: str | None = None,
    demand: Resources | None = None,
    in_task: bool = False,
) -> Event | None:
    """Return the event that Nova shows and the request lacks, None when it lacks none.

    status   ABSENT when Nova knows no such server
    demand   what the server is sized for now, None when nobody knows
    in_task  Nova is at work on it, so that its size is about to change
    """
    found = TABLE[request.state, status]
    if found is E.PARKED and request.state is S.ACTIVE and in_task:
        return None  # it is on its way back
    if isinstance(found, Event):
        return found
    if found is not Stay.AGREES:
        return None
    if request.state is S.ERROR and status is N.ERROR and host != request.host:
        return E.RELOCATED  # on no host it holds nothing
    if request.state not in SIZED:
        return None
    if host is not None and host != request.host and not in_task:
        return E.RELOCATED
    if demand is not None and demand != request.demand and not in_task:
        return E.RESIZED
    return None


def possible_instant(request: Request, at: datetime, now: datetime) -> datetime:
    """Return the instant nearest to `at`, as a host tells it, at which something can have happened.

    A host's clock may be days off: nothing happened to a server before its request was claimed, or
    what followed from that, and nothing happens after now.
    """
    known = (request.queued_at, request.held_from, request.active_at, request.released_at)
    earliest = max(one for one in known if one is not None)
    return min(max(at, earliest), now)
