"""The audit: rows to values and back. A row is written once, and its outcome once."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from synergy.core.audit import AuditEntry, AuditOutcome
from synergy.db.models import AuditRow, Unreadable

_NAMES: Final = tuple(field.name for field in fields(AuditEntry))
_COLUMNS: Final = [getattr(AuditRow, name) for name in _NAMES]


class SqlAudit:
    """The repository of the audit; see `ports.Audit`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, entry: AuditEntry) -> int:
        values = {name: getattr(entry, name) for name in _NAMES}
        values["roles"] = list(entry.roles)
        done = self._connection.execute(insert(AuditRow).values(values))
        (number,) = done.inserted_primary_key or (0,)
        return int(number)

    def settle(
        self,
        number: int,
        outcome: AuditOutcome,
        *,
        status: int,
        why: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> None:
        self._connection.execute(
            update(AuditRow)
            .where(AuditRow.seq == number)
            .values(outcome=outcome, status=status, why=why, before=before, after=after)
        )

    def search(
        self,
        *,
        user_id: str | None = None,
        project_id: str | None = None,
        operation: str | None = None,
        outcome: AuditOutcome | None = None,
        since: datetime | None = None,
        limit: int = 1000,
        after: int = 0,
    ) -> list[tuple[int, AuditEntry]]:
        wanted = {
            AuditRow.user_id: user_id,
            AuditRow.project_id: project_id,
            AuditRow.operation: operation,
            AuditRow.outcome: outcome,
        }
        query = (
            select(AuditRow.seq, *_COLUMNS)
            .where(AuditRow.seq > after)
            .where(*(column == value for column, value in wanted.items() if value is not None))
            .order_by(AuditRow.seq)
            .limit(limit)
        )
        if since is not None:
            query = query.where(AuditRow.at >= since)
        return [
            (number, AuditEntry(**dict(zip(_NAMES, row, strict=True))))
            for number, *row in self._connection.execute(query)
            if not any(isinstance(value, Unreadable) for value in row)
        ]
