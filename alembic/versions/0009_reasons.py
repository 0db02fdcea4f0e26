"""The reason of a request in a column of its own; that of older rows is read from their prose."""

import sqlalchemy as sa

from alembic import op

revision = "0009"
down_revision = "0008"

# The states of which a reason is known, and how the prose of a row began that had it.
_BEGINS = (
    ("held_by_user", ("HELD",), ("held_by_user",)),
    ("held_by_admin", ("HELD",), ("held_by_admin",)),
    ("never_fits", ("REJECTED",), ("never_fits: ",)),
    ("no_free_quota", ("REJECTED",), ("no_free_quota: ",)),
    ("broker_down", ("QUEUED", "QUARANTINED"), ("broker_down: ",)),
    # A build that broke on a host named "lost" has prose that begins with that name.
    (
        "lost",
        ("BUILDING", "ERROR", "DELETED"),
        ("lost: Nova builds it on host ", "lost: Nova's conductor has not "),
    ),
)


def upgrade() -> None:
    op.add_column("requests", sa.Column("reason", sa.String(32), nullable=True))
    requests = sa.table("requests", sa.column("state"), sa.column("reason"), sa.column("why"))
    known = [
        (
            requests.c.state.in_(states)
            & sa.or_(*(requests.c.why.startswith(one, autoescape=True) for one in begins)),
            reason,
        )
        for reason, states, begins in _BEGINS
    ]
    op.execute(
        requests.update()
        .where(sa.or_(*(condition for condition, _ in known)))
        .values(reason=sa.case(*known))
    )
