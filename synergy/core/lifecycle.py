"""The life of a request as a table; only `transition` moves a request.

Must not know who noticed the event or where the request is stored. The diagram in the
documentation is generated from TRANSITIONS.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, Final

from synergy.core.errors import IllegalTransition
from synergy.core.model import QuotaKind, Request, State
from synergy.core.reasons import Reason


class Event(StrEnum):
    """What happened to a request, in the past tense."""

    ADMITTED = "ADMITTED"  # accepted into the queue
    REFUSED = "REFUSED"  # will not be built; the user reads why
    ADOPTED = "ADOPTED"  # its server ran before its project was managed
    UNREADABLE = "UNREADABLE"  # the message is not what Nova sends; kept for a person
    HELD = "HELD"  # by an operator or its user
    RELEASED = "RELEASED"  # back to the queue
    EXTENDED = "EXTENDED"  # its lifetime was prolonged
    EXTENSION_REFUSED = "EXTENSION_REFUSED"  # its user asked for a longer one than the rule allows
    EXPIRY_WARNED = "EXPIRY_WARNED"  # its end is near
    EXPIRY_WAIVED = "EXPIRY_WAIVED"  # its end came, and by rule it goes on
    MOVED_TO_SHARED = "MOVED_TO_SHARED"  # only in old ledgers; today a round decides it at dispatch
    SELECTED = "SELECTED"  # a round chose it
    HANDED_OVER = "HANDED_OVER"  # the conductor has it
    HAND_OVER_FAILED = "HAND_OVER_FAILED"  # nothing was published
    GAVE_UP = "GAVE_UP"  # too many failed hand-overs
    BOOTED = "BOOTED"
    ATTEMPT_FAILED = "ATTEMPT_FAILED"  # the build failed on a host; Nova may try another
    BUILD_FAILED = "BUILD_FAILED"  # Nova gave up the build
    TTL_REACHED = "TTL_REACHED"
    END_REFUSED = "END_REFUSED"  # Nova refuses to end it now; it is retried
    LOST = "LOST"  # handed over, and Nova shows no progress for long
    RELOCATED = "RELOCATED"  # it moved to another host, or lost its host
    SHELVED = "SHELVED"  # and offloaded: claims nothing
    UNSHELVED = "UNSHELVED"
    RESIZED = "RESIZED"  # its flavor changed, and so does what it holds
    CHANGE_REFUSED = "CHANGE_REFUSED"  # a resize or unshelve did not fit; nothing changed
    CANCELLED = "CANCELLED"  # withdrawn before it was built
    REMOVED = "REMOVED"  # the server is gone from Nova
    REVIVED = "REVIVED"  # it had ended in Synergy, but runs in Nova
    UNMANAGED = "UNMANAGED"  # its project is no longer managed: it does not expire


S, E = State, Event

TERMINAL: Final = frozenset({S.DELETED, S.CANCELLED, S.REJECTED})
WAITING: Final = frozenset({S.RECEIVED, S.QUEUED, S.HELD, S.QUARANTINED})
HOLDS_QUOTA: Final = frozenset({S.DISPATCHING, S.BUILDING, S.ACTIVE, S.EXPIRING})
IN_NOVA: Final = HOLDS_QUOTA | {S.ERROR, S.PARKED}

TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (S.RECEIVED, E.ADMITTED): S.QUEUED,
    (S.RECEIVED, E.REFUSED): S.REJECTED,
    (S.RECEIVED, E.ADOPTED): S.ACTIVE,
    (S.RECEIVED, E.UNREADABLE): S.QUARANTINED,
    (S.QUEUED, E.SELECTED): S.DISPATCHING,
    (S.QUEUED, E.HELD): S.HELD,
    (S.QUEUED, E.REFUSED): S.REJECTED,
    (S.QUEUED, E.UNREADABLE): S.QUARANTINED,
    (S.HELD, E.RELEASED): S.QUEUED,
    (S.QUARANTINED, E.RELEASED): S.QUEUED,
    (S.DISPATCHING, E.HANDED_OVER): S.BUILDING,
    (S.DISPATCHING, E.HAND_OVER_FAILED): S.QUEUED,
    (S.DISPATCHING, E.GAVE_UP): S.QUARANTINED,
    (S.DISPATCHING, E.UNREADABLE): S.QUARANTINED,
    **{(s, E.TTL_REACHED): S.EXPIRING for s in (S.ACTIVE, S.ERROR)},
    (S.EXPIRING, E.END_REFUSED): S.EXPIRING,
    (S.BUILDING, E.LOST): S.BUILDING,
    (S.PARKED, E.UNSHELVED): S.ACTIVE,
    (S.ACTIVE, E.EXTENDED): S.ACTIVE,
    **{(s, E.EXTENSION_REFUSED): s for s in (*IN_NOVA,)},
    **{(s, E.EXPIRY_WARNED): s for s in (S.ACTIVE, S.ERROR)},
    **{(s, E.EXPIRY_WAIVED): s for s in (S.ACTIVE, S.ERROR)},
    # The user may change a server before the notification of its boot, or failure, arrives.
    **{(s, E.RESIZED): s for s in (*HOLDS_QUOTA, S.ERROR)},
    **{(s, E.CHANGE_REFUSED): s for s in IN_NOVA},
    (S.BUILDING, E.ATTEMPT_FAILED): S.BUILDING,
    # A notification may arrive before HANDED_OVER is committed, and Nova may revive a failed
    # server.
    (S.DISPATCHING, E.ATTEMPT_FAILED): S.DISPATCHING,
    # After the database was restored from a backup, Nova may already have a request that still
    # waits here.
    **{(s, E.HANDED_OVER): S.BUILDING for s in WAITING},
    **{(s, E.BOOTED): S.ACTIVE for s in (*WAITING, S.DISPATCHING, S.BUILDING, S.ERROR)},
    **{
        (s, E.BUILD_FAILED): S.ERROR
        for s in (*WAITING, S.DISPATCHING, S.BUILDING, S.ACTIVE, S.PARKED)
    },
    **{(s, E.SHELVED): S.PARKED for s in (*WAITING, *HOLDS_QUOTA, S.ERROR)},
    **{(s, E.RELOCATED): s for s in (*HOLDS_QUOTA, S.ERROR)},
    **{(s, E.REVIVED): S.ACTIVE for s in TERMINAL},
    **{(s, E.UNMANAGED): S.ACTIVE if s is S.EXPIRING else s for s in IN_NOVA},
    **{(s, E.CANCELLED): S.CANCELLED for s in (*WAITING, S.DISPATCHING)},
    **{(s, E.REMOVED): S.CANCELLED for s in WAITING},
    **{(s, E.REMOVED): S.DELETED for s in IN_NOVA},
}

# Events that only a person's command causes, with the command's past participle.
_COMMANDS: Final[Mapping[Event, str]] = {
    E.HELD: "held",
    E.RELEASED: "released",
    E.EXTENDED: "extended",
}
ABSORBED: Final[frozenset[tuple[State, Event]]] = frozenset(
    {  # late or repeated facts that change nothing
        (S.BUILDING, E.HANDED_OVER),
        (S.ACTIVE, E.HANDED_OVER),
        (S.ACTIVE, E.BOOTED),
        (S.EXPIRING, E.HANDED_OVER),
        (S.EXPIRING, E.BOOTED),
        (S.EXPIRING, E.TTL_REACHED),
        (S.EXPIRING, E.BUILD_FAILED),
        (S.ERROR, E.HANDED_OVER),
        (S.ERROR, E.BUILD_FAILED),
        *((s, E.ATTEMPT_FAILED) for s in (S.ACTIVE, S.EXPIRING, S.ERROR, S.PARKED)),
        (S.PARKED, E.SHELVED),
        *((s, E.UNSHELVED) for s in (*HOLDS_QUOTA, S.ERROR)),
        # A command is not absorbed: anyone who gives it must get an error when nothing happens.
        *((s, e) for s in TERMINAL for e in E if e not in (E.REVIVED, *_COMMANDS)),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of the ledger: what happened to which request, when and why."""

    request_id: str
    at: datetime
    from_state: State
    to_state: State
    event: Event
    round_id: str | None = None
    why: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The request after an event, and the step to record; None when the event was absorbed."""

    request: Request
    step: Step | None

    def as_saved(self) -> Request:
        """Return the request as it is stored after the commit of this move."""
        generation = self.request.generation + (self.step is not None)
        return replace(self.request, generation=generation)


def holds_quota(request: Request) -> bool:
    """Return whether the request counts against a quota now. A failed one does while it has a
    host."""
    return _holds_quota(request.state, request.host)


def _holds_quota(state: State, host: str | None) -> bool:
    return state in HOLDS_QUOTA or (state is State.ERROR and host is not None)


class Unchanged(Enum):
    """Marks an event that says nothing about the host."""

    HOST = 0


def _why_not(request: Request, event: Event) -> str:
    if event not in _COMMANDS:
        return f"request {request.request_id}: {event} cannot happen while it is {request.state}"
    takes = " or ".join(state for state, takes in TRANSITIONS if takes is event)
    return (
        f"request {request.request_id} is {request.state}: only one that is {takes} can be "
        f"{_COMMANDS[event]}"
    )


def transition(
    request: Request,
    event: Event,
    at: datetime,
    *,
    why: str = "",
    reason: Reason | None = None,
    round_id: str | None = None,
    host: str | Unchanged | None = Unchanged.HOST,
) -> Move:
    """Apply `event`, which happened at `at` and left the server on `host`, to `request`.

    `why` and `reason` belong to this event; those of earlier events are overwritten. Sets
    `held_from` and `released_at` to the ends of the span in which quota is held with one size
    on one host, and starts the lifetime of a shared server when it becomes ACTIVE. Raises
    IllegalTransition when the pair is neither in TRANSITIONS nor in ABSORBED.
    """
    if (request.state, event) in ABSORBED:
        return Move(request, None)
    target = TRANSITIONS.get((request.state, event))
    if target is None:
        raise IllegalTransition(_why_not(request, event))
    on = request.host if host is Unchanged.HOST else host
    changes: dict[str, Any] = {
        "state": target, "changed_at": at, "why": why, "reason": reason, "host": on
    }  # fmt: skip
    held, holds = holds_quota(request), _holds_quota(target, on)
    if holds and not held:
        changes |= {"held_from": at, "released_at": None}
    elif held and not holds:
        changes["released_at"] = at
    elif held and _starts_new_span(request, event, on) and _is_later(at, request.held_from):
        changes["held_from"] = at  # the store keeps the span that ends here
    if target is State.ACTIVE and request.active_at is None:
        changes |= {"active_at": at, "expires_at": _end_of_life(request, at)}
    step = Step(
        request_id=request.request_id,
        at=at,
        from_state=request.state,
        to_state=target,
        event=event,
        round_id=round_id,
        why=why,
        reason=reason,
    )
    return Move(replace(request, **changes), step)


def _starts_new_span(request: Request, event: Event, host: str | None) -> bool:
    """Return whether the size of what is held, or its host, changes with this event."""
    return event is Event.RESIZED or (request.host is not None and host != request.host)


def _is_later(at: datetime, held_from: datetime | None) -> bool:
    return held_from is not None and at > held_from


def _end_of_life(request: Request, active_at: datetime) -> datetime | None:
    if request.quota is not QuotaKind.SHARED:
        return None
    return active_at + timedelta(seconds=request.ttl_s)


def quotas_open_to(request: Request) -> tuple[QuotaKind, ...]:
    """Return the quotas that a request may start on; once it is dispatched, the one it claims."""
    if request.state not in WAITING:
        return (request.quota,)
    kind = request.request_class
    may = (QuotaKind.PRIVATE, kind.may_own), (QuotaKind.SHARED, kind.may_borrow)
    return tuple(quota for quota, allowed in may if allowed)


def diagram() -> str:
    """Return the life of a request as a Graphviz digraph, for the documentation."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (source, event), target in TRANSITIONS.items():
        arrows.setdefault((source, target), []).append(event.value)
    lines = []
    for (source, target), events in sorted(arrows.items()):
        label = "\\n".join(sorted(events))
        lines.append(f'  {source} -> {target} [label="{label}"];')
    return "\n".join(["digraph life {", "  rankdir=LR;", *lines, "}"])
