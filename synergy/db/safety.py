"""What keeps servers from being ended wrongly, over a restart: rows to values and back."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select

from synergy.core.clockwatch import Mark
from synergy.db.columns import EPOCH
from synergy.db.models import ClockMarkRow, ExpiryBrakeRow
from synergy.ports import Brake

_ONLY_ID: Final = 1
_MARK: Final = select(ClockMarkRow.at, ClockMarkRow.boot_id, ClockMarkRow.monotonic_s)
_BRAKE: Final = select(ExpiryBrakeRow.since, ExpiryBrakeRow.due)


class SqlSafety:
    """The repository of one mark and one brake; see `ports.Safety`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def mark(self) -> Mark | None:
        row = self._connection.execute(_MARK).first()
        if row is None or not isinstance(row.at, datetime):
            return None  # a damaged one tells nothing
        return Mark(at=row.at, boot_id=row.boot_id, monotonic_s=row.monotonic_s)

    def save_mark(self, mark: Mark) -> None:
        values: dict[str, Any] = {
            "at": mark.at, "boot_id": mark.boot_id, "monotonic_s": mark.monotonic_s
        }  # fmt: skip
        self._connection.execute(delete(ClockMarkRow))
        self._connection.execute(insert(ClockMarkRow).values(mark_id=_ONLY_ID, **values))

    def brake(self) -> Brake | None:
        row = self._connection.execute(_BRAKE).first()
        if row is None:
            return None
        since = row.since if isinstance(row.since, datetime) else EPOCH  # damaged, it is on
        return Brake(since=since, due=row.due)

    def put_on(self, brake: Brake) -> None:
        self.release()
        self._connection.execute(
            insert(ExpiryBrakeRow).values(brake_id=_ONLY_ID, since=brake.since, due=brake.due)
        )

    def release(self) -> None:
        self._connection.execute(delete(ExpiryBrakeRow))
