"""The tables of who may ask for servers, and with which settings.

Why: the columns of a setting follow from its declaration. Must not know requests.
"""

from typing import Final

from sqlalchemy import ForeignKey, UniqueConstraint, false, true
from sqlalchemy.orm import Mapped, mapped_column

from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.model import Handover, Resources
from synergy.db.columns import Document, Flag, Key, Label, Vector, Word, add_settings
from synergy.db.models.base import Base

# Columns of words that their migrations made shorter than 32 characters.
_SHORTER: Final = {"on_private_full": 16, "on_build_failure": 16, "on_lost": 16}


class DomainRow(Base):
    __tablename__ = "domains"
    domain_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    name: Mapped[str] = mapped_column(Label(255))
    raw_shares: Mapped[int | None]
    borrow_limit: Mapped[Resources | None] = mapped_column(Vector)
    lend_limit: Mapped[Resources | None] = mapped_column(Vector)


class ProjectRow(Base):
    __tablename__ = "projects"
    project_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    name: Mapped[str] = mapped_column(Label(255))
    domain_id: Mapped[str] = mapped_column(Key(64), ForeignKey("domains.domain_id"))
    parent_id: Mapped[str | None] = mapped_column(Key(64))
    nova_quota: Mapped[dict[str, object]] = mapped_column(Document)
    handover: Mapped[Handover] = mapped_column(Word(Handover, 16))
    gone: Mapped[bool] = mapped_column(Flag, server_default=false())
    rule: Mapped[str] = mapped_column(Label(255), server_default="")
    generation: Mapped[int] = mapped_column(default=0)


add_settings(ProjectRow, PROJECT_SETTINGS, lengths=_SHORTER)


class AssociationRow(Base):
    __tablename__ = "associations"
    __table_args__ = (UniqueConstraint("project_id", "user_id"),)
    association_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))
    user_name: Mapped[str] = mapped_column(Label(255))
    active: Mapped[bool] = mapped_column(Flag, server_default=true())


add_settings(AssociationRow, USER_SETTINGS)


class TrustRow(Base):
    __tablename__ = "trusts"
    trust_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))


class TrustIntentRow(Base):
    """A trust is being made; Keystone may have it already although nobody here knows its id."""

    __tablename__ = "trust_intents"
    project_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
