"""Forecasts of starts, and how well they held."""

from typing import TypedDict

from synergy.core.declared.answers.parts import At, Count


class StartForecast(TypedDict):
    """The start interval of a request that waits, or why there is none; empty for others."""

    forecast_p50_at: At | None
    forecast_p90_at: At | None
    forecast_text: str


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
