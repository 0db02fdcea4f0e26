"""Fair-share history and trusts: rows to values and back."""

from dataclasses import replace
from typing import Final

import numpy as np
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from synergy.core.shares import Floats
from synergy.core.usage import Charged, History
from synergy.db.columns import Values
from synergy.db.models import TrustIntentRow, TrustRow, UsageRow, UsageStateRow
from synergy.db.rows import Damaged, DamageLog, RowReader
from synergy.ports import Trust

_STATE_ID: Final = 1
_STATE_COLUMNS: Final = (
    UsageStateRow.state_id,
    UsageStateRow.left_factor,
    UsageStateRow.charged_at,
    UsageStateRow.reset_at,
)
_STATE: Final = select(*_STATE_COLUMNS)
_AMOUNT_COLUMNS: Final = (UsageRow.association_id, UsageRow.bucket, UsageRow.amount)
_AMOUNTS: Final = select(*_AMOUNT_COLUMNS)
_FORGET: Final = delete(UsageRow).where(
    UsageRow.association_id == bindparam("of"), UsageRow.bucket == bindparam("inside")
)
_TRUST_COLUMNS: Final = (TrustRow.trust_id, TrustRow.project_id, TrustRow.user_id)
_TRUSTS: Final = select(*_TRUST_COLUMNS).order_by(TrustRow.trust_id)


def _state(row: Values) -> History:
    _, left, charged_at, reset_at = row
    if not left > 0:
        raise Damaged(f"left_factor is {left}")
    return History(buckets={}, left=left, charged_at=charged_at, reset_at=reset_at)


def _amount(row: Values) -> tuple[int, int, float]:
    association_id, bucket, amount = row
    return association_id, bucket, amount


def _trust(row: Values) -> Trust:
    trust_id, project_id, user_id = row
    return Trust(project_id=project_id, user_id=user_id, trust_id=trust_id)


_STATE_READER: Final = RowReader(_STATE_COLUMNS, _state)
_AMOUNT_READER: Final = RowReader(_AMOUNT_COLUMNS, _amount)
_TRUST_READER: Final = RowReader(_TRUST_COLUMNS, _trust)


class SqlUsage:
    """The repository of usage; see `ports.UsageStore`."""

    def __init__(self, connection: Connection, damage: DamageLog) -> None:
        self._connection, self._damage = connection, damage

    def load(self) -> History:
        states = self._connection.execute(_STATE).all()
        if not states:
            return History(buckets={})
        amounts = _AMOUNT_READER.all(self._connection.execute(_AMOUNTS), self._damage)
        widths: dict[int, int] = {}
        for association_id, bucket, _ in amounts:
            widths[bucket] = max(widths.get(bucket, 0), association_id + 1)
        buckets: dict[int, Floats] = {bucket: np.zeros(width) for bucket, width in widths.items()}
        for association_id, bucket, amount in amounts:
            buckets[bucket][association_id] = amount
        # Without a state that can be read, usage goes on from now: what lies between is lost.
        for state in _STATE_READER.all(states, self._damage):
            return replace(state, buckets=buckets)
        return History(buckets=buckets)

    def save(self, charged: Charged) -> None:
        for bucket in charged.dropped:
            self._connection.execute(delete(UsageRow).where(UsageRow.bucket == bucket))
        for bucket, ids in charged.changed.items():
            if len(ids):
                column = charged.history.buckets[bucket]
                keys = [{"of": int(one), "inside": bucket} for one in ids]
                self._connection.execute(_FORGET, keys)
                rows = [
                    {"association_id": int(one), "bucket": bucket, "amount": float(column[one])}
                    for one in ids
                ]
                self._connection.execute(insert(UsageRow), rows)
        self._save_state(charged.history)

    def _save_state(self, history: History) -> None:
        values = {
            "left_factor": history.left,
            "charged_at": history.charged_at,
            "reset_at": history.reset_at,
        }
        key = UsageStateRow.state_id == _STATE_ID
        written = self._connection.execute(update(UsageStateRow).where(key).values(values))
        if written.rowcount == 0:
            self._connection.execute(insert(UsageStateRow).values(state_id=_STATE_ID, **values))


class SqlTrusts:
    """The repository of trusts; see `ports.Trusts`."""

    def __init__(self, connection: Connection, damage: DamageLog) -> None:
        self._connection, self._damage = connection, damage

    def all(self) -> list[Trust]:
        return _TRUST_READER.all(self._connection.execute(_TRUSTS), self._damage)

    def intend(self, project_id: str, user_id: str) -> None:
        self.give_up(project_id, user_id)
        values = {"project_id": project_id, "user_id": user_id}
        self._connection.execute(insert(TrustIntentRow).values(values))

    def intended(self) -> set[tuple[str, str]]:
        query = select(TrustIntentRow.project_id, TrustIntentRow.user_id)
        return {(row.project_id, row.user_id) for row in self._connection.execute(query)}

    def give_up(self, project_id: str, user_id: str) -> None:
        self._connection.execute(
            delete(TrustIntentRow).where(
                TrustIntentRow.project_id == project_id, TrustIntentRow.user_id == user_id
            )
        )

    def add(self, trust: Trust) -> None:
        self.give_up(trust.project_id, trust.user_id)
        self._connection.execute(
            insert(TrustRow).values(
                project_id=trust.project_id, user_id=trust.user_id, trust_id=trust.trust_id
            )
        )

    def remove(self, trust_id: str) -> None:
        self._connection.execute(delete(TrustRow).where(TrustRow.trust_id == trust_id))
