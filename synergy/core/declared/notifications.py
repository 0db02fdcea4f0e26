"""The notifications that Synergy sends: name, version, payload, and when each is sent.

Why: a mailer, Aodh or a bot is written against a name and a schema, so each is declared once; what
is sent, the reference page with its samples and the tests come from here. What concerns a request
is made from its entry in the ledger, so a notification exists exactly where the change was
committed. Must not know what carries a notification, nor how far anybody was told.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, TypedDict

from synergy.core.declared.answers.parts import (
    Amounts,
    At,
    Count,
    EventWord,
    QuotaWord,
    ReasonWord,
    StateWord,
)
from synergy.core.declared.kinds import END, Schema
from synergy.core.declared.shapes import Also, answer_schema
from synergy.core.lifecycle import TRANSITIONS, Event, Step
from synergy.core.model import (
    NOTHING,
    OnPrivateFull,
    QuotaKind,
    Request,
    RequestClass,
    Resources,
    State,
)
from synergy.core.reasons import Reason

Version = Annotated[str, Also({"pattern": rf"^[1-9][0-9]*\.[0-9]+{END}"})]


class Priority(StrEnum):
    """The priority of a notification; the part of the topic behind the dot is its small letters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class RequestPayload(TypedDict):
    """Something that happened to a request.

    number  of its entry in the ledger; it grows, and names the same event if it is sent again
    The state is that after the event. What may change later (expires_at) is as it is when sent.
    """

    version: Version
    number: Count
    at: At
    event: EventWord
    state: StateWord
    reason: ReasonWord | None
    why: str
    request_id: str
    server_name: str
    project_id: str
    user_id: str
    flavor: str
    demand: Amounts
    quota: QuotaWord
    batch_id: str | None
    round_id: str | None
    ttl_s: Count
    expires_at: At | None


class ExpiringPayload(RequestPayload):
    """The end of a server is near.

    left_s  seconds from the event to the end
    """

    left_s: float


