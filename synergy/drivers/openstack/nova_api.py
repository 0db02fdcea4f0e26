"""Nova's API through python-novaclient: servers, and actions on them.

Must not know quotas or hosts.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from synergy.core.errors import (
    InvalidInput,
    NotFound,
    SynergyError,
    error_line,
)
from synergy.drivers.nova_message import demand_of, failure_of
from synergy.drivers.openstack.nova_client import pages
from synergy.drivers.openstack.session import translated_errors
from synergy.drivers.rate_limited_log import RateLimitedLog
from synergy.ports import Flavor, ServerStatus, ServerView

LOG = logging.getLogger(__name__)
NOVA: Final = "Nova"
GLANCE: Final = "Glance"
FLAVORS_KEPT_S: Final = 300.0
_PAGE: Final = 1000
_AT_ONCE: Final = 5  # concurrent requests to Nova; a session has 10 connections in all
_STATUS: Final = {
    "ERROR": ServerStatus.ERROR,
    "DELETED": ServerStatus.DELETED,
    "SOFT_DELETED": ServerStatus.STOPPED,  # may be restored, and keeps its host until then
    "SHUTOFF": ServerStatus.STOPPED,
    "SUSPENDED": ServerStatus.STOPPED,
    "PAUSED": ServerStatus.STOPPED,
    "SHELVED_OFFLOADED": ServerStatus.SHELVED,
}
_DISABLED: Final = "OS-FLV-DISABLED:disabled"
_FIRST_STEPS: Final = ("scheduling", "resize_prep", "unshelving")
_FAILED_IMAGE: Final = ("error", "killed", "deleted", "pending_delete")


@dataclass(frozen=True, slots=True)
class _Unseen:
    """Why a server cannot be shown, and whose it is, if at least that is known."""

    error: SynergyError
    project_id: str


class NovaApi:
    """Servers as the administrator of the cloud sees them."""

    def __init__(self, nova: Any, cloud: Any) -> None:
        """nova: python-novaclient; cloud: the clients of the other services."""
        self._nova, self._cloud = nova, cloud
        self._flavors: tuple[float, Sequence[Flavor]] = (
            0.0,
            (),
        )  # (read at, monotonic seconds; flavors)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="nova-api")
        self._warnings = RateLimitedLog(LOG)

    def servers(self, server_ids: Iterable[str]) -> Mapping[str, ServerView]:
        """Return those of the servers that exist.

        One for which Nova fails, such as one in a cell whose database is down, is UNKNOWN: the
        others have nothing to do with it. Raises UpstreamUnavailable when Nova answers nobody.
        """
        ids, found = list(server_ids), dict[str, ServerView]()
        answers = False
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            for server_id, seen in zip(some, self._pool.map(self._server, some), strict=True):
                if isinstance(seen, ServerView):
                    found[server_id] = seen
                elif seen is not None:
                    why = f"{server_id}: {seen.error}"
                    self._warnings.warning("Nova cannot show server %s", why)
                    found[server_id] = ServerView.unknown(server_id, project_id=seen.project_id)
                    answers = answers or self._answers(seen.error)
                    continue
                answers = True
        return found

    def _server(self, server_id: str) -> "ServerView | _Unseen | None":
        """Return a server, None if there is none, or why Nova cannot show it."""
        project_id = ""
        try:
            server = self._raw(server_id)
            if not server:
                return None
            project_id = str(server.to_dict().get("tenant_id") or "")
            with translated_errors(NOVA):
                return view_of(server)
        except SynergyError as error:
            return _Unseen(error, project_id)

    def _answers(self, error: SynergyError) -> bool:
        """Return that Nova answers other requests than the one that failed, or raise its error."""
        try:
            with translated_errors(NOVA):
                self._nova.servers.list(detailed=False, search_opts={"all_tenants": 1}, limit=1)
        except SynergyError:
            raise error from None
        return True

    def _view_of(self, server: Any) -> ServerView:
        """Return a server of a list as it is shown, UNKNOWN if it cannot be read."""
        try:
            return view_of(server)
        except (InvalidInput, ValueError, KeyError, TypeError, AttributeError) as error:
            self._warnings.warning("server %s cannot be read", f"{server.id}: {error_line(error)}")
            project_id = getattr(server, "tenant_id", None)
            return ServerView.unknown(server.id, project_id=str(project_id or ""))

    def _raw(self, server_id: str) -> Any:
        try:
            with translated_errors(NOVA):
                return self._nova.servers.get(server_id)
        except NotFound:
            return None

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers that wait for the conductor's first step.

        A server that Nova reschedules to another host has the same task state as one that waits for
        its first build, but it already has entries in its list of instance actions.
        """
        found = self._pool.map(self._raw, server_ids)
        waiting = [one for one in found if one and _task_of(one) in _FIRST_STEPS]
        first = [one.id for one in waiting if _task_of(one) == _FIRST_STEPS[0]]
        has_actions = self._pool.map(self._has_actions, first)
        rescheduled = {one for one, has in zip(first, has_actions, strict=True) if has}
        return {one.id for one in waiting} - rescheduled

    def _has_actions(self, server_id: str) -> bool:
        try:
            with translated_errors(NOVA):
                return bool(self._nova.instance_action.list(server_id))
        except NotFound:
            return True

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Yield a project's servers, or all; with `changed_since` also the deleted ones."""
        query: dict[str, object] = {"all_tenants": 1, "project_id": project_id}
        if changed_since is not None:
            query["changes-since"] = changed_since.isoformat()
        with translated_errors(NOVA):
            for page in pages(partial(self._nova.servers.list, search_opts=query, limit=_PAGE)):
                yield from map(self._view_of, page)

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Yield the ids of the servers that are not built yet, page by page; those that wait in
        Synergy are among them."""
        query = {"all_tenants": 1, "project_id": project_id, "status": "BUILD"}
        listed = partial(self._nova.servers.list, detailed=False, search_opts=query, limit=_PAGE)
        with translated_errors(NOVA):
            for page in pages(listed):
                yield [server.id for server in page]

    def flavors(self) -> Sequence[Flavor]:
        """Return the public flavors, at most FLAVORS_KEPT_S old."""
        read_s, known = self._flavors
        if known and time.monotonic() - read_s < FLAVORS_KEPT_S:
            return known
        with translated_errors(NOVA):
            listed = [one for page in pages(self._nova.flavors.list) for one in page]
            enabled = [one for one in listed if not getattr(one, _DISABLED, False)]
            extra_specs = list(self._pool.map(lambda one: one.get_keys(), enabled))
            found = tuple(filter(None, map(self._flavor_of, enabled, extra_specs)))
        self._flavors = time.monotonic(), found
        return found

    def _flavor_of(self, flavor: Any, extra_specs: Mapping[str, object]) -> Flavor | None:
        """Return a flavor, None for one of which nobody can say what it requests."""
        try:
            return _flavor_of(flavor, extra_specs)
        except InvalidInput as error:
            self._warnings.warning("a flavor is left out: %s", str(error))
            return None

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones, including those without a host that is up."""
        with translated_errors(NOVA):
            listed = self._nova.availability_zones.list(detailed=False)
            return frozenset(one.zoneName for one in listed)

    def delete_server(self, server_id: str) -> None:
        """Start the deletion; a server that is gone is no error."""
        with suppress(NotFound), translated_errors(NOVA):
            self._nova.servers.delete(server_id)

    def set_error(self, server_id: str) -> None:
        """Set the server's status to ERROR; nothing else happens to it."""
        with translated_errors(NOVA):
            self._nova.servers.reset_state(server_id, "error")

    def shelve_server(self, server_id: str) -> None:
        """Shelve; Nova offloads by itself."""
        with translated_errors(NOVA):
            self._nova.servers.shelve(server_id)

    def stop_server(self, server_id: str) -> None:
        """Power off."""
        with translated_errors(NOVA):
            self._nova.servers.stop(server_id)

    def set_metadata(self, server_id: str, changes: Mapping[str, str | None]) -> None:
        """Set keys of the server's metadata; None deletes a key."""
        values = {key: value for key, value in changes.items() if value is not None}
        with translated_errors(NOVA):
            if values:
                self._nova.servers.set_meta(server_id, values)
        for key in changes.keys() - values.keys():
            try:
                with translated_errors(NOVA):
                    self._nova.servers.delete_meta(server_id, [key])
            except NotFound:
                continue

    def confirm_resize(self, server_id: str) -> None:
        """Confirm a resize that the user has neither confirmed nor reverted."""
        with translated_errors(NOVA):
            self._nova.servers.confirm_resize(server_id)

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start a snapshot of the server, and return the image's id."""
        with translated_errors(NOVA):
            return str(self._nova.servers.create_image(server_id, image_name))

    def image_is_ready(self, image_id: str) -> bool:
        """Return whether the image is complete. Raises NotFound when it failed."""
        with translated_errors(GLANCE):
            status = self._cloud.image.get_image(image_id).status
        if status in _FAILED_IMAGE:
            raise NotFound(f"image {image_id!r} is {status}")
        return bool(status == "active")


