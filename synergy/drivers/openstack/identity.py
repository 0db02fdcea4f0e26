"""Keystone: projects of all domains, who may act in them, and trusts.

Must not know why a trust is needed. Never looks at trusts between other users.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlsplit

from keystoneauth1 import exceptions as auth_errors
from keystoneauth1.plugin import AUTH_INTERFACE
from openstack import exceptions as api_errors

from synergy.core.errors import InvalidInput, NotFound, UpstreamUnavailable
from synergy.drivers.openstack.session import translated_errors
from synergy.ports import ProjectView, Wake

KEYSTONE: Final = "Keystone"
MIN_TOKEN_LIFE_S: Final = 120.0  # a token that expires sooner is not given to Nova


class Identity:
    """See `ports.Identity`."""

    def __init__(
        self,
        cloud: Any,
        session: Any,
        open_trusted_session: Callable[[str], object],
        on_change: Callable[[Wake], None],
    ) -> None:
        """open_trusted_session opens a session that acts as the user of a trust; on_change
        registers `wake` to be called when Keystone notifies a change."""
        self._cloud, self._session = cloud, session
        self._open_trusted_session = open_trusted_session
        self._on_change = on_change
        self._trusted: dict[str, Any] = {}

    def projects(self) -> Sequence[ProjectView]:
        """Return every project of every domain. Raises UpstreamUnavailable on a part of them."""
        with translated_errors(KEYSTONE):
            domains = {one["id"]: str(one["name"]) for one in self._all("domains")}
            return [_view(one, domains) for one in self._all("projects")]

    def _all(self, what: str) -> list[Any]:
        """Return a whole list of Keystone: the SDK does not follow Keystone's links to next pages,
        and does not show that a list was cut."""
        found: list[Any] = []
        query, asked = "", set[str]()
        while query not in asked:
            asked.add(query)
            page = self._get(f"/{what}?{query}" if query else f"/{what}")
            found += page[what]
            following = (page.get("links") or {}).get("next")
            if following:
                query = urlsplit(following).query  # Keystone may name a host that we cannot reach
            elif page.get("truncated"):
                raise UpstreamUnavailable(
                    f"Keystone lists only {len(found)} {what}: raise list_limit in keystone.conf"
                )
        return found

    def _get(self, path: str) -> Any:
        answer = self._cloud.identity.get(path)
        api_errors.raise_from_response(answer)
        return answer.json()

    def project(self, project_id: str) -> ProjectView:
        """Return one project by id. Raises NotFound."""
        with translated_errors(KEYSTONE):
            found = self._get(f"/projects/{quote(project_id, safe='')}")["project"]
            domain = self._get(f"/domains/{quote(str(found['domain_id']), safe='')}")["domain"]
            return _view(found, {domain["id"]: str(domain["name"])})

    def own_project_id(self) -> str | None:
        """Return the project of Synergy's own token, None without one."""
        with translated_errors(KEYSTONE):
            found = self._session.get_project_id()
            return None if found is None else str(found)

    def find_project(self, name_or_id: str) -> ProjectView:
        """Return one project. Raises NotFound, or InvalidInput when a name is not unique."""
        views = self.projects()
        found = [one for one in views if one.project_id == name_or_id] or [
            one for one in views if one.name == name_or_id
        ]
        if not found:
            raise NotFound(f"Keystone knows no project {name_or_id!r}")
        if len(found) > 1:
            ids = ", ".join(one.project_id for one in found)
            raise InvalidInput(f"project name {name_or_id!r} is not unique: give one of {ids}")
        return found[0]

    def users_of(self, project_id: str) -> Mapping[str, str]:
        """Return the users with a role on the project, directly or through groups: id -> name."""
        with translated_errors(KEYSTONE):
            found = self._cloud.identity.role_assignments(
                scope_project_id=project_id, effective=True, include_names=True
            )
            return {one.user["id"]: one.user.get("name", "") for one in found if one.user}

    def gone(self, owners: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """Return those of the (project_id, user_id) pairs that can no longer act, and why."""
        identity = self._cloud.identity
        users = {user_id: _standing(identity.get_user, user_id) for _, user_id in owners}
        projects = {key: _standing(identity.get_project, key) for key, _ in owners}
        return {
            (project_id, user_id): f"its project {projects[project_id]} in Keystone"
            if projects[project_id]
            else f"its user {users[user_id]} in Keystone"
            for project_id, user_id in owners
            if projects[project_id] or users[user_id]
        }

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when Keystone notifies that projects, users or roles changed."""
        self._on_change(wake)

    def create_trust(self, token: str, *, project_id: str, roles: Sequence[str]) -> str:
        """Create a trust with these roles from the token's user to Synergy. Raises InvalidInput."""
        with translated_errors(KEYSTONE):
            url = f"{self._url()}/OS-TRUST/trusts"
            ours = self._session.get_user_id()
        body = {
            "impersonation": True,
            "project_id": project_id,
            "roles": [{"name": role} for role in roles],
            "trustee_user_id": ours,
        }
        try:
            trustor = self._user_of(token)
            answer = self._session.post(
                url,
                json={"trust": body | {"trustor_user_id": trustor}},
                headers={"X-Auth-Token": token},
                authenticated=False,
            )
        except (auth_errors.Unauthorized, auth_errors.NotFound) as error:
            raise InvalidInput("the user's token is expired: it cannot create a trust") from error
        except auth_errors.Forbidden as error:
            raise InvalidInput(
                "Keystone forbids it: the user's token comes from a trust or from an application "
                "credential"
            ) from error
        except auth_errors.ClientException as error:
            raise UpstreamUnavailable(f"Keystone does not answer: {error}") from error
        return str(answer.json()["trust"]["id"])

    def _user_of(self, token: str) -> str:
        """Return the user of a token. Raises keystoneauth1's error when it is not valid."""
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        url = f"{self._url()}/auth/tokens?nocatalog"
        answer = self._session.get(url, headers=headers, authenticated=False)
        return str(answer.json()["token"]["user"]["id"])

    def _url(self) -> str:
        url = str(self._session.get_endpoint(interface=AUTH_INTERFACE)).rstrip("/")
        return url if url.endswith("/v3") else f"{url}/v3"

    def trusts_of(self, user_id: str, project_id: str) -> Sequence[str]:
        """Return the trusts that a user gave Synergy for a project."""
        with translated_errors(KEYSTONE):
            found = self._cloud.identity.trusts(
                trustor_user_id=user_id, trustee_user_id=self._session.get_user_id()
            )
            return [one.id for one in found if one.project_id == project_id]

    def delete_trust(self, trust_id: str) -> None:
        """Delete a trust; one that is gone is no error."""
        self._trusted.pop(trust_id, None)
        with translated_errors(KEYSTONE):
            self._cloud.identity.delete_trust(trust_id, ignore_missing=True)

    def token_from_trust(self, trust_id: str) -> str:
        """Return a token of the trusting user, valid for at least MIN_TOKEN_LIFE_S. Raises
        NotFound."""
        if trust_id not in self._trusted:
            self._trusted[trust_id] = self._open_trusted_session(trust_id)
        session = self._trusted[trust_id]
        try:
            with translated_errors(KEYSTONE):
                try:
                    if session.auth.get_access(session).will_expire_soon(MIN_TOKEN_LIFE_S):
                        session.invalidate()
                    return str(session.get_token())
                except (auth_errors.Unauthorized, auth_errors.Forbidden) as error:
                    # Keystone gives the same error for a trust that is gone and for a wrong
                    # password. If it answers this request, the password is right, so the trust is
                    # gone.
                    self._cloud.identity.get_trust(trust_id)
                    raise NotFound(f"Keystone does not accept it: {error}") from error
        except (InvalidInput, NotFound) as error:
            self._trusted.pop(trust_id, None)
            raise NotFound(f"trust {trust_id!r} cannot be used: {error}") from error


def _view(project: Mapping[str, Any], domains: Mapping[str, str]) -> ProjectView:
    domain_id = str(project["domain_id"])
    parent_id = project.get("parent_id")
    return ProjectView(
        project_id=str(project["id"]),
        name=str(project["name"]),
        domain_id=domain_id,
        domain_name=domains.get(domain_id, domain_id),
        parent_id=parent_id if parent_id != domain_id else None,
        enabled=bool(project.get("enabled", True)),
        tags=frozenset(project.get("tags") or ()),
    )


def _standing(get: Callable[[str], Any], key: str) -> str:
    """Return whether a user or a project "is disabled" or "was deleted", "" while it can act."""
    try:
        with translated_errors(KEYSTONE):
            return "" if get(key).is_enabled else "is disabled"
    except NotFound:
        return "was deleted"
