"""The embedded cloud's Keystone: projects of several domains, users, tokens, trusts."""

import random
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from synergy.core.errors import InvalidInput, NotFound, UpstreamUnavailable
from synergy.drivers.embedded.spec import CloudSpec, ProjectSpec
from synergy.ports import Clock, ProjectView, Wake


@dataclass(frozen=True, slots=True)
class Token:
    """The user and project of a token, and when it expires."""

    user_id: str
    project_id: str
    expires_at: datetime
    from_trust: bool = False


class EmbeddedIdentity:
    """Keystone in memory; see `ports.Identity`."""

    def __init__(self, spec: CloudSpec, clock: Clock, rng: random.Random) -> None:
        self._spec, self._clock, self._rng = spec, clock, rng
        self._projects = {project.project_id: project for project in spec.projects}
        self._tokens: dict[str, Token] = {}  # ordered by expiry
        self._lock = threading.Lock()
        self.down = False
        self._wakes: list[Wake] = []
        self.trusts: dict[str, Token] = {}
        self.disabled: set[str] = set()  # ids of projects and users
        self._deleted_users: set[str] = set()

    def _answer(self) -> None:
        if self.down:
            raise UpstreamUnavailable("Keystone does not answer")

    def projects(self) -> Sequence[ProjectView]:
        """Return every project of every domain."""
        self._answer()
        return [self._view(project) for project in self._projects.values()]

    def project(self, project_id: str) -> ProjectView:
        """Return one project by id. Raises NotFound."""
        return self._view(self._project(project_id))

    def own_project_id(self) -> str | None:
        """Synergy acts in no project of this cloud."""
        return None

    def find_project(self, name_or_id: str) -> ProjectView:
        """Return one project. Raises NotFound, or InvalidInput when a name is not unique."""
        self._answer()
        if name_or_id in self._projects:
            return self._view(self._projects[name_or_id])
        named = [p for p in self._projects.values() if p.name == name_or_id]
        if len(named) > 1:
            ids = ", ".join(project.project_id for project in named)
            raise InvalidInput(f"project name {name_or_id!r} is not unique: give one of {ids}")
        if not named:
            raise NotFound(f"Keystone knows no project {name_or_id!r}")
        return self._view(named[0])

    def users_of(self, project_id: str) -> Mapping[str, str]:
        """Return the users with a role on the project: id -> name."""
        return dict(self._project(project_id).users)

    def gone(self, owners: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """Return those of the (project_id, user_id) pairs that can no longer act, and why."""
        self._answer()
        found = {owner: self._why_gone(*owner) for owner in owners}
        return {owner: why for owner, why in found.items() if why}

    def _why_gone(self, project_id: str, user_id: str) -> str:
        if project_id not in self._projects:
            return "its project was deleted in Keystone"
        if user_id in self._deleted_users:
            return "its user was deleted in Keystone"
        if project_id in self.disabled:
            return "its project is disabled in Keystone"
        return "its user is disabled in Keystone" if user_id in self.disabled else ""

    def remove_user(self, user_id: str) -> None:
        """Delete a user and its roles, as an administrator of Keystone would."""
        self._deleted_users.add(user_id)
        for project_id, project in list(self._projects.items()):
            users = {one: name for one, name in project.users.items() if one != user_id}
            self._projects[project_id] = replace(project, users=users)
        self._changed()

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when projects, users or roles changed."""
        self._wakes.append(wake)

    def _changed(self) -> None:
        for wake in self._wakes:
            wake()

    def _project(self, project_id: str) -> ProjectSpec:
        self._answer()
        if project_id not in self._projects:
            raise NotFound(f"Keystone knows no project {project_id!r}")
        return self._projects[project_id]

    def remove_project(self, project_id: str) -> None:
        """Delete a project, as an administrator of Keystone would."""
        self._projects.pop(project_id, None)
        self._changed()

    def add_project(self, project: ProjectSpec) -> None:
        """Create a project, or replace it, as an administrator of Keystone would."""
        self._projects[project.project_id] = project
        self._changed()

    def set_tags(self, project_id: str, tags: Collection[str]) -> None:
        """Replace the tags of a project, as an administrator of Keystone would."""
        self.add_project(replace(self._project(project_id), tags=tuple(tags)))

    def enable_project(self, project_id: str, *, enabled: bool) -> None:
        """Enable or disable a project, as an administrator of Keystone would."""
        (self.disabled.discard if enabled else self.disabled.add)(project_id)
        self._changed()

    def set_users(self, project_id: str, users: Mapping[str, str]) -> None:
        """Replace the users with a role on a project, as an administrator of Keystone would."""
        self._projects[project_id] = replace(self._project(project_id), users=dict(users))
        self._changed()

    def issue_token(self, user: str, project_id: str) -> str:
        """Return a token for a user's name or id. Raises NotFound."""
        users = self._project(project_id).users
        for user_id, name in users.items():
            if user in (user_id, name):
                return self._issue(user_id, project_id, from_trust=False)
        raise NotFound(f"user {user!r} has no role on project {project_id!r}")

    def request_context(self, user: str, project: ProjectView) -> dict[str, Any]:
        """Return the request context of a user, with a new token. Raises NotFound."""
        token = self.issue_token(user, project.project_id)
        user_id = self._tokens[token].user_id
        return {
            "user_id": user_id,
            "user_name": self.users_of(project.project_id)[user_id],
            "project_id": project.project_id,
            "project_name": project.name,
            "roles": ["member", "reader"],
            "auth_token": token,
        }

    def _issue(self, user_id: str, project_id: str, *, from_trust: bool) -> str:
        token = f"gAAAAA{self._rng.getrandbits(96):024x}"
        now = self._clock.now()
        ends = now + timedelta(seconds=self._spec.token_ttl_s)
        with self._lock:
            while self._tokens and next(iter(self._tokens.values())).expires_at <= now:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[token] = Token(user_id, project_id, ends, from_trust)
        return token

    def check_token(self, token: str) -> Token | None:
        """Return a token's user and project, None when it is unknown or expired."""
        found = self._tokens.get(token)
        return found if found and found.expires_at > self._clock.now() else None

    def create_trust(self, token: str, *, project_id: str, roles: Sequence[str]) -> str:
        """Create a trust from the token's user to Synergy. Raises InvalidInput."""
        self._answer()
        found = self.check_token(token)
        if found is None:
            raise InvalidInput("the user's token is expired or unknown: it cannot create a trust")
        if found.from_trust:
            raise InvalidInput("the user's token comes from a trust: it cannot create another")
        if found.project_id != project_id or not roles:
            raise InvalidInput(f"the user's token gives no roles on project {project_id!r}")
        trust_id = f"{self._rng.getrandbits(128):032x}"
        self.trusts[trust_id] = found
        return trust_id

    def trusts_of(self, user_id: str, project_id: str) -> Sequence[str]:
        """Return the trusts that a user gave Synergy for a project."""
        self._answer()
        whose = user_id, project_id
        return [key for key, one in self.trusts.items() if (one.user_id, one.project_id) == whose]

    def delete_trust(self, trust_id: str) -> None:
        """Delete a trust; one that is gone is no error."""
        self._answer()
        self.trusts.pop(trust_id, None)

    def token_from_trust(self, trust_id: str) -> str:
        """Return a fresh token that acts as the trusting user. Raises NotFound."""
        self._answer()
        trust = self.trusts.get(trust_id)
        if trust is None:
            raise NotFound(f"trust {trust_id!r} does not exist")
        return self._issue(trust.user_id, trust.project_id, from_trust=True)

    def _view(self, project: ProjectSpec) -> ProjectView:
        return ProjectView(
            project_id=project.project_id,
            name=project.name,
            domain_id=project.domain_id,
            domain_name=project.domain_name,
            parent_id=project.parent_id,
            enabled=project.project_id not in self.disabled,
            tags=frozenset(project.tags),
        )
