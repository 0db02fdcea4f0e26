"""Follows who has a role on a managed project.

Why: Keystone tells of the users of one project at a time, and there may be ten thousand projects.
Must not know who is managed, nor quotas.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

from synergy.core.errors import InvalidInput, error_line
from synergy.core.events import ProjectsChanged
from synergy.core.model import Association, Project
from synergy.managers.base import Part, Publish
from synergy.managers.support.one_by_one import each_alone
from synergy.ports import Identity, Reading, Store, Writing

LOG = logging.getLogger(__name__)
_AT_ONCE: Final = 100  # projects that one run asks about
_WRITTEN_AT_ONCE: Final = 500  # projects whose users one transaction follows


class Users(Part):
    """The users of projects. `look` says whose are to be asked for, `step` does a batch of it."""

    def __init__(self, publish: Publish, store: Store, identity: Identity) -> None:
        self._publish, self._store, self._identity = publish, store, identity
        self._due: dict[str, None] = {}  # projects whose users are to be asked for, in order
        self._answered: dict[str, Mapping[str, str]] = {}  # and not written yet

    def look(self, project_ids: Iterable[str]) -> None:
        """Ask for the users of these projects, too."""
        self._due.update(dict.fromkeys(project_ids))

    def step(self) -> float | None:
        """Follow some projects; return in how many seconds the next follow, None when all had
        their turn."""
        some = list(islice(self._due, _AT_ONCE))
        found: dict[str, Mapping[str, str]] = {}

        def ask(project_id: str) -> None:
            self._due.pop(project_id, None)
            found[project_id] = self._identity.users_of(project_id)

        each_alone(some, ask, self._unknown)
        self._answered |= found
        if self._answered and (len(self._answered) >= _WRITTEN_AT_ONCE or not self._due):
            users_of, self._answered = self._answered, {}
            self._write(users_of)
        return 0.0 if self._due else None

    def _unknown(self, project_id: str, error: Exception) -> None:
        LOG.warning("users of project %s are not known: %s", project_id, error_line(error))

    def _write(self, users_of: Mapping[str, Mapping[str, str]]) -> None:
        changed = set()
        with self._store.writing() as uow:
            known: dict[str, dict[str, Association]] = {}
            associations = uow.projects.associations()
            for association in associations:
                known.setdefault(association.project_id, {})[association.user_id] = association
            busy = _busy(uow, associations)
            for project in uow.projects.all():
                users = users_of.get(project.project_id)
                if users is None:
                    continue
                if _follow_users(uow, project, known.get(project.project_id, {}), users, busy):
                    changed.add(project.project_id)
            uow.commit()
        if changed:
            self._publish(ProjectsChanged(frozenset(changed)))


def _busy(uow: Reading, associations: Sequence[Association]) -> set[int]:
    """Return the associations that hold something, or wait."""
    owners = uow.requests.waiting_owners()
    return {association_id for association_id, *_ in uow.requests.claims()} | {
        a.association_id for a in associations if (a.project_id, a.user_id) in owners
    }


def _follow_users(
    uow: Writing,
    project: Project,
    known: Mapping[str, Association],
    users: Mapping[str, str],
    busy: Collection[int],
) -> bool:
    """Take over who has a role on a project, and tell whether shares follow from it.

    Who has none any longer keeps its shares until its last server and request are gone; what it
    used then counts for the project.
    """
    changed = False
    for user_id, name in users.items():
        found = known.get(user_id)
        if found is None:
            try:
                uow.projects.association(project.project_id, user_id, name)
            except InvalidInput as error:  # the other users are followed
                LOG.error("user %s of project %s: %s", ascii(user_id), project.name, error)
            else:
                changed = True
        elif not found.active or name not in ("", found.user_name):
            changed |= not found.active
            named = name or found.user_name
            uow.projects.save_association(replace(found, user_name=named, active=True))
    for user_id, found in known.items():
        if found.active and user_id not in users and found.association_id not in busy:
            uow.projects.save_association(replace(found, active=False))
            changed = True
    return changed
