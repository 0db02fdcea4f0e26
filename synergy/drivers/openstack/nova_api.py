"""Nova's API: servers, and actions on them.

Must not know quotas or hosts.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from synergy.core.errors import NotFound
from synergy.drivers.nova_message import demand_of, failure_of
from synergy.drivers.openstack.session import translated_errors
from synergy.ports import Flavor, ServerStatus, ServerView

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
_FIRST_STEPS: Final = ("scheduling", "resize_prep", "unshelving")
_FAILED_IMAGE: Final = ("error", "killed", "deleted", "pending_delete")


class NovaApi:
    """Servers as the administrator of the cloud sees them."""

    def __init__(self, cloud: Any) -> None:
        self._cloud = cloud
        self._flavors: tuple[float, Sequence[Flavor]] = (
            0.0,
            (),
        )  # (read at, monotonic seconds; flavors)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="nova-api")

    def servers(self, server_ids: Iterable[str]) -> Mapping[str, ServerView]:
        """Return those of the servers that exist."""
        found = self._pool.map(self._server, server_ids)
        return {view.server_id: view for view in found if view is not None}

    def _server(self, server_id: str) -> ServerView | None:
        server = self._raw(server_id)
        with translated_errors(NOVA):
            return view_of(server) if server else None

    def _raw(self, server_id: str) -> Any:
        try:
            with translated_errors(NOVA):
                return self._cloud.compute.get_server(server_id)
        except NotFound:
            return None

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers that wait for the conductor's first step.

        A server that Nova reschedules to another host has the same task state as one that waits for
        its first build, but it already has entries in its list of instance actions.
        """
        found = self._pool.map(self._raw, server_ids)
        waiting = [one for one in found if one and one.task_state in _FIRST_STEPS]
        first = [one.id for one in waiting if one.task_state == _FIRST_STEPS[0]]
        has_actions = self._pool.map(self._has_actions, first)
        rescheduled = {one for one, has in zip(first, has_actions, strict=True) if has}
        return {one.id for one in waiting} - rescheduled

    def _has_actions(self, server_id: str) -> bool:
        try:
            with translated_errors(NOVA):
                return any(self._cloud.compute.server_actions(server_id))
        except NotFound:
            return True

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Yield a project's servers, or all; with `changed_since` also the deleted ones."""
        query: dict[str, object] = {"limit": _PAGE}
        if project_id is not None:
            query["project_id"] = project_id
        if changed_since is not None:
            query["changes_since"] = changed_since.isoformat()
        with translated_errors(NOVA):
            for server in self._cloud.compute.servers(all_projects=True, **query):
                yield view_of(server)

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Yield the ids of the servers that are not built yet, page by page; those that wait in
        Synergy are among them."""
        query: dict[str, object] = {"status": "BUILD", "limit": _PAGE}
        if project_id is not None:
            query["project_id"] = project_id
        with translated_errors(NOVA):
            listed = self._cloud.compute.servers(details=False, all_projects=True, **query)
            while page := [server.id for server in islice(listed, _PAGE)]:
                yield page

    def flavors(self) -> Sequence[Flavor]:
        """Return the public flavors, at most FLAVORS_KEPT_S old."""
        read_s, known = self._flavors
        if known and time.monotonic() - read_s < FLAVORS_KEPT_S:
            return known
        with translated_errors(NOVA):
            listed = list(self._cloud.compute.flavors(is_public=True, get_extra_specs=True))
        found = tuple(_flavor_of(flavor) for flavor in listed if not flavor.is_disabled)
        self._flavors = time.monotonic(), found
        return found

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones, including those without a host that is up."""
        with translated_errors(NOVA):
            return frozenset(one.name for one in self._cloud.compute.availability_zones())

    def delete_server(self, server_id: str) -> None:
        """Start the deletion; a server that is gone is no error."""
        with translated_errors(NOVA):
            self._cloud.compute.delete_server(server_id, ignore_missing=True)

    def set_error(self, server_id: str) -> None:
        """Set the server's status to ERROR; nothing else happens to it."""
        with translated_errors(NOVA):
            self._cloud.compute.reset_server_state(server_id, "error")

    def shelve_server(self, server_id: str) -> None:
        """Shelve; Nova offloads by itself."""
        with translated_errors(NOVA):
            self._cloud.compute.shelve_server(server_id)

    def stop_server(self, server_id: str) -> None:
        """Power off."""
        with translated_errors(NOVA):
            self._cloud.compute.stop_server(server_id)

    def set_metadata(self, server_id: str, changes: Mapping[str, str | None]) -> None:
        """Set keys of the server's metadata; None deletes a key."""
        values = {key: value for key, value in changes.items() if value is not None}
        with translated_errors(NOVA):
            if values:
                self._cloud.compute.set_server_metadata(server_id, **values)
        for key in changes.keys() - values.keys():
            try:
                with translated_errors(NOVA):
                    self._cloud.compute.delete_server_metadata(server_id, [key])
            except NotFound:
                continue

    def confirm_resize(self, server_id: str) -> None:
        """Confirm a resize that the user has neither confirmed nor reverted."""
        with translated_errors(NOVA):
            self._cloud.compute.confirm_server_resize(server_id)

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start a snapshot of the server, and return the image's id."""
        with translated_errors(NOVA):
            return str(self._cloud.compute.create_server_image(server_id, image_name).id)

    def image_is_ready(self, image_id: str) -> bool:
        """Return whether the image is complete. Raises NotFound when it failed."""
        with translated_errors(GLANCE):
            status = self._cloud.image.get_image(image_id).status
        if status in _FAILED_IMAGE:
            raise NotFound(f"image {image_id!r} is {status}")
        return bool(status == "active")


