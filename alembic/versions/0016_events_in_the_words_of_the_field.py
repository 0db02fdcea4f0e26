"""Events of the ledger are named with the words of the commands, and of Nova."""

import sqlalchemy as sa

from alembic import op

revision = "0016"
down_revision = "0015"
_NAMES = (
    ("PAUSED", "HELD"), ("RESUMED", "RELEASED"), ("PARKED", "SHELVED"), ("UNPARKED", "UNSHELVED"),
    ("KEPT", "UNMANAGED"),
)  # fmt: skip


def upgrade() -> None:
    event = sa.column("event", sa.String(32))
    ledger = sa.table("ledger", event)
    for old, new in _NAMES:
        op.execute(sa.update(ledger).where(event == old).values(event=new))
