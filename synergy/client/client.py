"""The resources of the API as Python objects, with typed answers.

import openstack
from synergy.client import Client

session = openstack.connect(cloud="mine").session
for request in Client(session).requests.list(states=["QUEUED"]):
    print(request["id"], request["reason"])
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from urllib.parse import quote

from keystoneauth1.adapter import Adapter
from keystoneauth1.noauth import NoAuth
from keystoneauth1.session import Session

from synergy.client.api import VERSION, Api, Noun, object_in, objects_in, part_of
from synergy.client.reads import Reads
from synergy.client.types import (
    Change,
    Expiry,
    Explanation,
    Manager,
    Project,
    ProjectRule,
    Removal,
    Request,
    Simulation,
    User,
    WhatIf,
)

SERVICE_TYPE: Final = "synergy"
TIMEOUT_S: Final = 60


class Client:
    """The whole API. Every error answer raises ApiError."""

    def __init__(
        self,
        session: Any,
        *,
        endpoint_override: str | None = None,
        region_name: str | None = None,
        interface: str | None = None,
    ) -> None:
        """session  a keystoneauth session; its catalogue gives the endpoint of service type
        `synergy`"""
        override = endpoint_override and endpoint_override.rstrip("/").removesuffix(f"/{VERSION}")
        adapter = Adapter(
            session,
            service_type=None if override else SERVICE_TYPE,
            endpoint_override=override,
            region_name=region_name,
            interface=interface or "public",
            user_agent="synergy-client",
        )
        api = Api(adapter)
        self.managers = Managers(api)
        self.projects = Projects(api)
        self.requests = Requests(api)
        self.reports = Reports(api)


def connect(endpoint: str, *, verify: bool | str = True) -> Client:
    """Return a client of a service that needs no token, such as one on the embedded cloud.

    verify  whether to verify TLS certificates, or a file with the CA certificates to trust
    """
    session = Session(auth=NoAuth(endpoint=endpoint), timeout=TIMEOUT_S, verify=verify)
    return Client(session, endpoint_override=endpoint)


class Managers(Noun):
    """/v1/managers"""

    def list(self) -> list[Manager]:
        """Return every manager."""
        return cast(list[Manager], objects_in(self._api.get("/managers"), "managers"))

    def show(self, name: str) -> Manager:
        """Return one manager."""
        return cast(Manager, object_in(self._api.get(f"/managers/{_part(name)}"), "manager"))

    def start(self, name: str) -> Manager:
        """Start a stopped manager."""
        return cast(Manager, object_in(self._api.post(f"/managers/{_part(name)}/start"), "manager"))

    def stop(self, name: str, *, dry_run: bool = False) -> Manager:
        """Stop a manager; a dry run only shows what that would mean."""
        body = {"dry_run": True} if dry_run else {}
        stopped = self._api.post(f"/managers/{_part(name)}/stop", body)
        return cast(Manager, object_in(stopped, "manager"))

    def execute(
        self, name: str, command: str, arguments: Mapping[str, object] | None = None
    ) -> Any:
        """Run a command, and return its result."""
        path = f"/managers/{_part(name)}/commands/{_part(command)}"
        return part_of(self._api.post(path, arguments), "result")


class Projects(Noun):
    """/v1/projects; a project is named by id or name."""

    def list(self) -> list[Project]:
        """Return the managed projects that the caller may see."""
        return list(self._api.pages("/projects", "projects", None))

    def show(self, project: str) -> Project:
        """Return a project with its users."""
        return cast(Project, object_in(self._api.get(f"/projects/{_part(project)}"), "project"))

    def add(self, project: str, **settings: object) -> Project:
        """Manage a project."""
        body = {"project": project, **settings}
        return cast(Project, object_in(self._api.post("/projects", body), "project"))

    def set(self, project: str, *, revision: str | None = None, **settings: object) -> Project:
        """Change a project; with a revision, only if it is still the current one."""
        path = f"/projects/{_part(project)}"
        changed = self._api.patch(path, settings, revision=revision)
        return cast(Project, object_in(changed, "project"))

    def remove(self, project: str, *, servers: str = "keep", revision: str | None = None) -> None:
        """Stop managing a project; `servers` says whether to keep its shared servers or expire
        them."""
        path = f"/projects/{_part(project)}"
        self._api.delete(path, revision=revision, params={"servers": servers})

    def try_remove(
        self, project: str, *, servers: str = "keep", revision: str | None = None
    ) -> Removal:
        """Return what `remove` would do, without doing it."""
        params = {"servers": servers, "dry_run": "true"}
        found = self._api.delete(f"/projects/{_part(project)}", revision=revision, params=params)
        return cast(Removal, object_in(found, "removal"))

    def rule(self, manage: str | None = None) -> ProjectRule:
        """Return whom the rule of managed projects takes in and lets go, or what the rule `manage`
        would do."""
        found = self._api.get("/project-rule", manage=manage)
        return cast(ProjectRule, object_in(found, "project_rule"))

    def resume_rule(self) -> ProjectRule:
        """Let all projects leave that the rule manages no longer."""
        found = self._api.post("/project-rule/resume", {})
        return cast(ProjectRule, object_in(found, "project_rule"))

    def users(self, project: str) -> Sequence[User]:
        """Return the users of a project."""
        return list(self._api.pages(f"/projects/{_part(project)}/users", "users", None))

    def set_user(
        self, project: str, user: str, *, revision: str | None = None, **settings: object
    ) -> User:
        """Change a user's raw_shares or priority."""
        path = f"/projects/{_part(project)}/users/{_part(user)}"
        return cast(User, object_in(self._api.patch(path, settings, revision=revision), "user"))


