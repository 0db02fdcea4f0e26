"""Managed projects, their domains and users: rows to values and back."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from synergy.core.errors import Conflict, InvalidInput, NotFound
from synergy.core.model import Association, Domain, Project
from synergy.db.columns import Column, Values
from synergy.db.models import AssociationRow, DomainRow, ProjectRow
from synergy.db.rows import Damaged, DamageLog, RowReader

_PROJECT: Final = tuple(Project.__dataclass_fields__)
_DOMAIN: Final = tuple(Domain.__dataclass_fields__)
_ASSOCIATION: Final = tuple(Association.__dataclass_fields__)
_CHANGEABLE: Final = ("user_name", "raw_shares", "priority", "active")


def _columns(row: type, names: tuple[str, ...]) -> list[Column]:
    return [getattr(row, name) for name in names]


def _values(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


_PROJECTS: Final = select(*_columns(ProjectRow, _PROJECT)).order_by(ProjectRow.project_id)
_ASSOCIATIONS: Final = select(*_columns(AssociationRow, _ASSOCIATION)).order_by(
    AssociationRow.association_id
)


class Edition:
    """Counts the transactions that wrote projects or domains, for who keeps values made of them.

    What was read while one of them was open may be of before or after it: that is no edition. Only
    one service acts on a database, so its process knows of every change.
    """

    def __init__(self) -> None:
        self._lock, self._begun, self._open = threading.Lock(), 0, 0

    def begin(self) -> None:
        """Note that a transaction is about to write, before anybody can read it."""
        with self._lock:
            self._begun += 1
            self._open += 1

    def end(self) -> None:
        """Note that it is over, committed or not."""
        with self._lock:
            self._open -= 1

    def now(self) -> int | None:
        """Return the edition; None while one is being written."""
        with self._lock:
            return None if self._open else self._begun


class SqlProjects:
    """The repository of projects; see `ports.Projects`.

    writes  is called before something of projects or domains is written
    """

    def __init__(
        self,
        connection: Connection,
        damage: DamageLog,
        edition: Edition,
        writes: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection, self._damage = connection, damage
        self._edition, self._writes = edition, writes

    def edition(self) -> int | None:
        return self._edition.now()

    def all(self) -> list[Project]:
        return _PROJECT_READER.all(self._connection.execute(_PROJECTS), self._damage)

    def damaged(self) -> dict[str, str]:
        found = {}
        for row in self._connection.execute(_PROJECTS):
            try:
                _PROJECT_READER.one(row)
            except Damaged as error:
                found[str(row[0])] = str(error)
        return found

    def get(self, project_id: str) -> Project:
        query = _PROJECTS.where(ProjectRow.project_id == project_id)
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFound(f"project {project_id!r} is not managed by Synergy")
        try:
            return _PROJECT_READER.one(row)
        except Damaged as error:
            raise NotFound(f"project {project_id!r} cannot be read: its {error}") from error

    def add(self, project: Project) -> None:
        known = select(ProjectRow.project_id).where(ProjectRow.project_id == project.project_id)
        if self._connection.execute(known).first() is not None:
            raise Conflict(f"project {project.name!r} is managed already")
        self._writes()
        self._connection.execute(insert(ProjectRow).values(_values(project, _PROJECT)))

    def save(self, project: Project) -> None:
        values = _values(project, _PROJECT) | {"generation": project.generation + 1}
        self._writes()
        done = self._connection.execute(
            update(ProjectRow)
            .where(
                ProjectRow.project_id == project.project_id,
                ProjectRow.generation == project.generation,
            )
            .values(values)
        )
        if done.rowcount != 1:
            raise Conflict(f"project {project.name!r} changed since it was read")

    def remove(self, project_id: str) -> None:
        self._writes()
        self._connection.execute(delete(ProjectRow).where(ProjectRow.project_id == project_id))

    def domains(self) -> list[Domain]:
        query = select(*_columns(DomainRow, _DOMAIN)).order_by(DomainRow.domain_id)
        found = _DOMAIN_READER.all(self._connection.execute(query), self._damage)
        # A project whose domain is missing or damaged keeps its place in the account tree.
        known = {domain.domain_id for domain in found}
        named = self._connection.scalars(select(ProjectRow.domain_id).distinct())
        missing = {one for one in named if isinstance(one, str)} - known
        return [*found, *(Domain(domain_id=one, name=one) for one in sorted(missing))]

    def save_domain(self, domain: Domain) -> None:
        key = DomainRow.domain_id == domain.domain_id
        known = self._connection.execute(select(DomainRow.domain_id).where(key)).first()
        self._writes()
        write = insert(DomainRow) if known is None else update(DomainRow).where(key)
        self._connection.execute(write.values(_values(domain, _DOMAIN)))

    def associations(self) -> list[Association]:
        return _ASSOCIATION_READER.all(self._connection.execute(_ASSOCIATIONS), self._damage)

    def association(self, project_id: str, user_id: str, user_name: str) -> Association:
        query = _ASSOCIATIONS.where(
            AssociationRow.project_id == project_id, AssociationRow.user_id == user_id
        )
        row = self._connection.execute(query).first()
        if row is None:
            self._connection.execute(
                insert(AssociationRow).values(
                    project_id=project_id,
                    user_id=user_id,
                    user_name=user_name,
                    raw_shares=1,
                    active=True,
                )
            )
            row = self._connection.execute(query).one()
        try:
            found = _ASSOCIATION_READER.one(row)
        except Damaged as error:
            raise InvalidInput(f"the row of user {user_id!r} is damaged: {error}") from error
        if not found.active:
            found = replace(found, active=True)
            self.save_association(found)
        return found

    def save_association(self, association: Association) -> None:
        self._connection.execute(
            update(AssociationRow)
            .where(AssociationRow.association_id == association.association_id)
            .values(_values(association, _CHANGEABLE))
        )


def _project(row: Values) -> Project:
    found = Project(**dict(zip(_PROJECT, row, strict=True)))
    record = found.nova_quota
    if not isinstance(record, dict) or not all(
        amount is None or isinstance(amount, int) for amount in record.values()
    ):
        raise Damaged("nova_quota is no object of numbers")
    return found


def _domain(row: Values) -> Domain:
    return Domain(**dict(zip(_DOMAIN, row, strict=True)))


def _association(row: Values) -> Association:
    return Association(**dict(zip(_ASSOCIATION, row, strict=True)))


_PROJECT_READER: Final = RowReader(_columns(ProjectRow, _PROJECT), _project)
_DOMAIN_READER: Final = RowReader(_columns(DomainRow, _DOMAIN), _domain)
_ASSOCIATION_READER: Final = RowReader(_columns(AssociationRow, _ASSOCIATION), _association)
