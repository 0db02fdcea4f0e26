"""What a round decided: why a request waits, when it starts, what would become of another."""

from typing import Annotated, Final, TypedDict

from synergy.core.declared.answers.forecasts import StartForecast
from synergy.core.declared.answers.parts import (
    Amounts,
    At,
    Count,
    Hours,
    QuotaWord,
    QuotaWords,
    ReasonWord,
    StateWord,
)
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.filters import LIMIT, MARKER, OWNER_FILTERS
from synergy.core.declared.read import OfOperators, OfProjects, Read
from synergy.core.declared.shapes import Also


class RoundSeen(TypedDict):
    """Which round an answer comes from, and how old it is."""

    round_id: str | None
    round_at: At | None
    age_s: float | None


class Terms(TypedDict):
    """The weighted terms of a priority, and their sum."""

    age: float
    association: float
    fairshare: float
    size: float
    partition: float
    qos: float
    tres: Hours
    site: float
    nice: float
    priority: int


class Bound(TypedDict):
    """What a request is bound by, in numbers."""

    scope: Annotated[str, Also({"enum": ["shared_quota", "borrow_limit", "private_quota"]})]
    node: str
    resource_class: str
    needed: int
    free: int
    limit: int
    used: int
    own: int


class Release(TypedDict):
    """Capacity that comes free."""

    at: At
    freed: Amounts
    servers: Count


class SmallerFlavor(TypedDict):
    """A flavor that would start now."""

    name: str
    demand: Amounts


class Unblocked(TypedDict):
    """What comes free and when, the latest start, and flavors that would start now."""

    releases: list[Release]
    enough_at: At | None
    reserved_at: At | None
    estimated_start: At | None
    smaller_flavors: list[SmallerFlavor]


class _Why(TypedDict):
    id: str
    state: StateWord
    quotas: QuotaWords
    reason: ReasonWord | None
    text: str
    bounds: list[Bound]
    position: Count | None
    priority: Terms | None
    unblocked_by: Unblocked | None


class Explanation(_Why, StartForecast, RoundSeen):
    """Why a request waits; what the numbers mean is in the documentation."""


class _Outcome(TypedDict):
    count: Count
    quota: QuotaWord
    demand: Amounts
    starts_now: Count
    reason: ReasonWord | None
    text: str
    bounds: list[Bound]
    estimated_first_start: At | None
    estimated_last_start: At | None


class Simulation(_Outcome, RoundSeen):
    """What would become of servers that were asked for now."""


class Priority(TypedDict):
    """A queued request with the weighted terms of its priority."""

    id: str
    name: str
    project_id: str
    user_id: str
    quota: QuotaWord
    quotas: QuotaWords
    priority: Terms | None


class Round(TypedDict):
    """The last round and its counters."""

    waiting: Count | None
    classes: Count
    round_id: str | None
    round_at: At | None
    rounds: Count
    dispatched: Count
    conflicts: Count
    unknown: Count
    changes_passed: Count
    changes_refused: Count
    site_factor_errors: dict[str, object]
    reasons: dict[str, Count]


LIST_PRIORITIES: Final = Read[list[Priority]](
    manager="scheduler",
    name="priorities",
    takes=schemas_of([*OWNER_FILTERS, LIMIT, MARKER]),
    path="/v1/priorities",
    operation="list_priorities",
    method="priorities",
    summary="List waiting requests with each weighted term of their priority.",
    noun="priorities",
    whose=OfProjects(
        "Show the priorities of a project's waiting requests.", "Show everybody's priorities."
    ),
    answer=list[Priority],
    key="priorities",
    marker="id",
    costly=True,
)
SHOW_ROUND: Final = Read[Round](
    manager="scheduler",
    name="status",
    path="/v1/rounds/latest",
    operation="latest_round",
    method="latest_round",
    summary="Show the last round and its counters.",
    noun="rounds",
    whose=OfOperators("Show the last round and its counters."),
    answer=Round,
    key="round",
)
READS: Final = (LIST_PRIORITIES, SHOW_ROUND)
