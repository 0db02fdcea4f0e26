"""Requests, their ledger, and messages that are kept aside."""

from typing import Annotated, Final, NotRequired, TypedDict

from synergy.core.declared.answers.forecasts import StartForecast
from synergy.core.declared.answers.parts import (
    FOREIGN,
    OPERATORS,
    Amounts,
    At,
    Count,
    EventWord,
    QuotaWord,
    QuotaWords,
    ReasonWord,
    StateWord,
)
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.filters import EVENT_FILTERS, LIMIT, NUMBER
from synergy.core.declared.read import OfProjects, Read


class RequestRow(StartForecast):
    """A request as it is stored."""

    id: str
    name: str
    project_id: str
    user_id: str
    state: StateWord
    quota: QuotaWord
    quotas: QuotaWords
    flavor: str
    demand: Amounts
    qos: str
    ttl_s: Count
    batch_id: str | None
    class_id: int
    queued_at: At | None
    active_at: At | None
    expires_at: At | None
    retry_at: At | None
    attempts: Count
    host: Annotated[str | None, OPERATORS]
    why: Annotated[str, FOREIGN]
    revision: str
    reason: ReasonWord | None


Step = TypedDict(
    "Step",
    {
        "at": At,
        "from": StateWord,
        "to": StateWord,
        "event": EventWord,
        "round_id": str | None,
        "why": Annotated[str, FOREIGN],
        "reason": ReasonWord | None,
    },
)


class RequestWithHistory(RequestRow):
    """A request with its ledger; of an archived one the archive tells it."""

    history: list[Step]
    archived: bool


class Request(RequestRow):
    """A server that Synergy holds or held; `history` and `archived` only when it is shown alone."""

    history: NotRequired[list[Step]]
    archived: NotRequired[bool]


class _Numbered(TypedDict):
    number: Count
    project_id: str
    request_id: str


class Event(_Numbered, Step):
    """Something that happened to a request."""


class Quarantined(TypedDict):
    """A message that is kept aside for a person."""

    message_id: str
    at: str
    why: str


LIST_EVENTS: Final = Read[list[Event]](
    manager="queue",
    name="events",
    takes=schemas_of([*EVENT_FILTERS, LIMIT, NUMBER]),
    path="/v1/events",
    operation="list_events",
    method="events",
    summary="List what happened to requests, oldest first.",
    noun="events",
    whose=OfProjects(
        "List what happened to a project's requests.", "List what happened to everybody's requests."
    ),
    answer=list[Event],
    key="events",
    marker="number",
    costly=True,
)
READS: Final = (LIST_EVENTS,)
