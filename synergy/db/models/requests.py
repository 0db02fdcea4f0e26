"""The tables of build requests: their classes, messages and history.

Why: what is filtered and sorted by has its index here. Must not know how a request moves.
"""

from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from synergy.core.declared.filters import REQUEST_FILTERS, SORT_KEYS
from synergy.core.declared.settings import CLASS_SETTINGS
from synergy.core.lifecycle import Event
from synergy.core.model import OnPrivateFull, QuotaKind, Resources, State
from synergy.core.reasons import Reason
from synergy.db.columns import (
    BigId,
    Document,
    Instant,
    Key,
    Label,
    Prose,
    Sealed,
    ServerId,
    Vector,
    Word,
    add_settings,
)
from synergy.db.models.base import Base


def _of_servers(given: str, *columns: str) -> Index:
    """Return an index on the rows where the instant `given` is known, where a database can."""
    known = text(f"{given} IS NOT NULL")
    return Index(None, *columns, sqlite_where=known, postgresql_where=known)


class ClassRow(Base):
    __tablename__ = "request_classes"
    class_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    association_id: Mapped[int] = mapped_column(ForeignKey("associations.association_id"))
    demand: Mapped[Resources] = mapped_column(Vector)
    quota: Mapped[QuotaKind] = mapped_column(Word(QuotaKind, 16))
    on_private_full: Mapped[OnPrivateFull] = mapped_column(Word(OnPrivateFull, 16))
    qos: Mapped[str] = mapped_column(Key(64))
    ttl_s: Mapped[int] = mapped_column(server_default="0")
    constraints: Mapped[list[object]] = mapped_column(Document)


add_settings(ClassRow, CLASS_SETTINGS)

# What requests are filtered and sorted by, apart from what indexes of several columns serve.
_WITH_AN_INDEX: Final = tuple(
    field
    for field in dict.fromkeys([*(one.field for one in REQUEST_FILTERS), *SORT_KEYS.values()])
    if field not in ("project_id", "user_id", "state", "quota", "seq")
)


class RequestRow(Base):
    __tablename__ = "requests"
    __table_args__ = (
        Index(None, "state", "class_id", "queued_at", "request_id", "retry_at"),
        # Each published filter and sort key has its index; see db.search. Those on instants that
        # only a server has leave out what waits, so that intake does not write them.
        Index(None, "class_id"),  # a class goes once no row refers to it
        Index(None, "state", "seq"),
        Index(None, "project_id", "state", "seq"),
        *(Index(None, field, "seq") for field in _WITH_AN_INDEX),
        _of_servers("expires_at", "state", "expires_at"),
        _of_servers("held_from", "held_from", "released_at"),
        _of_servers("released_at", "released_at", "held_from"),
    )
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(ServerId(), unique=True)
    class_id: Mapped[int] = mapped_column(ForeignKey("request_classes.class_id"))
    batch_id: Mapped[str | None] = mapped_column(Key(64))
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))
    server_name: Mapped[str] = mapped_column(Label(255))
    flavor: Mapped[str] = mapped_column(Key(255))
    state: Mapped[State] = mapped_column(Word(State, 16))
    queued_at: Mapped[datetime] = mapped_column(Instant)
    changed_at: Mapped[datetime] = mapped_column(Instant)
    ttl_s: Mapped[int]
    held_from: Mapped[datetime | None] = mapped_column(Instant)
    released_at: Mapped[datetime | None] = mapped_column(Instant)
    active_at: Mapped[datetime | None] = mapped_column(Instant)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    shown_end_at: Mapped[datetime | None] = mapped_column(Instant)  # in the server's metadata
    not_before_at: Mapped[datetime | None] = mapped_column(Instant)
    warned_s: Mapped[int | None]
    extensions: Mapped[int] = mapped_column(default=0, server_default="0")
    retry_at: Mapped[datetime | None] = mapped_column(Instant)
    attempts: Mapped[int] = mapped_column(default=0)
    host: Mapped[str | None] = mapped_column(Key(255))
    reason: Mapped[Reason | None] = mapped_column(Word(Reason, 32))
    why: Mapped[str] = mapped_column(Prose, default="")
    generation: Mapped[int] = mapped_column(default=0)


class BodyRow(Base):
    """A request's message, compressed and encrypted; gone once the conductor has it."""

    __tablename__ = "request_bodies"
    request_id: Mapped[str] = mapped_column(ServerId(), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(Sealed)


class StepRow(Base):
    """The ledger: append-only. The project is repeated, so that its part is read without a join."""

    __tablename__ = "ledger"
    __table_args__ = (Index(None, "project_id", "seq"), Index(None, "event", "seq"))
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(ServerId(), index=True)
    project_id: Mapped[str] = mapped_column(Key(64), server_default="")
    at: Mapped[datetime] = mapped_column(Instant)
    from_state: Mapped[State] = mapped_column(Word(State, 16))
    to_state: Mapped[State] = mapped_column(Word(State, 16))
    event: Mapped[Event] = mapped_column(Word(Event, 32))
    round_id: Mapped[str | None] = mapped_column(Key(36))
    why: Mapped[str] = mapped_column(Prose)
    reason: Mapped[Reason | None] = mapped_column(Word(Reason, 32))


class OutboxRow(Base):
    """How far somebody outside was told of the ledger: up to which number, by the name of what is
    sent."""

    __tablename__ = "outbox"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)


class QuarantineRow(Base):
    """Messages that are not what Nova sends, kept for a person."""

    __tablename__ = "quarantine"
    message_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    why: Mapped[str] = mapped_column(Prose)
    sealed: Mapped[bytes] = mapped_column(Sealed)