def _flavor_of(flavor: Any, extra_specs: Mapping[str, object]) -> Flavor:
    specs = {str(key): str(value) for key, value in extra_specs.items()}
    shape = _shape(flavor.to_dict(), flavor.name, ephemeral="OS-FLV-EXT-DATA:ephemeral")
    demand = demand_of(shape, specs, boots_from_volume=False)
    return Flavor(name=flavor.name, demand=demand, extra_specs=specs)


def _shape(
    flavor: Mapping[str, Any], name: str, *, ephemeral: str = "ephemeral"
) -> dict[str, object]:
    return {
        "name": name,
        "vcpus": flavor["vcpus"],
        "memory_mb": flavor["ram"],
        "root_gb": flavor["disk"],
        "ephemeral_gb": flavor[ephemeral],
        "swap": flavor["swap"] or 0,  # a flavor without swap shows ""
    }


def view_of(server: Any) -> ServerView:
    """Convert a server of novaclient."""
    flavor, name = server.flavor, server.flavor["original_name"]
    specs, with_image = flavor.get("extra_specs") or {}, bool(server.image)
    launched_at = getattr(server, "OS-SRV-USG:launched_at", None)
    status = status_of(server)
    fault = (getattr(server, "fault", None) or {}).get("message", "")
    return ServerView(
        server_id=server.id,
        project_id=server.tenant_id,
        user_id=server.user_id,
        name=server.name or "",
        flavor=name or "",
        demand=demand_of(_shape(flavor, name), specs, boots_from_volume=not with_image),
        status=status,
        in_task=bool(_task_of(server)) or server.status == "VERIFY_RESIZE",
        locked=bool(server.locked),
        metadata={str(k): str(v) for k, v in (server.metadata or {}).items()},
        created_at=_instant(server.created),
        launched_at=_instant(launched_at) if launched_at else None,
        host=_host_of(server),
        fault=fault,
        failure=failure_of(fault) if status is ServerStatus.ERROR else None,
    )


def _task_of(server: Any) -> str | None:
    return getattr(server, "OS-EXT-STS:task_state", None)


def _host_of(server: Any) -> str | None:
    return getattr(server, "OS-EXT-SRV-ATTR:host", None) or None


def status_of(server: Any) -> ServerStatus:
    """Return a server's status; BUILD is split by whether Nova has chosen a host yet."""
    if server.status == "BUILD":
        unscheduled = _task_of(server) == "scheduling" and not _host_of(server)
        return ServerStatus.SCHEDULING if unscheduled else ServerStatus.BUILDING
    return _STATUS.get(server.status, ServerStatus.ACTIVE)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
