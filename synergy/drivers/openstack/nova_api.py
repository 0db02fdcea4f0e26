"""Nova's API: servers, and what is done to them.

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
from synergy.drivers.openstack.session import asking
from synergy.ports import Flavor, ServerStatus, ServerView

NOVA: Final = "Nova"
GLANCE: Final = "Glance"
FLAVORS_KEPT_S: Final = 300.0
_PAGE: Final = 1000
_AT_ONCE: Final = 5  # questions to Nova at the same time; a session has 10 connections in all
_STATUS: Final = {
    "ERROR": ServerStatus.ERROR,
    "DELETED": ServerStatus.DELETED,
    "SOFT_DELETED": ServerStatus.STOPPED,  # may be restored, and holds its host until then
    "SHUTOFF": ServerStatus.STOPPED,
    "SUSPENDED": ServerStatus.STOPPED,
    "PAUSED": ServerStatus.STOPPED,
    "SHELVED_OFFLOADED": ServerStatus.SHELVED,
}
_FIRST_STEPS: Final = ("scheduling", "resize_prep", "unshelving")
_FAILED_IMAGE: Final = ("error", "killed", "deleted", "pending_delete")


class NovaApi:
    """Servers as an administrator of the cloud sees them."""

    def __init__(self, cloud: Any) -> None:
        self._cloud = cloud
        self._flavors: tuple[float, Sequence[Flavor]] = (0.0, ())  # when read, monotonic seconds
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="nova-api")

    def servers(self, server_ids: Iterable[str]) -> Mapping[str, ServerView]:
        """Return those of the servers that exist."""
        found = self._pool.map(self._server, server_ids)
        return {view.server_id: view for view in found if view is not None}

    def _server(self, server_id: str) -> ServerView | None:
        server = self._raw(server_id)
        with asking(NOVA):
            return view_of(server) if server else None

    def _raw(self, server_id: str) -> Any:
        try:
            with asking(NOVA):
                return self._cloud.compute.get_server(server_id)
        except NotFound:
            return None

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers that wait for the conductor's first step.

        A server that is built again elsewhere shows itself like one that waits for its first build,
        but the record of what was done to it has begun.
        """
        found = self._pool.map(self._raw, server_ids)
        waiting = [one for one in found if one and one.task_state in _FIRST_STEPS]
        first = [one.id for one in waiting if one.task_state == _FIRST_STEPS[0]]
        begun = {
            one for one, is_ in zip(first, self._pool.map(self._begun, first), strict=True) if is_
        }
        return {one.id for one in waiting} - begun

    def _begun(self, server_id: str) -> bool:
        try:
            with asking(NOVA):
                return any(self._cloud.compute.server_actions(server_id))
        except NotFound:
            return True

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Walk a project's servers, or everybody's; with `changed_since` also those deleted."""
        query: dict[str, object] = {"limit": _PAGE}
        if project_id is not None:
            query["project_id"] = project_id
        if changed_since is not None:
            query["changes_since"] = changed_since.isoformat()
        with asking(NOVA):
            for server in self._cloud.compute.servers(all_projects=True, **query):
                yield view_of(server)

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Walk, page by page, the ids of the servers that are not built yet, held ones included."""
        query: dict[str, object] = {"status": "BUILD", "limit": _PAGE}
        if project_id is not None:
            query["project_id"] = project_id
        with asking(NOVA):
            listed = self._cloud.compute.servers(details=False, all_projects=True, **query)
            while page := [server.id for server in islice(listed, _PAGE)]:
                yield page

    def flavors(self) -> Sequence[Flavor]:
        """Return the public flavors, at most FLAVORS_KEPT_S old."""
        read_s, known = self._flavors
        if known and time.monotonic() - read_s < FLAVORS_KEPT_S:
            return known
        with asking(NOVA):
            listed = list(self._cloud.compute.flavors(is_public=True, get_extra_specs=True))
        found = tuple(_flavor_of(flavor) for flavor in listed if not flavor.is_disabled)
        self._flavors = time.monotonic(), found
        return found

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones, those without a living host included."""
        with asking(NOVA):
            return frozenset(one.name for one in self._cloud.compute.availability_zones())

    def delete_server(self, server_id: str) -> None:
        """Start the deletion; nothing happens when it is gone."""
        with asking(NOVA):
            self._cloud.compute.delete_server(server_id, ignore_missing=True)

    def set_error(self, server_id: str) -> None:
        """Show the server as failed; nothing is done to it."""
        with asking(NOVA):
            self._cloud.compute.reset_server_state(server_id, "error")

    def shelve_server(self, server_id: str) -> None:
        """Shelve; Nova offloads by itself."""
        with asking(NOVA):
            self._cloud.compute.shelve_server(server_id)

    def stop_server(self, server_id: str) -> None:
        """Power off."""
        with asking(NOVA):
            self._cloud.compute.stop_server(server_id)

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor of a server whose user did not decide."""
        with asking(NOVA):
            self._cloud.compute.confirm_server_resize(server_id)

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start an image of the server, and return the image's id."""
        with asking(NOVA):
            return str(self._cloud.compute.create_server_image(server_id, image_name).id)

    def image_is_ready(self, image_id: str) -> bool:
        """Tell whether the image is complete. Raises NotFound when it failed."""
        with asking(GLANCE):
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
    """Return a server of the SDK as we see it."""
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
        created_at=_instant(server.created_at),
        launched_at=_instant(server.launched_at) if server.launched_at else None,
        host=server.compute_host or None,
        fault=fault,
        failure=failure_of(fault) if status is ServerStatus.ERROR else None,
    )


def status_of(server: Any) -> ServerStatus:
    """Return a server's status; in BUILD it is told whether Nova chose a host already."""
    if server.status == "BUILD":
        held = server.task_state == "scheduling" and not server.compute_host
        return ServerStatus.SCHEDULING if held else ServerStatus.BUILDING
    return _STATUS.get(server.status, ServerStatus.ACTIVE)


def _instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
