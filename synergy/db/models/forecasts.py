"""The table of forecasts. Must not know how they are made."""

from datetime import datetime

from sqlalchemy import Double, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from synergy.db.columns import BigId, Instant, Key, ServerId
from synergy.db.models.base import Base


class ForecastRow(Base):
    """When a request was forecast to start: seconds from `made_at`, NULL where that is never as far
    as is known; and, once it is settled, how long it waited from then on, NULL where it left
    without a start. A request that waits for long has several, made after different rounds."""

    __tablename__ = "forecasts"
    __table_args__ = (
        Index(None, "request_id", "forecast_id"),
        Index(None, "settled_at", "forecast_id"),
        Index(None, "project_id", "settled_at", "forecast_id"),
    )
    forecast_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(ServerId())
    project_id: Mapped[str] = mapped_column(Key(64))
    made_at: Mapped[datetime] = mapped_column(Instant)
    round_id: Mapped[str | None] = mapped_column(Key(36))
    p50_s: Mapped[float | None] = mapped_column(Double)
    p90_s: Mapped[float | None] = mapped_column(Double)
    bound_s: Mapped[float | None] = mapped_column(Double)
    horizon: Mapped[int] = mapped_column(Integer)
    size: Mapped[float] = mapped_column(Double)
    raw_p50_s: Mapped[float | None] = mapped_column(Double)
    raw_p90_s: Mapped[float | None] = mapped_column(Double)
    past_p50_s: Mapped[float] = mapped_column(Double)
    past_p90_s: Mapped[float] = mapped_column(Double)
    settled_at: Mapped[datetime | None] = mapped_column(Instant)
    wait_s: Mapped[float | None] = mapped_column(Double)
