"""Looks whether the quota of a managed project is lifted in Nova, and who limited it since.

Why: a project's private quota lives in Synergy, so a limit that a person sets in Nova would count
twice. And a move of the quota that a crash cut is finished. Must not know Keystone.
"""

import logging
from dataclasses import replace
from typing import Final

from oslo_config import cfg

from synergy.core.errors import NotFound, SynergyError
from synergy.core.model import Handover, Project, Resources
from synergy.managers.base import Part
from synergy.managers.project.handover import QuotaHandover
from synergy.managers.support.one_by_one import each_alone
from synergy.ports import QuotaLimits, QuotaOwnership, Store

LOG = logging.getLogger(__name__)
_AT_ONCE: Final = 100  # projects that one step asks about


class NovaLimits(Part):
    """Goes through the managed projects, some at a time: there may be ten thousand."""

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        store: Store,
        quota_limits: QuotaLimits,
        quota_ownership: QuotaOwnership,
        handover: QuotaHandover,
    ) -> None:
        self._conf, self._store = conf, store
        self._limits, self._ownership = quota_limits, quota_ownership
        self._handover = handover
        self._troubles: dict[str, str] = {}  # what was logged of each that cannot be followed
        self._due: list[str] = []  # projects to look at, the next ones first

    def step(self) -> float | None:
        """Look at some projects; return in how many seconds the next follow, None when all had
        their turn."""
        if not self._due:
            with self._store.reading() as uow:
                projects = uow.projects.all()
            # What a crash cut comes first.
            projects.sort(key=lambda project: project.handover is Handover.HELD)
            self._due = [project.project_id for project in projects]
            self._troubles = {
                key: said for key, said in self._troubles.items() if key in set(self._due)
            }
        some, rest = iter(self._due[:_AT_ONCE]), self._due[_AT_ONCE:]
        try:
            each_alone(some, self._follow_by_id, self._cannot_follow)
        finally:
            self._due = [*some, *rest]
        return 0.0 if self._due else None

    def _follow_by_id(self, project_id: str) -> None:
        with self._store.reading() as uow:
            try:
                project = uow.projects.get(project_id)
            except NotFound:
                return  # it left meanwhile
        self._follow(project)
        self._troubles.pop(project_id, None)

    def _cannot_follow(self, project_id: str, error: Exception) -> None:
        said = str(error) or type(error).__name__
        if said != self._troubles.get(project_id):
            self._troubles[project_id] = said
            with self._store.reading() as uow:
                name = {p.project_id: p.name for p in uow.projects.all()}.get(project_id, "")
            expected = isinstance(error, SynergyError)
            LOG.error(
                "project %s cannot be followed in Nova: %s", name or project_id, said,
                exc_info=None if expected else error,
            )  # fmt: skip

    def _follow(self, project: Project) -> None:
        """Finish the move of a project's quota, or find out whether somebody undid it."""
        if project.handover is Handover.RETURNING:
            self._handover.give_back(project)
        elif project.gone:
            return  # there is no quota to move, nor to look at
        elif project.handover is Handover.TAKING:
            self._handover.lift(project)
        else:
            self._check_lifted(project)

    def _check_lifted(self, project: Project) -> None:
        """Find out whether somebody set a limit in Nova since it was lifted."""
        try:
            limits = self._limits.quota(project.project_id)
            record = self._ownership.quota_record(project.project_id)
            servers = self._limits.server_limit(project.project_id)
        except NotFound:
            return  # removed in Keystone; told below
        by_hand = {name: limit for name, limit in limits.items() if limit is not None}
        set_now = {name: limit for name, limit in record.items() if limit is not None}
        if not by_hand and not set_now:
            return
        shown = ", ".join(f"{name}={limit}" for name, limit in sorted((by_hand or set_now).items()))
        if self._conf.on_quota_drift == "report":
            LOG.error(
                "somebody limited the managed project %s in Nova to %s: use `synergy project set` "
                "for its private quota, and lift the limit", project.name, shown,
            )  # fmt: skip
            return
        LOG.warning(
            "somebody limited the managed project %s in Nova to %s: this is its private quota now",
            project.name, shown,
        )  # fmt: skip
        still_lifted = {n for n, limit in record.items() if limit is None}
        before = {n: limit for n, limit in project.nova_quota.items() if n in still_lifted}
        adopted = replace(
            project,
            private=Resources.of({**project.private, **by_hand}),
            max_private_servers=project.max_private_servers if servers is None else servers,
            nova_quota=before | set_now,
            handover=Handover.TAKING,
        )
        with self._store.writing() as uow:
            uow.projects.save(adopted)
            uow.commit()
        with self._store.reading() as uow:
            saved = uow.projects.get(project.project_id)
        self._handover.lift(saved)