def _flavor_of(flavor: Any) -> Flavor:
    extra_specs = {str(k): str(v) for k, v in (flavor.extra_specs or {}).items()}
    demand = demand_of(_shape(flavor, flavor.name), extra_specs, boots_from_volume=False)
    return Flavor(name=flavor.name, demand=demand, extra_specs=extra_specs)


def _shape(flavor: Any, name: str) -> dict[str, object]:
    return {
        "name": name,
        "vcpus": flavor.vcpus,
        "memory_mb": flavor.ram,
        "root_gb": flavor.disk,
        "ephemeral_gb": flavor.ephemeral,
        "swap": flavor.swap,
    }


def view_of(server: Any) -> ServerView:
    """Convert a server of the SDK."""
    flavor = server.flavor
    shape = _shape(flavor, flavor.original_name)
    image = server.image.id if server.image else None
    fault, status = (server.fault or {}).get("message", ""), status_of(server)
    return ServerView(
        server_id=server.id,
        project_id=server.project_id,
        user_id=server.user_id,
        name=server.name or "",
        flavor=flavor.original_name or "",
        demand=demand_of(shape, flavor.extra_specs or {}, boots_from_volume=not image),
        status=status,
        in_task=bool(server.task_state) or server.status == "VERIFY_RESIZE",
        locked=bool(server.is_locked),
        metadata={str(k): str(v) for k, v in (server.metadata or {}).items()},
        created_at=_instant(server.created_at),
        launched_at=_instant(server.launched_at) if server.launched_at else None,
        host=server.compute_host or None,
        fault=fault,
        failure=failure_of(fault) if status is ServerStatus.ERROR else None,
    )


def status_of(server: Any) -> ServerStatus:
    """Return a server's status; BUILD is split by whether Nova has chosen a host yet."""
    if server.status == "BUILD":
        unscheduled = server.task_state == "scheduling" and not server.compute_host
        return ServerStatus.SCHEDULING if unscheduled else ServerStatus.BUILDING
    return _STATUS.get(server.status, ServerStatus.ACTIVE)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
