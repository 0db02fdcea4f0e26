"""The reconcile table: what to do for every pair of a request's state and Nova's status.

Why: notifications are lost, wrong or late, and a database may be restored from yesterday's backup.
A forgotten pair would leave a server charged, or running, for ever; so every pair is in the table,
with a missing server too. Must not know how Nova is queried. The table in the documentation is
generated from this one.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from synergy.core.lifecycle import TERMINAL, WAITING, Event
from synergy.core.model import Request, Resources, ServerStatus, State

S, N, E = State, ServerStatus, Event


class Stay(StrEnum):
    """Why a pair changes nothing."""

    AGREES = "agrees"
    UNDER_WAY = "under way"  # Nova is working on it; without progress it is lost after a while
    UNSETTLED = "unsettled"  # being handed over: after a while Nova is asked whether it got it
    OVER = "over"  # it ended in Synergy, and what is left in Nova holds nothing
    UNKNOWN = "unknown"  # Nova cannot show it now: it is looked at again


RUNNING: Final = (N.ACTIVE, N.STOPPED)
SIZED: Final = (S.ACTIVE, S.EXPIRING)  # states in which a server may change its flavor or host
ABSENT: Final = N.DELETED

_WAITING_ROW: Final[Mapping[ServerStatus, Event | Stay]] = {
    N.SCHEDULING: Stay.AGREES,
    N.BUILDING: E.HANDED_OVER,
    N.ACTIVE: E.BOOTED,
    N.STOPPED: E.BOOTED,
    N.SHELVED: E.SHELVED,
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
        N.SHELVED: E.SHELVED,
        N.ERROR: E.BUILD_FAILED,
        N.DELETED: E.REMOVED,
    },
    S.EXPIRING: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: Stay.AGREES,
        N.STOPPED: Stay.AGREES,
        N.SHELVED: E.SHELVED,
        N.ERROR: Stay.AGREES,  # it must still be ended
        N.DELETED: E.REMOVED,
    },
    S.PARKED: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: E.UNSHELVED,
        N.STOPPED: E.UNSHELVED,
        N.SHELVED: Stay.AGREES,
        N.ERROR: E.BUILD_FAILED,
        N.DELETED: E.REMOVED,
    },
    S.ERROR: {
        N.SCHEDULING: Stay.UNDER_WAY,
        N.BUILDING: Stay.UNDER_WAY,
        N.ACTIVE: E.BOOTED,
        N.STOPPED: E.BOOTED,
        N.SHELVED: E.SHELVED,
        N.ERROR: Stay.AGREES,
        N.DELETED: E.REMOVED,
    },
    **dict.fromkeys(TERMINAL, _ENDED_ROW),
}
TABLE: Final[Mapping[tuple[State, ServerStatus], Event | Stay]] = {
    (state, status): Stay.UNKNOWN if status is N.UNKNOWN else _ROWS[state][status]
    for state in State
    for status in ServerStatus
}


def missed(
    request: Request,
    status: ServerStatus,
    *,
    host: str | None = None,
    demand: Resources | None = None,
    in_task: bool = False,
) -> Event | None:
    """Return the event that Nova's view implies and the request missed, None if it missed none.

    status   ABSENT when Nova knows no such server
    demand   the server's current size, None when unknown
    in_task  Nova is working on it, so its size may be about to change
    """
    found = TABLE[request.state, status]
    if found is E.SHELVED and request.state is S.ACTIVE and in_task:
        return None  # it is being unshelved
    if isinstance(found, Event):
        return found
    if found is not Stay.AGREES:
        return None
    if request.state is S.ERROR and status is N.ERROR and host != request.host:
        return E.RELOCATED  # a failed server without a host holds nothing
    if request.state not in SIZED:
        return None
    if host is not None and host != request.host and not in_task:
        return E.RELOCATED
    if demand is not None and demand != request.demand and not in_task:
        return E.RESIZED
    return None


def possible_instant(request: Request, at: datetime, now: datetime) -> datetime:
    """Clamp `at`, an instant by a host's clock, to the time in which the event can have happened.

    A host's clock may be days off. Nothing can happen to a server before the last instant recorded
    for its request, nor after now.
    """
    known = (request.queued_at, request.held_from, request.active_at, request.released_at)
    earliest = max(one for one in known if one is not None)
    return min(max(at, earliest), now)