class Requests(Noun):
    """/v1/requests and /v1/simulate"""

    def list(
        self, *, limit: int | None = None, states: Sequence[str] = (), **filters: object
    ) -> Iterator[Request]:
        """Yield requests over all pages, up to `limit`.

        filters  parameters of GET /v1/requests, such as project_id, flavor or sort_key
        """
        return self._api.pages("/requests", "requests", limit, state=list(states), **filters)

    def show(self, request_id: str) -> Request:
        """Return a request with its history."""
        return cast(Request, object_in(self._api.get(f"/requests/{_part(request_id)}"), "request"))

    def explain(self, request_id: str) -> Explanation:
        """Return why a request waits, and until when."""
        found = self._api.get(f"/requests/{_part(request_id)}/explain")
        return cast(Explanation, object_in(found, "explanation"))

    def hold(self, request_id: str, *, revision: str | None = None) -> Request:
        """Hold a request: keep it from starting."""
        return self._act(request_id, "hold", {}, revision)

    def release(self, request_id: str, *, revision: str | None = None) -> Request:
        """Release a request to the queue."""
        return self._act(request_id, "release", {}, revision)

    def cancel(self, request_id: str, *, revision: str | None = None) -> Request:
        """Cancel a request."""
        return self._act(request_id, "cancel", {}, revision)

    def extend(self, request_id: str, by_s: int, *, revision: str | None = None) -> Request:
        """Extend the lifetime of a request's server by `by_s` seconds."""
        return self._act(request_id, "extend", {"by_s": by_s}, revision)

    def simulate(self, flavor: str, **options: object) -> Simulation:
        """Return whether servers would start now; `options` are project, count, metadata,
        availability_zone and server_group."""
        found = self._api.post("/simulate", {"flavor": flavor, **options})
        return cast(Simulation, object_in(found, "simulation"))

    def what_if(self, supposed: Mapping[str, object]) -> WhatIf:
        """Return who would start earlier or later; `supposed` is the body of POST /v1/what-if."""
        return cast(WhatIf, object_in(self._api.post("/what-if", supposed), "what_if"))

    def _act(
        self, request_id: str, action: str, body: Mapping[str, object], revision: str | None
    ) -> Request:
        path = f"/requests/{_part(request_id)}/{action}"
        return cast(Request, object_in(self._api.post(path, body, revision=revision), "request"))


class Reports(Reads):
    """What is only read, the ends of servers, and the audit."""

    def ending(
        self,
        *,
        limit: int | None = None,
        within_s: int | None = None,
        project_id: str | None = None,
        marker: str | None = None,
    ) -> Iterator[Request]:
        """List the servers that have an end, the earliest first.

        Yields up to `limit`, over all pages.
        """
        return self._api.pages(
            "/expiry/servers",
            "requests",
            limit,
            within_s=within_s,
            project_id=project_id,
            marker=marker,
        )

    def resume_expiry(self, *, dry_run: bool = False) -> Expiry:
        """Resume expiry: end all servers that are due by the current wall clock. A dry run only
        tells how many, as `due_on_resume`."""
        body = {"dry_run": True} if dry_run else {}
        return cast(Expiry, object_in(self._api.post("/expiry/resume", body), "expiry"))

    def audit(self, *, limit: int | None = None, **filters: object) -> Iterator[Change]:
        """Yield the changes made through the API, oldest first."""
        return self._api.pages("/audit", "audit", limit, **filters)


def _part(text: str) -> str:
    return quote(text, safe="")
