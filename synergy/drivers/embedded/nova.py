"""The embedded cloud's Nova: servers that take time to boot, on hosts that fill up.

It does what was observed on Nova: a server that still waits in Synergy counts in no quota, its
deletion sends no notification, and a second build of an active server orphans it. `faults` injects
failures. Must not know managers: it sees only what crosses the ports.
"""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from synergy.core.errors import (
    Conflict,
    HandOverFailed,
    InvalidInput,
    NotFound,
    UpstreamUnavailable,
)
from synergy.core.model import Constraints, Resources, total
from synergy.drivers import nova_message
from synergy.drivers.embedded.changes import EmbeddedChanges
from synergy.drivers.embedded.conductor import EmbeddedConductor
from synergy.drivers.embedded.faults import Faults
from synergy.drivers.embedded.fleet import Fleet
from synergy.drivers.embedded.images import Images
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.placement import EmbeddedPlacement
from synergy.drivers.embedded.quotas import EmbeddedQuotas
from synergy.drivers.embedded.resizes import Resizes
from synergy.drivers.embedded.spec import CloudSpec, ProjectSpec
from synergy.drivers.embedded.timers import Timers
from synergy.ports import (
    ChangeKind,
    Clock,
    Credentials,
    Delivery,
    Flavor,
    Handed,
    Host,
    Limits,
    Notice,
    NoticeKind,
    Parcel,
    Receipt,
    ServerStatus,
    ServerView,
    Wake,
)

_PAGE: Final = 1000
_SETTABLE: Final = (ServerStatus.ACTIVE, ServerStatus.STOPPED)  # Nova refuses the others


