"""Moves the private quota of a project from Nova into Synergy, and back.

Why: each half of a move is committed before the next begins, so that a later run finishes what a
crash cut. Must not know why a project is taken in or let go.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from synergy.core.errors import InvalidInput, NotFound
from synergy.core.events import ProjectsChanged
from synergy.core.model import Handover, Project, Resources
from synergy.managers.base import Part, Publish
from synergy.ports import Identity, Intake, ProjectView, QuotaLimits, QuotaOwnership, Store

LOG = logging.getLogger(__name__)


class QuotaHandover(Part):
    """Takes projects in, and gives them back."""

    def __init__(
        self,
        publish: Publish,
        store: Store,
        identity: Identity,
        quota_limits: QuotaLimits,
        quota_ownership: QuotaOwnership,
        intake: Intake,
    ) -> None:
        self._publish, self._store, self._identity = publish, store, identity
        self._limits, self._ownership = quota_limits, quota_ownership
        self._intake = intake

    def announce(self) -> None:
        """Take the requests of every managed project from now on, and of no other."""
        with self._store.reading() as uow:
            projects, damaged = uow.projects.all(), uow.projects.damaged()
        # Nova limits a managed project no more: what cannot be read of it must not let it pass.
        taking_part = damaged.keys() | {
            p.project_id for p in projects if p.handover is not Handover.RETURNING
        }
        self._intake.manage(frozenset(taking_part))

    def draft(self, view: ProjectView) -> Project:
        """Return a project as it would be managed with no settings. Raises NotFound, InvalidInput,
        UpstreamUnavailable."""
        limits = self._limits.quota(view.project_id)
        return Project(
            project_id=view.project_id,
            name=view.name,
            domain_id=view.domain_id,
            parent_id=view.parent_id,
            nova_quota=dict(self._ownership.quota_record(view.project_id)),
            private=self._private_quota(view.project_id, limits),
            max_private_servers=self._limits.server_limit(view.project_id),
        )

    def _private_quota(self, project_id: str, limits: Mapping[str, int | None]) -> Resources:
        """A limited class counts with its limit, an unlimited one with what is used."""
        used = self._limits.used_by(project_id)
        unlimited = sorted(name for name, limit in limits.items() if limit is None)
        if unlimited:
            LOG.warning(
                "project %s is unlimited in %s: it counts with what it uses",
                project_id, ", ".join(unlimited),
            )  # fmt: skip
        return Resources.of(
            {name: used.get(name, 0) if limit is None else limit for name, limit in limits.items()}
        )

    def lift(self, project: Project) -> None:
        """Second half of taking a project in: Nova's limit goes, its quota lives here."""
        self.lift_in_nova(project)
        self.lifted([project])

    def lift_in_nova(self, project: Project) -> None:
        """Lift Nova's limit; `lifted` has to follow."""
        self._ownership.lift_quota(project.project_id)

    def lifted(self, projects: Sequence[Project]) -> None:
        """Note that Nova's limit of projects is gone."""
        with self._store.writing() as uow:
            for project in projects:
                uow.projects.save(replace(project, handover=Handover.HELD))
            uow.commit()
        self.announce()
        self._publish(ProjectsChanged(frozenset(one.project_id for one in projects)))

    def give_back(self, project: Project) -> None:
        """Second half of letting a project go: Nova has its limit back, then it is forgotten."""
        self.announce()
        try:
            self._ownership.restore_quota(project.project_id, project.nova_quota)
        except (NotFound, InvalidInput) as error:
            if not isinstance(error, NotFound) and self._in_keystone(project.project_id):
                raise
            LOG.info("project %s is gone: its quota cannot be restored in Nova", project.name)
        with self._store.writing() as uow:
            uow.projects.remove(project.project_id)
            uow.commit()
        self._publish(ProjectsChanged(frozenset({project.project_id})))

    def _in_keystone(self, project_id: str) -> bool:
        try:
            self._identity.project(project_id)
        except NotFound:
            return False
        return True
