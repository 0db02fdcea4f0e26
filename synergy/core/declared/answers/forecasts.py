"""Forecasts of starts, and how well they held."""

from typing import TypedDict

from synergy.core.declared.answers.parts import Amounts, At, Count, QuotaWord


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
