"""How far the ledger was told to others: one row for each name.

Must not know who they are.
"""

from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from synergy.db.models import OutboxRow, StepRow

_NEWEST: Final = select(func.max(StepRow.seq))


class SqlOutbox:
    """The repository of positions in the ledger; see `ports.Outbox`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def position(self, name: str) -> int | None:
        query = select(OutboxRow.number).where(OutboxRow.name == name)
        return self._connection.execute(query).scalar_one_or_none()

    def newest(self) -> int:
        return self._connection.execute(_NEWEST).scalar_one() or 0

    def move(self, name: str, number: int) -> None:
        self._connection.execute(delete(OutboxRow).where(OutboxRow.name == name))
        self._connection.execute(insert(OutboxRow).values(name=name, number=number))
