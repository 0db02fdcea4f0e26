"""The manager of forecasts."""

from synergy.managers.forecast.manager import ForecastManager

__all__ = ["ForecastManager"]
