"""Requests, their classes, bodies and ledger; projects, domains, users; usage; trusts."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from alembic import op

revision = "0001"
down_revision = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "associations",
        sa.Column("association_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("user_name", sa.String(length=255), nullable=False),
        sa.Column("raw_shares", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("association_id", name=op.f("pk_associations")),
        sa.UniqueConstraint(
            "project_id", "user_id", name=op.f("uq_associations_project_id_user_id")
        ),
    )
    op.create_table(
        "domains",
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("raw_shares", sa.Integer(), nullable=True),
        sa.Column("borrow_limit", sa.String(length=1024), nullable=True),
        sa.Column("lend_limit", sa.String(length=1024), nullable=True),
        sa.PrimaryKeyConstraint("domain_id", name=op.f("pk_domains")),
    )
    op.create_table(
        "ledger",
        sa.Column("seq", BigId, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("from_state", sa.String(length=16), nullable=False),
        sa.Column("to_state", sa.String(length=16), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("round_id", sa.String(length=36), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_ledger")),
    )
    op.create_index(op.f("ix_ledger_request_id"), "ledger", ["request_id"], unique=False)
    op.create_table(
        "marks",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_marks")),
    )
    op.create_table(
        "quarantine",
        sa.Column("message_id", sa.String(length=64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("sealed", Blob, nullable=False),
        sa.PrimaryKeyConstraint("message_id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "request_bodies",
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("sealed", Blob, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_request_bodies")),
    )
    op.create_table(
        "trusts",
        sa.Column("trust_id", sa.String(length=64), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("trust_id", name=op.f("pk_trusts")),
    )
    op.create_table(
        "projects",
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("domain_id", sa.String(length=64), nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column("raw_shares", sa.Integer(), nullable=False),
        sa.Column("default_quota", sa.String(length=32), nullable=False),
        sa.Column("on_private_full", sa.String(length=16), nullable=False),
        sa.Column("ttl_s", sa.Integer(), nullable=False),
        sa.Column("expiry_action", sa.String(length=32), nullable=False),
        sa.Column("max_waiting", sa.Integer(), nullable=False),
        sa.Column("max_waiting_per_user", sa.Integer(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("private", sa.String(length=1024), nullable=False),
        sa.Column("borrow_limit", sa.String(length=1024), nullable=True),
        sa.Column("lend_limit", sa.String(length=1024), nullable=True),
        sa.Column("nova_quota", sa.JSON(), nullable=False),
        sa.Column("handover", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.domain_id"], name=op.f("fk_projects_domain_id")
        ),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_projects")),
    )
    op.create_table(
        "request_classes",
        sa.Column("class_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("association_id", sa.Integer(), nullable=False),
        sa.Column("demand", sa.String(length=1024), nullable=False),
        sa.Column("quota", sa.String(length=16), nullable=False),
        sa.Column("on_private_full", sa.String(length=16), nullable=False),
        sa.Column("qos", sa.String(length=64), nullable=False),
        sa.Column("nice", sa.Integer(), nullable=False),
        sa.Column("constraints", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_request_classes_association_id"),
        ),
        sa.PrimaryKeyConstraint("class_id", name=op.f("pk_request_classes")),
        sa.UniqueConstraint("digest", name=op.f("uq_request_classes_digest")),
    )
    op.create_table(
        "usage",
        sa.Column("association_id", sa.Integer(), nullable=False),
        sa.Column("raw_usage", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_usage_association_id"),
        ),
        sa.PrimaryKeyConstraint("association_id", name=op.f("pk_usage")),
    )
    op.create_table(
        "requests",
        sa.Column("seq", BigId, autoincrement=True, nullable=False),
        sa.Column("request_id", sa.String(length=36), nullable=False),
        sa.Column("class_id", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=True),
        sa.Column("project_id", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.String(length=64), nullable=False),
        sa.Column("server_name", sa.String(length=255), nullable=False),
        sa.Column("flavor", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("ttl_s", sa.Integer(), nullable=False),
        sa.Column("held_from", sa.BigInteger(), nullable=True),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("active_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("retry_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["class_id"], ["request_classes.class_id"], name=op.f("fk_requests_class_id")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_requests")),
        sa.UniqueConstraint("request_id", name=op.f("uq_requests_request_id")),
    )
    op.create_index(
        op.f("ix_requests_project_id_state"), "requests", ["project_id", "state"], unique=False
    )
    op.create_index(op.f("ix_requests_released_at"), "requests", ["released_at"], unique=False)
    op.create_index(
        op.f("ix_requests_state_class_id_queued_at_request_id_retry_at"),
        "requests",
        ["state", "class_id", "queued_at", "request_id", "retry_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_requests_state_expires_at"), "requests", ["state", "expires_at"], unique=False
    )
