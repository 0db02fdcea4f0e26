"""Follows in Keystone which managed projects exist, what they are called, and who uses them.

Why: Keystone changes beside Synergy. Must not know quotas, nor why a project is managed.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from synergy.core.errors import UpstreamUnavailable
from synergy.core.events import ProjectsChanged
from synergy.core.model import Project
from synergy.managers.base import Part, Publish
from synergy.managers.project.by_rule import ByRule
from synergy.managers.project.users import Users
from synergy.ports import Identity, ProjectView, Store, Writing

LOG = logging.getLogger(__name__)


class Following(Part):
    """Reads the list of projects, and says whose users and which rule are to be looked at."""

    def __init__(
        self, publish: Publish, store: Store, identity: Identity, rule: ByRule, users: Users
    ) -> None:
        self._publish, self._store, self._identity = publish, store, identity
        self._rule, self._users = rule, users

    def look(self) -> None:
        """Follow renamed and deleted projects. Raises UpstreamUnavailable."""
        views = {view.project_id: view for view in self._identity.projects()}
        with self._store.reading() as uow:
            projects = uow.projects.all()
        if projects and not views:
            raise UpstreamUnavailable("Keystone lists no project at all: its answer is ignored")
        if any(_differs(project, views.get(project.project_id)) for project in projects):
            self._write_what_changed(views)
        self._rule.look(views)
        self._users.look(p.project_id for p in projects if p.project_id in views)

    def follow_users(self) -> float | None:
        """Follow the users of some projects; return in how many seconds others are due, if any."""
        return self._users.step()

    def _write_what_changed(self, views: Mapping[str, ProjectView]) -> None:
        changed = set()
        with self._store.writing() as uow:
            for project in uow.projects.all():
                view = views.get(project.project_id)
                if _differs(project, view):
                    self._follow_one(uow, project, view)
                    changed.add(project.project_id)
            uow.commit()
        self._publish(ProjectsChanged(frozenset(changed)))

    def _follow_one(self, uow: Writing, project: Project, view: ProjectView | None) -> None:
        """Note that Keystone knows a project no longer, or again, or by another name."""
        gone, name = view is None, project.name if view is None else view.name
        uow.projects.save(replace(project, gone=gone, name=name))
        if gone == project.gone:
            return
        if not gone:
            LOG.warning("managed project %s is back in Keystone", project.name)
        elif project.rule:
            LOG.warning("Keystone does not list project %s, which is managed by rule", project.name)
        else:
            LOG.error(
                "managed project %s is gone from Keystone: end its servers, and run `synergy "
                "project remove %s`", project.name, project.project_id,
            )  # fmt: skip


def _differs(project: Project, view: ProjectView | None) -> bool:
    return project.gone != (view is None) or (view is not None and view.name != project.name)
