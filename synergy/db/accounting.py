"""Fair-share history and trusts: rows to values and back."""

from typing import Final

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from synergy.core.shares import Floats
from synergy.core.usage import Charged, History
from synergy.db.models import TrustIntentRow, TrustRow, UsageRow, UsageStateRow
from synergy.ports import Trust

_STATE_ID: Final = 1
_STATE: Final = select(UsageStateRow.left_factor, UsageStateRow.charged_at, UsageStateRow.reset_at)
_WIDTHS: Final = select(UsageRow.bucket, func.max(UsageRow.association_id) + 1).group_by(
    UsageRow.bucket
)
_AMOUNTS: Final = select(UsageRow.bucket, UsageRow.association_id, UsageRow.amount)
_FORGET: Final = delete(UsageRow).where(
    UsageRow.association_id == bindparam("of"), UsageRow.bucket == bindparam("inside")
)
_TRUSTS: Final = select(TrustRow.project_id, TrustRow.user_id, TrustRow.trust_id).order_by(
    TrustRow.trust_id
)


class SqlUsage:
    """The repository of usage; see `ports.UsageStore`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def load(self) -> History:
        state = self._connection.execute(_STATE).first()
        if state is None:
            return History(buckets={})
        buckets: dict[int, Floats] = {
            bucket: np.zeros(width) for bucket, width in self._connection.execute(_WIDTHS)
        }
        for bucket, association_id, amount in self._connection.execute(_AMOUNTS):
            buckets[bucket][association_id] = amount
        return History(
            buckets=buckets,
            left=state.left_factor,
            charged_at=state.charged_at,
            reset_at=state.reset_at,
        )

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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[Trust]:
        rows = self._connection.execute(_TRUSTS)
        return [
            Trust(project_id=row.project_id, user_id=row.user_id, trust_id=row.trust_id)
            for row in rows
        ]

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
