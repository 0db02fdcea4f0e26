"""Forecasts of starts, and how well they held."""

from typing import Final, TypedDict

from synergy.core.declared.answers.parts import Amounts, At, Count, QuotaWord
from synergy.core.declared.command import ID
from synergy.core.declared.fields import Argument, schemas_of
from synergy.core.declared.filters import ONE_PROJECT
from synergy.core.declared.kinds import Text
from synergy.core.declared.read import OfOneProject, OfProjects, Read


class StartForecast(TypedDict):
    """The start interval of a request that waits, or why there is none; empty for others."""

    forecast_p50_at: At | None
    forecast_p90_at: At | None
    forecast_text: str


class OutlookStart(TypedDict):
    """When so many servers have started, and when at the latest with the lifetimes of today."""

    servers: Count
    p50_at: At | None
    p90_at: At | None
    latest_at: At | None


class OutlookFlavor(TypedDict):
    """What would become of servers of a flavor."""

    flavor: str
    demand: Amounts
    quota: QuotaWord
    starts_now: Count
    starts: list[OutlookStart]
    text: str


class Outlook(TypedDict):
    """When servers of a project would start that nobody asked for yet, by flavor."""

    project_id: str
    at: At
    flavors: list[OutlookFlavor]
    left_out: list[str]
    text: str


class MethodScore(TypedDict):
    """The score of one way to forecast, of some requests."""

    group: str
    method: str
    count: Count
    coverage_50: float
    coverage_90: float
    pinball_50_s: float
    pinball_90_s: float
    width_by_wait: float


class ForecastScore(TypedDict):
    """How well forecasts held, beside two that are cheap, by horizon and size."""

    resolved: Count
    waiting: Count
    needed: Count
    text: str
    scores: list[MethodScore]


ONE_FLAVOR: Final = Argument(
    name="flavor", kind=Text(), help="Name of a public flavor. Default: all of them."
)
SCORE_FORECASTS: Final = Read[ForecastScore](
    manager="forecast",
    name="score",
    takes=schemas_of([ONE_PROJECT]),
    path="/v1/forecasts/score",
    operation="score_forecasts",
    method="forecast_score",
    summary="Show how well forecasts of starts held, beside two that are cheap.",
    noun="forecasts",
    whose=OfProjects(
        "Show how well the forecasts of a project's starts held.",
        "Show how well all forecasts held.",
    ),
    answer=ForecastScore,
    key="score",
    costly=True,
)
FORESEE: Final = Read[Outlook](
    manager="forecast",
    name="outlook",
    takes={**schemas_of([ONE_PROJECT, ONE_FLAVOR]), "user_id": ID},
    required=("project_id",),
    path="/v1/outlook",
    operation="outlook",
    method="outlook",
    summary="Show when servers would start that nobody asked for yet, by flavor.",
    noun="outlook",
    whose=OfOneProject("Show when servers of a project would start that nobody asked for yet."),
    answer=Outlook,
    key="outlook",
    costly=True,
)
READS: Final = (SCORE_FORECASTS, FORESEE)
