"""Fair-share history and trusts: rows to values and back."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from synergy.db.models import MarkRow, TrustRow, UsageRow
from synergy.ports import Trust

_CHARGED: Final = "usage_charged"
_CHARGED_AT: Final = select(MarkRow.at).where(MarkRow.name == _CHARGED)
_USAGE: Final = select(UsageRow.association_id, UsageRow.raw_usage)
_TRUSTS: Final = select(TrustRow.project_id, TrustRow.user_id, TrustRow.trust_id).order_by(
    TrustRow.trust_id
)


class SqlUsage:
    """The repository of usage; see `ports.UsageStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self) -> tuple[datetime | None, dict[int, float]]:
        charged_at = self._connection.execute(_CHARGED_AT).scalar_one_or_none()
        rows = self._connection.execute(_USAGE)
        return charged_at, {row.association_id: row.raw_usage for row in rows}

    def save(self, charged_at: datetime, usage: Mapping[int, float]) -> None:
        self._connection.execute(delete(UsageRow))
        if usage:
            rows = [{"association_id": key, "raw_usage": value} for key, value in usage.items()]
            self._connection.execute(insert(UsageRow), rows)
        marked = self._connection.execute(
            update(MarkRow).where(MarkRow.name == _CHARGED).values(at=charged_at)
        )
        if marked.rowcount == 0:
            self._connection.execute(insert(MarkRow).values(name=_CHARGED, at=charged_at))


class SqlTrusts:
    """The repository of trusts; see `ports.Trusts`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[Trust]:
        rows = self._connection.execute(_TRUSTS)
        return [
            Trust(project_id=row.project_id, user_id=row.user_id, trust_id=row.trust_id)
            for row in rows
        ]

    def add(self, trust: Trust) -> None:
        self._connection.execute(
            insert(TrustRow).values(
                project_id=trust.project_id, user_id=trust.user_id, trust_id=trust.trust_id
            )
        )

    def remove(self, trust_id: str) -> None:
        self._connection.execute(delete(TrustRow).where(TrustRow.trust_id == trust_id))
