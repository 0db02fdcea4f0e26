"""The audit: rows to values and back. A row is written once, and its outcome once."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Final, Unpack

from sqlalchemy import Connection, insert, select, update

from synergy.core.audit import AuditEntry, AuditOutcome
from synergy.core.declared.filters import CHANGE_FILTERS, ChangeFilters
from synergy.db.columns import Unreadable
from synergy.db.models import AuditRow

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
        before: Mapping[str, object] | None,
        after: Mapping[str, object] | None,
    ) -> None:
        self._connection.execute(
            update(AuditRow)
            .where(AuditRow.seq == number)
            .values(outcome=outcome, status=status, why=why, before=before, after=after)
        )

    def search(
        self, *, limit: int = 1000, after: int = 0, **filters: Unpack[ChangeFilters]
    ) -> list[tuple[int, AuditEntry]]:
        since = filters.pop("since", None)
        wanted = [
            getattr(AuditRow, one.field) == filters[one.argument]  # type: ignore[literal-required]
            for one in CHANGE_FILTERS
            if filters.get(one.argument) is not None
        ]
        query = (
            select(AuditRow.seq, *_COLUMNS)
            .where(AuditRow.seq > after, *wanted)
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
