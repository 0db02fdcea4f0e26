"""Projects and users that an operator adds, changes and removes by command.

Why: a change of quotas is tried against the cloud before it is made. Must not know what Keystone
and Nova change by themselves.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from synergy.core.declared import commands
from synergy.core.declared.answers import projects as answers
from synergy.core.declared.fields import Setting, read
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.errors import Conflict, InvalidInput, NotFound
from synergy.core.events import ProjectsChanged
from synergy.core.model import Association, Domain, Handover, Project
from synergy.core.quota import QuotaState
from synergy.managers.base import Part, Publish
from synergy.managers.project.by_rule import ByRule
from synergy.managers.project.handover import QuotaHandover
from synergy.managers.project.keeping import keep_servers
from synergy.managers.project.quota_change import LIMITS, Effects, changed_settings, effects_of
from synergy.managers.project.removal import removal_of
from synergy.managers.quota.survey import QuotaSurvey
from synergy.managers.support.render import check_revision, project_json, user_json
from synergy.ports import Clock, Identity, Reading, Store

LOG = logging.getLogger(__name__)


class ByHand(Part):
    """What the commands of the project manager do."""

    def __init__(
        self,
        clock: Clock,
        publish: Publish,
        store: Store,
        identity: Identity,
        survey: QuotaSurvey,
        handover: QuotaHandover,
        rule: ByRule,
    ) -> None:
        self._clock, self._publish, self._store = clock, publish, store
        self._identity, self._survey = identity, survey
        self._handover, self._rule = handover, rule

    def show(self, project: str) -> answers.ProjectWithUsers:
        """Return a managed project with its users. Raises NotFound, InvalidInput."""
        with self._store.reading() as uow:
            found = _find(uow.projects.all(), project)
            users = [a for a in uow.projects.associations() if a.project_id == found.project_id]
        return {**project_json(found), "users": [user_json(user) for user in users]}

    def add(
        self, project: str, *, force: bool, dry_run: bool, settings: Mapping[str, object]
    ) -> commands.Changed:
        """Manage a project. Raises Conflict unless forced, InvalidInput, NotFound."""
        view = self._identity.find_project(project)
        if not dry_run and self._add_by_hand(view.project_id, force=force, settings=settings):
            return self.show(view.project_id)
        made = self._handover.draft(view)
        state = self._survey.look().state
        made = changed_settings(made, settings, state)
        with self._store.reading() as uow:
            effects = effects_of(uow, state, None, made)
        if dry_run:
            return _tried(made, effects)
        if not force:
            effects.check()
        users = self._identity.users_of(view.project_id)
        with self._store.writing() as uow:
            if view.domain_id not in {domain.domain_id for domain in uow.projects.domains()}:
                uow.projects.save_domain(Domain(domain_id=view.domain_id, name=view.domain_name))
            uow.projects.add(made)
            for user_id, name in users.items():
                uow.projects.association(view.project_id, user_id, name)
            uow.commit()
        self._handover.lift(made)
        return self.show(view.project_id)

    def _add_by_hand(self, project_id: str, *, force: bool, settings: Mapping[str, Any]) -> bool:
        """Let a project that is managed by rule be one that was added by hand, which stays whatever
        the rule says; False if no rule manages it."""
        with self._store.reading() as uow:
            if all(p.project_id != project_id or not p.rule for p in uow.projects.all()):
                return False
        if settings:
            self.set(project_id, None, force=force, dry_run=False, settings=settings)
        with self._store.writing() as uow:
            uow.projects.save(replace(uow.projects.get(project_id), rule=""))
            uow.commit()
        return True

    def set(
        self,
        project: str,
        if_match: Sequence[str] | None,
        *,
        force: bool,
        dry_run: bool,
        settings: Mapping[str, object],
    ) -> commands.Changed:
        """Change settings of a project. Raises Conflict unless forced, InvalidInput, NotFound."""
        if not settings:
            raise InvalidInput(f"nothing to set: give one of {_names(PROJECT_SETTINGS)}")
        # Whatever concerns no quota is changed without asking the cloud, which may be away.
        sized = dry_run or any(name in settings for name in LIMITS)
        state = self._survey.look().state if sized else QuotaState()
        with self._store.reading() as uow:
            found = _find(uow.projects.all(), project)
            check_revision(project_json(found), if_match)
            changed = changed_settings(found, settings, state)
            effects = effects_of(uow, state, found, changed) if sized else None
        if effects is not None and dry_run:
            return _tried(changed, effects)
        if effects is not None and not force:
            effects.check()
        with self._store.writing() as uow:
            uow.projects.save(changed)
            uow.commit()
        self._publish(ProjectsChanged(frozenset({found.project_id})))
        return self.show(found.project_id)

    def remove(
        self, project: str, servers: str, if_match: Sequence[str] | None, *, dry_run: bool
    ) -> answers.Project | answers.Removal:
        """Manage a project no longer. Raises Conflict, InvalidInput, NotFound."""
        if dry_run:
            with self._store.reading() as uow:
                tried = _find(uow.projects.all(), project)
                check_revision(project_json(tried), if_match)
                return removal_of(uow, tried, servers)
        with self._store.writing() as uow:
            found = _find(uow.projects.all(), project)
            check_revision(project_json(found), if_match)
            if self._rule.keeps(found):
                raise Conflict(
                    f"project {found.name!r} is managed by rule ({found.rule}): name it in "
                    "[project] exclude, or give it the tag of [project] exclude_tag in Keystone"
                )
            waiting = uow.requests.waiting_count(found.project_id)
            if waiting:
                raise Conflict(
                    f"project {found.name!r} has {waiting} waiting request(s): cancel them or let "
                    "them start, then remove it"
                )
            if servers == "keep":
                kept = keep_servers(uow, found.project_id, self._clock.now())
                LOG.info("%d shared server(s) of project %s have no end now", kept, found.name)
            leaving = replace(found, handover=Handover.RETURNING)
            uow.projects.save(leaving)
            uow.commit()
        self._handover.give_back(leaving)
        return project_json(leaving)

    def set_user(
        self,
        project: str,
        user: str,
        if_match: Sequence[str] | None,
        settings: Mapping[str, object],
    ) -> answers.User:
        """Change settings of a user of a project. Raises InvalidInput, NotFound."""
        if not settings:
            raise InvalidInput(f"nothing to set: give one of {_names(USER_SETTINGS)}")
        with self._store.writing() as uow:
            found = _find(uow.projects.all(), project)
            association = _find_user(uow, found, user)
            check_revision(user_json(association), if_match)
            changed = replace(association, **read(settings, USER_SETTINGS))
            uow.projects.save_association(changed)
            uow.commit()
        self._publish(ProjectsChanged(frozenset({found.project_id})))
        return user_json(changed)


def _names(settings: Sequence[Setting]) -> str:
    return ", ".join(one.name for one in settings)


def _tried(project: Project, effects: Effects) -> answers.TriedProject:
    return {**project_json(project), "effects": effects.json()}


def _find_user(uow: Reading, project: Project, user: str) -> Association:
    for association in uow.projects.associations():
        named = user in (association.user_id, association.user_name)
        if association.project_id == project.project_id and named:
            return association
    raise NotFound(f"project {project.name!r} has no user {user!r}")


def _find(projects: Sequence[Project], name_or_id: str) -> Project:
    """Return a managed project by id or name. Raises NotFound or InvalidInput."""
    found = [p for p in projects if p.project_id == name_or_id] or [
        p for p in projects if p.name == name_or_id
    ]
    if not found:
        raise NotFound(f"project {name_or_id!r} is not managed by Synergy")
    if len(found) > 1:
        ids = ", ".join(project.project_id for project in found)
        raise InvalidInput(f"project name {name_or_id!r} is not unique: give one of {ids}")
    return found[0]