class EmbeddedNova:
    """Implements the ports Intake, Conductor, Notices, Compute, CloudUser and Outages."""

    def __init__(
        self,
        spec: CloudSpec,
        clock: Clock,
        identity: EmbeddedIdentity,
        rng: random.Random,
        pause: Callable[[float], object] = lambda _: None,
    ) -> None:
        self._spec, self._clock, self._identity, self._rng = spec, clock, identity, rng
        self._pause = pause
        self._lock = threading.RLock()
        self._flavors = {flavor.name: flavor for flavor in spec.flavors}
        self._placement = EmbeddedPlacement(spec.hosts)
        self._quotas = EmbeddedQuotas(spec.projects)
        self._managed: frozenset[str] = frozenset()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._unacked: dict[str, bytes] = {}
        self._timers = Timers(clock)
        self._images = Images(self._timers, rng, spec.boot_s)
        self._created = 0
        self._request_wakes: list[Wake] = []
        self.faults = Faults()
        self.fleet = Fleet(clock, self.faults)
        self._resizes = Resizes(self._lock, self.fleet, self._placement, self._flavors)
        self.changes = EmbeddedChanges(self._resizes.perform, self._resizes.reject, self.faults)
        self._conductor = EmbeddedConductor(
            spec, clock, identity, self.fleet, self._placement, self._timers, self._resizes
        )
        self.orphans = self._conductor.orphans

    # --- time -------------------------------------------------------------------------------------

    def next_due_at(self) -> datetime | None:
        """Return when the next boot or image completes."""
        with self._lock:
            return self._timers.next_at()

    def catch_up(self) -> None:
        """Run everything that is due by now."""
        with self._lock:
            self._timers.catch_up()

    # --- intake -----------------------------------------------------------------------------------

    def manage(self, project_ids: frozenset[str]) -> None:
        """Take requests of these projects from now on."""
        with self._lock:
            self._managed = project_ids

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a build request arrives."""
        self._request_wakes.append(wake)

    def fetch(self, *, limit: int) -> Sequence[Delivery]:
        """Return up to `limit` messages; they stay unacknowledged."""
        with self._lock:
            taken = [self._inbox.popleft() for _ in range(min(limit, len(self._inbox)))]
            self._unacked.update(taken)
        return [nova_message.read(message_id, body) for message_id, body in taken]

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge these to the broker."""
        with self._lock:
            for delivery in deliveries:
                self._unacked.pop(delivery.message_id, None)

    def redeliver(self) -> None:
        """Requeue the unacknowledged messages, as a broker does when its consumer dies."""
        self.changes.redeliver()
        with self._lock:
            self._inbox.extendleft(reversed(self._unacked.items()))
            self._unacked.clear()

    def publish(self, message_id: str, body: bytes) -> None:
        """Put any message on the edge, valid or not."""
        with self._lock:
            self._inbox.append((message_id, body))
        for wake in self._request_wakes:
            wake()

    # --- conductor --------------------------------------------------------------------------------

    def credentials(self, body: bytes) -> Credentials:
        """Return the user's token and roles in a body."""
        return nova_message.credentials_of(body)

    def build(self, parcels: Sequence[Parcel]) -> Sequence[Receipt]:
        """Hand build messages over, and return a receipt for each."""
        return [self._hand_over(parcel) for parcel in parcels]

    def _hand_over(self, parcel: Parcel) -> Receipt:
        with self._lock:
            if self.faults.triggers("hand_over"):
                return Receipt(Handed.NOT_SENT, "the broker did not take the message")
            try:
                order = nova_message.order_of(parcel.body)
            except InvalidInput as error:
                return Receipt(Handed.UNUSABLE, str(error))
            for server_id in order.server_ids:
                self._conductor.conduct(server_id, order, parcel.token or order.token)
            if self.faults.triggers("unconfirmed"):
                return Receipt(Handed.UNKNOWN, "the broker did not confirm the message")
            return Receipt(Handed.SENT)

    def backlog(self) -> int:
        """Return 0: this conductor takes each message at once."""
        return 0

    def refuse(self, body: bytes, reason: str) -> None:
        """End the server in ERROR with a readable fault."""
        (receipt,) = self.build([Parcel(nova_message.refused(body, reason))])
        if receipt.handed is not Handed.SENT:
            raise HandOverFailed(receipt.why)

    # --- Nova's API and Placement -----------------------------------------------------------------

    def _answer(self) -> None:
        self.catch_up()
        if self.faults.api_delay_s:
            self._pause(self.faults.api_delay_s)
        if self.faults.api_down:
            raise UpstreamUnavailable("Nova's API does not answer")

    def servers(self, server_ids: Iterable[str]) -> Mapping[str, ServerView]:
        """Return those of the servers that exist."""
        self._answer()
        with self._lock:
            return {one: self.fleet.present[one] for one in server_ids if one in self.fleet.present}

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers that no conductor has begun to work on."""
        found = self.servers(server_ids)
        return {key for key, one in found.items() if one.status is ServerStatus.SCHEDULING}

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Yield a project's servers, or all; with `changed_since` only those that changed since,
        including deleted ones."""
        self._answer()
        with self._lock:
            found = self.fleet.of(project_id, changed_since=changed_since)
        yield from found

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Yield the ids of the servers that are not built yet, page by page."""
        with self._lock:
            ids = self.fleet.unbuilt(project_id)
        for start in range(0, max(1, len(ids)), _PAGE):
            self._answer()
            yield ids[start : start + _PAGE]

    def delete_server(self, server_id: str) -> None:
        """Delete a server; one that is gone is no error."""
        self._answer()
        with self._lock:
            server = self.fleet.present.get(server_id)
            self._placement.release(server_id)
            if server is None:
                return
            self._conductor.drop(server)
            if server.status is not ServerStatus.SCHEDULING:
                self.fleet.notify(
                    NoticeKind.DELETED, server_id
                )  # Nova notifies no deletion of a server that no conductor got

    def set_error(self, server_id: str) -> None:
        """Set the server's status to ERROR; nothing else happens to it. Raises NotFound."""
        self._answer()
        with self._lock:
            self.fleet.put(replace(self.fleet.get(server_id), status=ServerStatus.ERROR))

    def shelve_server(self, server_id: str) -> None:
        """Shelve and offload."""
        self._answer()
        with self._lock:
            server = self.fleet.get(server_id)
            self._placement.release(server_id)
            self.fleet.put(replace(server, status=ServerStatus.SHELVED, host=None))
            self.fleet.notify(NoticeKind.SHELVED, server_id)

    def stop_server(self, server_id: str) -> None:
        """Power off; the host keeps the server's resources."""
        self._answer()
        with self._lock:
            self.fleet.put(replace(self.fleet.get(server_id), status=ServerStatus.STOPPED))

    def set_metadata(self, server_id: str, changes: Mapping[str, str | None]) -> None:
        """Set keys of the server's metadata; None deletes a key. Raises NotFound, Conflict."""
        self._answer()
        with self._lock:
            server = self.fleet.get(server_id)
            if server.status not in _SETTABLE or server.in_task:
                raise Conflict(f"the metadata of server {server_id!r}, {server.status}, is closed")
            merged = {**server.metadata, **changes}
            metadata = {key: value for key, value in merged.items() if value is not None}
            self.fleet.put(replace(server, metadata=metadata))

    def lock_server(self, server_id: str) -> None:
        """Lock a server. Raises NotFound."""
        with self._lock:
            self.fleet.put(replace(self.fleet.get(server_id), locked=True))

    def unlock_server(self, server_id: str) -> None:
        """Unlock a server. Raises NotFound."""
        with self._lock:
            self.fleet.put(replace(self.fleet.get(server_id), locked=False))

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start a snapshot of the server, and return the image's id."""
        self._answer()
        with self._lock:
            self.fleet.get(server_id)
            return self._images.start()

    def image_is_ready(self, image_id: str) -> bool:
        """Return whether the image is complete. Raises NotFound."""
        self._answer()
        return self._images.is_ready(image_id)

    def flavors(self) -> Sequence[Flavor]:
        """Return the flavors of the description."""
        self._answer()
        return [
            Flavor(name=name, demand=one.demand(), extra_specs=one.extra_specs)
            for name, one in self._flavors.items()
        ]

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones."""
        self._answer()
        with self._lock:
            return self._placement.zones()

    def set_zone(self, host: str, zone: str | None) -> None:
        """Move a host to another zone, as an administrator of Nova would."""
        with self._lock:
            self._placement.set_zone(host, zone)

    def hosts(self) -> Sequence[Host]:
        """Return every compute host, up or not."""
        self._answer()
        with self._lock:
            return self._placement.hosts()

    def used_on(self, name: str) -> Resources:
        """Return what the servers of a host use."""
        with self._lock:
            return self._placement.used_on(name)

    def set_down(self, *, nova: bool, keystone: bool) -> None:
        """Make Nova's API or Keystone unavailable, or available again."""
        self.faults.api_down, self._identity.down = nova, keystone

    def set_host_up(self, name: str, up: bool) -> None:
        """Set whether a host is up."""
        with self._lock:
            self._placement.set_up(name, up)

    def room_for(self, demand: Resources, constraints: Constraints = ()) -> Mapping[str, Resources]:
        """Return the hosts with room for a demand now, and what is free on each."""
        self._answer()
        with self._lock:
            return self._placement.room_for(demand, constraints)

    def placed(self, server_ids: Sequence[str]) -> set[str]:
        """Return those of the servers that hold an allocation."""
        self._answer()
        with self._lock:
            return self._placement.placed(server_ids)

    def quota(self, project_id: str, *, fresh: bool = True) -> Limits:
        """Return Nova's limits of a project by resource class; None is unlimited."""
        self._answer()
        return self._quotas.of(project_id)

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have."""
        self._answer()
        return self._quotas.server_limit(project_id)

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that Nova limits."""
        self._answer()
        return self._quotas.classes()

    def quota_record(self, project_id: str) -> Limits:
        """Return the limits set explicitly for the project."""
        self._answer()
        return self._quotas.record(project_id)

    def lift_quota(self, project_id: str) -> None:
        """Set every class to unlimited."""
        self._answer()
        self._quotas.lift(project_id)

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Restore a record."""
        self._answer()
        self._quotas.restore(project_id, record)

    def add_project(self, project: ProjectSpec) -> None:
        """Create a project in Keystone, with its limits here, as an administrator would."""
        self._quotas.add(project)
        self._identity.add_project(project)

    def set_quota(self, project_id: str, limits: Limits) -> None:
        """Set limits of a project, as an administrator of Nova would."""
        self._answer()
        self._quotas.set(project_id, limits)

    def used_by(self, project_id: str) -> Resources:
        """Return what a project's servers use."""
        self._answer()
        with self._lock:
            return total(
                demand
                for server_id, demand in self._placement.held()
                if self.fleet.present[server_id].project_id == project_id
            )

    # --- the user's view: nova-api ----------------------------------------------------------------

    def create_server(
        self,
        *,
        project: str,
        user: str,
        flavor: str,
        name: str,
        metadata: Mapping[str, str],
        count: int,
        availability_zone: str | None = None,
        server_group: str | None = None,
    ) -> list[str]:
        """Create servers as `openstack server create` does, and return their ids."""
        if flavor not in self._flavors:
            known = ", ".join(sorted(self._flavors))
            raise NotFound(f"flavor {flavor!r} does not exist; there are: {known}")
        view = self._identity.find_project(project)
        context = self._identity.request_context(user, view)
        spec = self._flavors[flavor]
        demand = spec.demand()
        with self._lock:
            servers = self.fleet.count(view.project_id)
        used = self.used_by(view.project_id)
        self._quotas.check(view.project_id, used, demand, servers=servers, count=count)
        ids = [self._new_id() for _ in range(count)]
        names = [name if count == 1 else f"{name}-{number}" for number in range(1, count + 1)]
        now = self._clock.now()
        body = nova_message.compose(
            context=context,
            servers=list(zip(ids, names, strict=True)),
            flavor=spec.as_dict(),
            metadata=metadata,
            created_at=now,
            unique_id=f"{self._rng.getrandbits(128):032x}",
            availability_zone=availability_zone,
            server_group=server_group,
        )
        with self._lock:
            for server_id, server_name in zip(ids, names, strict=True):
                waiting = ServerView(
                    server_id=server_id,
                    project_id=view.project_id,
                    user_id=context["user_id"],
                    name=server_name,
                    flavor=flavor,
                    demand=demand,
                    status=ServerStatus.SCHEDULING,
                    created_at=now,
                    metadata=dict(metadata),
                )
                self.fleet.put(waiting)
        if view.project_id in self._managed:
            self.publish(f"m-{ids[0]}", body)
        else:
            self.build([Parcel(body)])
        return ids

    def _new_id(self) -> str:
        """Return an id that sorts in the order of creation, so that ties in a queue break that
        way."""
        self._created += 1
        number = (self._created << 80) | self._rng.getrandbits(80)
        return str(UUID(int=number & (2**128 - 1), version=4))

    def delete_server_as_user(self, server_id: str) -> None:
        """Delete a server, waiting or running. Raises NotFound."""
        self.fleet.get(server_id)
        self.delete_server(server_id)

    def show_server(self, server_id: str) -> ServerView:
        """Return a server. Raises NotFound."""
        self.catch_up()
        return self.fleet.get(server_id)

    # --- resize and unshelve ----------------------------------------------------------------------

    def resize_server(self, server_id: str, flavor: str) -> None:
        """Resize a server. Raises NotFound, or Conflict, as Nova does, when the server is not built
        yet or has another task."""
        self._request_change(ChangeKind.RESIZE, server_id, flavor)

    def unshelve_server(self, server_id: str) -> None:
        """Unshelve a server. Raises NotFound."""
        self._request_change(ChangeKind.UNSHELVE, server_id, None)

    def _request_change(self, kind: ChangeKind, server_id: str, flavor: str | None) -> None:
        message_id = f"c-{self._rng.getrandbits(64):016x}"
        change = self._resizes.request(kind, server_id, flavor, message_id)
        if change.project_id in self._managed:
            self.changes.arrive(change)
        else:
            self._resizes.perform(change)

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor. Raises NotFound, or Conflict without a resize to confirm."""
        self._resizes.confirm(server_id)

    def revert_resize(self, server_id: str) -> None:
        """Go back to the old flavor. Raises NotFound, or Conflict without a resize to revert."""
        self._resizes.revert(server_id)

    def last_failure(self, server_id: str) -> str:
        """Return why the server's last resize or unshelve failed, "" if none did."""
        return self._resizes.last_failure(server_id)

    # --- notifications ----------------------------------------------------------------------------

    def on_notice(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""
        self.fleet.on_notice(wake)

    def take_notices(self, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications."""
        self.catch_up()
        with self._lock:
            return self.fleet.take_notices(limit)
