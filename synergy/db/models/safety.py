"""The tables by which the service keeps from doing harm: who acts, since when, and what was done.

Must not know who may do what.
"""

from datetime import datetime

from sqlalchemy import BigInteger, Double, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from synergy.core.audit import AuditOutcome
from synergy.db.columns import BigId, Document, Instant, Key, Label, Prose, Sealed, Word
from synergy.db.models.base import Base


class AuditRow(Base):
    """Who changed what through the API: written before the change, settled after it."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(None, "user_id", "seq"),
        Index(None, "project_id", "seq"),
        Index(None, "operation", "seq"),
        Index(None, "outcome", "seq"),
        Index(None, "at"),
    )
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(Instant)
    request_id: Mapped[str] = mapped_column(Label(64))
    user_id: Mapped[str | None] = mapped_column(Label(64))
    user_name: Mapped[str | None] = mapped_column(Label(255))
    project_id: Mapped[str | None] = mapped_column(Label(64))
    roles: Mapped[list[object]] = mapped_column(Document)
    address: Mapped[str] = mapped_column(Label(64))
    operation: Mapped[str] = mapped_column(Label(64))
    target: Mapped[str] = mapped_column(Label(1024))
    asked: Mapped[dict[str, object]] = mapped_column(Document)
    before: Mapped[dict[str, object] | None] = mapped_column(Document)
    after: Mapped[dict[str, object] | None] = mapped_column(Document)
    outcome: Mapped[AuditOutcome] = mapped_column(Word(AuditOutcome, 16))
    status: Mapped[int | None]
    why: Mapped[str] = mapped_column(Prose)


class ArchiveRow(Base):
    """A record that nothing works with any longer: its rows as compressed JSON; see db.archive."""

    __tablename__ = "archive"
    __table_args__ = (UniqueConstraint("kind", "key"),)
    archive_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Instant, index=True)
    record: Mapped[bytes] = mapped_column(Sealed)


class ClockMarkRow(Base):
    """The one row that tells a start how far the time had come; see `core.clockwatch.Mark`."""

    __tablename__ = "clock_mark"
    mark_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Instant)
    boot_id: Mapped[str] = mapped_column(Key(64))
    monotonic_s: Mapped[float] = mapped_column(Double)


class ExpiryBrakeRow(Base):
    """The one row that is there while nothing is ended until a person says so."""

    __tablename__ = "expiry_brake"
    brake_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    since: Mapped[datetime] = mapped_column(Instant)
    due: Mapped[int]


class LeadershipRow(Base):
    """Who acts on this database; one row for each name, kept when nobody does.

    machine, started  tell whether the process still lives, for who asks on the same machine
    sealing_key       fingerprint of the key that it seals with
    """

    __tablename__ = "leadership"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    term: Mapped[int] = mapped_column(BigInteger)
    holder: Mapped[str] = mapped_column(String(36))
    role: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    machine: Mapped[str] = mapped_column(String(64))
    started: Mapped[int] = mapped_column(BigInteger)
    since: Mapped[datetime] = mapped_column(Instant)
    beat_at: Mapped[datetime] = mapped_column(Instant)
    sealing_key: Mapped[str] = mapped_column(String(16))
