"""Forecasts, and what happened: rows to values and back. Must not know how they are made."""

from collections.abc import Sequence
from datetime import datetime
from math import inf
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, func, insert, or_, select, update

from synergy.core.forecasts.correction import Interval, Raw, horizon_of
from synergy.core.forecasts.record import Recorded
from synergy.core.model import State
from synergy.db.models import ForecastRow, RequestRow

_OPEN: Final = (
    select(ForecastRow).where(ForecastRow.settled_at.is_(None)).order_by(ForecastRow.forecast_id)
)
_PART: Final = 500  # ids in one statement
_OF: Final = (
    select(ForecastRow.__table__)
    .where(
        ForecastRow.request_id.in_(bindparam("ids", expanding=True)),
        ForecastRow.settled_at.is_(None),
    )
    .order_by(ForecastRow.forecast_id)
)
_LATEST: Final = (
    select(func.max(ForecastRow.forecast_id))
    .where(ForecastRow.settled_at.is_(None))
    .group_by(ForecastRow.request_id)
)
_STANDING: Final = select(ForecastRow.__table__).where(ForecastRow.forecast_id.in_(_LATEST))
_OVER: Final = (
    select(ForecastRow.__table__, RequestRow.held_from, RequestRow.state)
    .outerjoin(RequestRow, RequestRow.request_id == ForecastRow.request_id)
    .where(
        ForecastRow.settled_at.is_(None),
        or_(RequestRow.request_id.is_(None), RequestRow.state != State.QUEUED),
    )
    .order_by(ForecastRow.forecast_id)
)
_LAST: Final = (
    select(*ForecastRow.__table__.columns)
    .where(ForecastRow.settled_at.is_not(None), ForecastRow.wait_s.is_not(None))
    .order_by(ForecastRow.settled_at.desc(), ForecastRow.forecast_id.desc())
)
_SETTLE: Final = (
    update(ForecastRow)
    .where(ForecastRow.forecast_id == bindparam("key"))
    .values(settled_at=bindparam("at"), wait_s=bindparam("waited_s"))
)


class SqlForecasts:
    """The repository of forecasts; see `ports.Forecasts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def open(self) -> list[Recorded]:
        return [_value(row) for row in self._connection.execute(_OPEN).all()]

    def standing(self) -> dict[str, Recorded]:
        return {row.request_id: _value(row) for row in self._connection.execute(_STANDING).all()}

    def over(self) -> list[tuple[Recorded, datetime | None]]:
        return [
            (_value(row), None if row.state is State.HELD else row.held_from)
            for row in self._connection.execute(_OVER).all()
        ]

    def last(self, limit: int, project_id: str | None = None) -> list[Recorded]:
        query = _LAST.limit(limit)
        if project_id is not None:
            query = query.where(ForecastRow.project_id == project_id)
        return [_value(row) for row in reversed(self._connection.execute(query).all())]

    def of(self, request_ids: Sequence[str]) -> dict[str, Recorded]:
        return {
            row.request_id: _value(row)
            for at in range(0, len(request_ids), _PART)
            for row in self._connection.execute(_OF, {"ids": request_ids[at : at + _PART]}).all()
        }

    def count_resolved(self, maximum: int) -> int:
        some = _LAST.with_only_columns(ForecastRow.forecast_id).limit(maximum).subquery()
        return self._connection.execute(select(func.count()).select_from(some)).scalar_one()

    def count_open(self, project_id: str | None = None) -> int:
        query = select(func.count(ForecastRow.request_id.distinct())).where(
            ForecastRow.settled_at.is_(None)
        )
        if project_id is not None:
            query = query.where(ForecastRow.project_id == project_id)
        return self._connection.execute(query).scalar_one()

    def add(self, forecasts: Sequence[Recorded]) -> None:
        if forecasts:
            self._connection.execute(insert(ForecastRow), [_row(one) for one in forecasts])

    def settle(self, settled: Sequence[tuple[int, datetime, float | None]]) -> None:
        rows = [{"key": key, "at": at, "waited_s": wait_s} for key, at, wait_s in settled]
        if rows:
            self._connection.execute(_SETTLE, rows)

    def forget(self, before: datetime) -> None:
        self._connection.execute(delete(ForecastRow).where(ForecastRow.settled_at < before))


def _row(one: Recorded) -> dict[str, Any]:
    return {
        "request_id": one.request_id,
        "project_id": one.project_id,
        "made_at": one.made_at,
        "round_id": one.round_id,
        "p50_s": _known(one.published.p50_s),
        "p90_s": _known(one.published.p90_s),
        "bound_s": _known(one.published.bound_s),
        "horizon": horizon_of(one.published.p50_s),
        "size": one.raw.size,
        "raw_p50_s": _known(one.raw.p50_s),
        "raw_p90_s": _known(one.raw.p90_s),
        "past_p50_s": one.past_p50_s,
        "past_p90_s": one.past_p90_s,
    }


def _known(wait_s: float) -> float | None:
    return wait_s if wait_s < inf else None


def _value(row: Any) -> Recorded:
    bound_s = inf if row.bound_s is None else row.bound_s
    return Recorded(
        request_id=row.request_id,
        project_id=row.project_id,
        made_at=row.made_at,
        round_id=row.round_id,
        raw=Raw(
            p50_s=inf if row.raw_p50_s is None else row.raw_p50_s,
            p90_s=inf if row.raw_p90_s is None else row.raw_p90_s,
            bound_s=bound_s,
            size=row.size,
        ),
        published=Interval(
            p50_s=inf if row.p50_s is None else row.p50_s,
            p90_s=inf if row.p90_s is None else row.p90_s,
            bound_s=bound_s,
        ),
        past_p50_s=row.past_p50_s,
        past_p90_s=row.past_p90_s,
        wait_s=row.wait_s,
        forecast_id=row.forecast_id,
    )
