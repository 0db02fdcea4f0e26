"""A forecast as it is stored, to be held against what becomes of the request."""

from dataclasses import dataclass
from datetime import datetime

from synergy.core.forecasts.correction import Interval, Raw
from synergy.core.forecasts.score import Resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A forecast of one request, made while it waited.

    round_id                the last round before it was made, None where none was known
    past_p50_s, past_p90_s  quantiles of the waits of those that had started last
    wait_s                  from then until it started; None while it waits, or where it left
                            without a start
    forecast_id             its number as it is stored
    """

    request_id: str
    project_id: str
    made_at: datetime
    round_id: str | None = None
    raw: Raw
    published: Interval
    past_p50_s: float
    past_p90_s: float
    wait_s: float | None = None
    forecast_id: int | None = None

    def resolved(self) -> Resolved:
        """Return it with what happened; it must have started."""
        return Resolved(
            p50_s=self.published.p50_s,
            p90_s=self.published.p90_s,
            bound_s=self.published.bound_s,
            past_p50_s=self.past_p50_s,
            past_p90_s=self.past_p90_s,
            wait_s=self.wait_s or 0.0,
            size=self.raw.size,
        )