class ShortfallPayload(TypedDict):
    """By how much the private quotas exceed the cloud, now and before."""

    version: Version
    at: At
    shortfall: Amounts
    before: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A notification that is sent.

    name     its event_type
    version  of its payload: the first number changes when a field is removed or means something
             else, the second when one is added
    sent     when it is sent, as a sentence
    """

    name: str
    sent: str
    payload: type = RequestPayload
    version: str = "1.0"
    priority: Priority = Priority.INFO

    def schema(self) -> Schema:
        """Return the JSON Schema of its payload."""
        return answer_schema(self.payload, {})


def _of_request(name: str, sent: str, priority: Priority = Priority.INFO) -> Notification:
    return Notification(name=f"synergy.request.{name}", sent=sent, priority=priority)


_WARN, _ERROR = Priority.WARN, Priority.ERROR
CANCELLED: Final = _of_request("cancelled", "It was withdrawn, or deleted, before it was built.")
# Each event of the life of a request, and what is sent of it.
SENT: Final[Mapping[Event, Notification]] = {
    Event.ADMITTED: _of_request("queued", "It was accepted into the queue."),
    Event.REFUSED: _of_request("rejected", "It will not be built; ``reason`` says why.", _WARN),
    Event.HELD: _of_request("held", "Its user or an operator held it."),
    Event.RELEASED: _of_request("released", "It was returned to the queue."),
    Event.CANCELLED: CANCELLED,
    Event.UNREADABLE: _of_request(
        "quarantined", "It is quarantined until an operator acts.", _ERROR
    ),
    Event.GAVE_UP: _of_request(
        "given_up", "It could not be handed to Nova and is quarantined.", _ERROR
    ),
    Event.HANDED_OVER: _of_request("dispatched", "Nova's conductor has it and builds it."),
    Event.BOOTED: _of_request("started", "Its server runs; its lifetime begins."),
    Event.BUILD_FAILED: _of_request("failed", "Nova gave up its build.", _ERROR),
    Event.LOST: _of_request(
        "lost", "Nova received it, but has reported no progress for a long time.", _ERROR
    ),
    Event.ADOPTED: _of_request("adopted", "Its server ran before its project was managed."),
    Event.EXPIRY_WARNED: Notification(
        name="synergy.request.expiring",
        sent="Its end is near: once for each of ``[expiry] warnings_s``, and as notice.",
        payload=ExpiringPayload,
    ),
    Event.EXPIRY_WAIVED: _of_request(
        "waived", "Its lifetime is over, but its project lets it run on."
    ),
    Event.EXTENSION_REFUSED: _of_request(
        "extension_refused",
        "Its user asked for an extension that its project does not allow.",
        _WARN,
    ),
    Event.EXTENDED: _of_request("extended", "Its end was moved to a later time."),
    Event.TTL_REACHED: _of_request("expired", "Its lifetime is over, and Synergy ends it."),
    Event.END_REFUSED: _of_request("end_refused", "Nova refuses to end it now.", _WARN),
    Event.UNMANAGED: _of_request("unmanaged", "It has no end any more: its project left Synergy."),
    Event.RESIZED: _of_request("resized", "Its flavor changed."),
    Event.CHANGE_REFUSED: _of_request("change_refused", "A resize or unshelve did not fit.", _WARN),
    Event.SHELVED: _of_request("shelved", "It was shelved and claims no quota."),
    Event.UNSHELVED: _of_request("unshelved", "It claims quota again."),
    Event.REMOVED: _of_request("deleted", "Its server is gone from Nova."),
    Event.REVIVED: _of_request("revived", "It had ended in Synergy, but runs in Nova.", _WARN),
}
# Steps on the way to something that is sent, or of Nova's own work.
NOT_SENT: Final = frozenset(
    {
        Event.SELECTED, Event.HAND_OVER_FAILED, Event.ATTEMPT_FAILED, Event.RELOCATED,
        Event.MOVED_TO_SHARED,
    }
)  # fmt: skip
SHORTFALL: Final = Notification(
    name="synergy.quota.shortfall",
    sent="The private quotas exceed the cloud by other amounts than before.",
    payload=ShortfallPayload,
    priority=_ERROR,
)
RECOVERED: Final = Notification(
    name="synergy.quota.recovered",
    sent="The private quotas fit into the cloud again.",
    payload=ShortfallPayload,
)
NOTIFICATIONS: Final[Sequence[Notification]] = (*SENT.values(), SHORTFALL, RECOVERED)


def of_step(step: Step) -> Notification | None:
    """Return what is sent of an entry in the ledger, None for nothing."""
    if step.event is Event.REMOVED and step.to_state is State.CANCELLED:
        return CANCELLED
    return SENT.get(step.event)


def request_payload(
    declared: Notification, number: int, step: Step, request: Request
) -> RequestPayload:
    """Return the payload of an entry in the ledger and the request that it is about."""
    payload: RequestPayload = {
        "version": declared.version,
        "number": number,
        "at": step.at.isoformat(),
        "event": step.event.value,
        "state": step.to_state.value,
        "reason": step.reason.value if step.reason else None,
        "why": step.why,
        "request_id": request.request_id,
        "server_name": request.server_name,
        "project_id": request.project_id,
        "user_id": request.user_id,
        "flavor": request.flavor,
        "demand": dict(request.demand),
        "quota": request.quota.value,
        "batch_id": request.batch_id,
        "round_id": step.round_id,
        "ttl_s": request.ttl_s,
        "expires_at": request.expires_at.isoformat() if request.expires_at else None,
    }
    if declared.payload is not ExpiringPayload:
        return payload
    ends = [at for at in (request.expires_at, request.not_before_at) if at is not None]
    left = max(ends, default=step.at) - step.at
    expiring: ExpiringPayload = {**payload, "left_s": max(0.0, left.total_seconds())}
    return expiring


def shortfall_payload(
    declared: Notification, at: datetime, shortfall: Resources, before: Resources
) -> ShortfallPayload:
    """Return the payload of a change of the shortfall."""
    return {
        "version": declared.version,
        "at": at.isoformat(),
        "shortfall": dict(shortfall),
        "before": dict(before),
    }


_NOON: Final = datetime(2026, 1, 31, 12, tzinfo=UTC)
_EXAMPLE: Final = Request(
    request_id="6f3c1f9e-0b0a-4c7e-9a54-2f6a4be1d6a7",
    class_id=1,
    request_class=RequestClass(
        association_id=1,
        demand=Resources.of(VCPU=2, MEMORY_MB=4096),
        quota=QuotaKind.SHARED,
        on_private_full=OnPrivateFull.QUEUE,
    ),
    project_id="4b1c7d2ad2e94f6e8d3a0f5b6c7d8e9f",
    user_id="0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    server_name="worker-1",
    flavor="m1.medium",
    queued_at=_NOON,
    changed_at=_NOON,
    ttl_s=86_400,
)


def sample(declared: Notification) -> Mapping[str, object]:
    """Return an example of a payload, for the reference page."""
    if declared.payload is ShortfallPayload:
        short = Resources.of(VCPU=8)
        now, before = (NOTHING, short) if declared is RECOVERED else (short, NOTHING)
        return shortfall_payload(declared, _NOON, now, before)
    event = next(one for one, sent in SENT.items() if sent is declared)
    from_state, to_state = next(
        (source, target) for (source, one), target in TRANSITIONS.items() if one is event
    )
    begun = to_state in (State.ACTIVE, State.EXPIRING, State.DELETED)
    request = replace(_EXAMPLE, expires_at=_NOON + timedelta(days=1)) if begun else _EXAMPLE
    reason = Reason.NEVER_FITS if event is Event.REFUSED else None
    step = Step(
        request_id=request.request_id, at=_NOON, from_state=from_state, to_state=to_state,
        event=event, why=reason.meaning if reason else "", reason=reason,
    )  # fmt: skip
    return request_payload(declared, 4711, step, request)
