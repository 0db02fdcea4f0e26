"""Managed projects, their domains and users: rows to values and back."""

from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from synergy.core.errors import Conflict, NotFound
from synergy.core.model import Association, Domain, Project
from synergy.db.models import AssociationRow, DomainRow, ProjectRow

_PROJECT: Final = tuple(Project.__dataclass_fields__)
_DOMAIN: Final = tuple(Domain.__dataclass_fields__)
_ASSOCIATION: Final = tuple(Association.__dataclass_fields__)
_CHANGEABLE: Final = ("user_name", "raw_shares", "priority", "active")


def _columns(row: type, names: tuple[str, ...]) -> list[Any]:
    return [getattr(row, name) for name in names]


def _values(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


_PROJECTS: Final = select(*_columns(ProjectRow, _PROJECT)).order_by(ProjectRow.project_id)
_ASSOCIATIONS: Final = select(*_columns(AssociationRow, _ASSOCIATION)).order_by(
    AssociationRow.association_id
)


class SqlProjects:
    """The repository of projects; see `ports.Projects`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[Project]:
        return [_project(row) for row in self._connection.execute(_PROJECTS)]

    def get(self, project_id: str) -> Project:
        query = _PROJECTS.where(ProjectRow.project_id == project_id)
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFound(f"project {project_id!r} is not managed by Synergy")
        return _project(row)

    def add(self, project: Project) -> None:
        known = select(ProjectRow.project_id).where(ProjectRow.project_id == project.project_id)
        if self._connection.execute(known).first() is not None:
            raise Conflict(f"project {project.name!r} is managed already")
        self._connection.execute(insert(ProjectRow).values(_values(project, _PROJECT)))

    def save(self, project: Project) -> None:
        values = _values(project, _PROJECT) | {"generation": project.generation + 1}
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
        self._connection.execute(delete(ProjectRow).where(ProjectRow.project_id == project_id))

    def domains(self) -> list[Domain]:
        query = select(*_columns(DomainRow, _DOMAIN)).order_by(DomainRow.domain_id)
        return [
            Domain(**dict(zip(_DOMAIN, row, strict=True)))
            for row in self._connection.execute(query)
        ]

    def save_domain(self, domain: Domain) -> None:
        key = DomainRow.domain_id == domain.domain_id
        known = self._connection.execute(select(DomainRow.domain_id).where(key)).first()
        write = insert(DomainRow) if known is None else update(DomainRow).where(key)
        self._connection.execute(write.values(_values(domain, _DOMAIN)))

    def associations(self) -> list[Association]:
        return [_association(row) for row in self._connection.execute(_ASSOCIATIONS)]

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
        found = _association(row)
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


def _project(row: Any) -> Project:
    return Project(**dict(zip(_PROJECT, row, strict=True)))


def _association(row: Any) -> Association:
    return Association(**dict(zip(_ASSOCIATION, row, strict=True)))
