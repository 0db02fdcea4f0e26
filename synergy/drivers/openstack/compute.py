"""The port `Compute` for a real cloud: Nova's API, Placement and the quota driver behind one
object.

Must only delegate.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from synergy.core.model import Constraints, Resources
from synergy.drivers.openstack.nova_api import NovaApi
from synergy.drivers.openstack.placement import Placement
from synergy.drivers.openstack.quotas import CachedQuotas, QuotaDriver
from synergy.ports import Flavor, Host, Limits, ServerView


class OpenStackCompute:
    """See `ports.Compute`."""

    def __init__(
        self, nova: NovaApi, placement: Placement, quotas: QuotaDriver, cached_quotas: CachedQuotas
    ) -> None:
        self._nova, self._placement, self._quotas = nova, placement, quotas
        self._cached_quotas = cached_quotas

    def servers(self, server_ids: Iterable[str]) -> Mapping[str, ServerView]:
        """Return those of the servers that exist."""
        return self._nova.servers(server_ids)

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers that no conductor has begun to work on."""
        return self._nova.still_waiting(server_ids)

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Yield a project's servers, or all; with `changed_since` also the deleted ones."""
        return self._nova.servers_of(project_id, changed_since=changed_since)

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Yield the ids of the servers that are not built yet, page by page."""
        return self._nova.unbuilt(project_id)

    def delete_server(self, server_id: str) -> None:
        """Start the deletion; a server that is gone is no error."""
        self._nova.delete_server(server_id)

    def set_error(self, server_id: str) -> None:
        """Show the server as failed."""
        self._nova.set_error(server_id)

    def shelve_server(self, server_id: str) -> None:
        """Shelve and offload."""
        self._nova.shelve_server(server_id)

    def stop_server(self, server_id: str) -> None:
        """Power off."""
        self._nova.stop_server(server_id)

    def set_metadata(self, server_id: str, changes: Mapping[str, str | None]) -> None:
        """Set keys of the server's metadata; None deletes a key."""
        self._nova.set_metadata(server_id, changes)

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor."""
        self._nova.confirm_resize(server_id)

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start a snapshot of the server, and return the image's id."""
        return self._nova.snapshot_server(server_id, image_name)

    def image_is_ready(self, image_id: str) -> bool:
        """Return whether the image is complete."""
        return self._nova.image_is_ready(image_id)

    def flavors(self) -> Sequence[Flavor]:
        """Return the public flavors."""
        return self._nova.flavors()

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones."""
        return self._nova.zones()

    def hosts(self) -> Sequence[Host]:
        """Return every compute host."""
        return self._placement.hosts()

    def room_for(self, demand: Resources, constraints: Constraints = ()) -> Mapping[str, Resources]:
        """Return the hosts with room for a demand now, and what is free on each."""
        return self._placement.room_for(demand, constraints)

    def placed(self, server_ids: Sequence[str]) -> set[str]:
        """Return those of the servers that hold an allocation."""
        return self._placement.placed(server_ids)

    def used_by(self, project_id: str) -> Resources:
        """Return what a project's servers use."""
        return self._placement.used_by(project_id)

    def quota(self, project_id: str, *, fresh: bool = True) -> Limits:
        """Return the effective limits by resource class."""
        return self._cached_quotas.quota(project_id, fresh=fresh)

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have."""
        return self._quotas.server_limit(project_id)

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that Nova limits."""
        return self._quotas.limited_classes()

    def quota_record(self, project_id: str) -> Limits:
        """Return the limits set explicitly for the project."""
        return self._quotas.quota_record(project_id)

    def lift_quota(self, project_id: str) -> None:
        """Set every class to unlimited."""
        self._quotas.lift_quota(project_id)
        self._cached_quotas.forget(project_id)

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Restore a record."""
        self._quotas.restore_quota(project_id, record)
        self._cached_quotas.forget(project_id)
