"""The embedded cloud's Nova and Placement: servers that boot in time, on hosts that fill up.

What Nova was seen to do (held servers count in no quota, a deleted held server tells nobody, a
second build of an active server orphans it) happens here too. Failures come on demand through
`faults`. Must not know managers: it sees only what crosses the ports.
"""

import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
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
from synergy.drivers.embedded.faults import Faults
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.placement import EmbeddedPlacement
from synergy.drivers.embedded.quotas import EmbeddedQuotas
from synergy.drivers.embedded.spec import CloudSpec
from synergy.drivers.embedded.timers import Timers
from synergy.ports import (
    Change,
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
_UNBUILT: Final = (ServerStatus.SCHEDULING, ServerStatus.BUILDING)
_ABORTED: Final = "Build of instance aborted."
_MOST_DELETED: Final = 10_000  # that are remembered; Nova's own are archived some day, too
_RESIZABLE: Final = frozenset({ServerStatus.ACTIVE, ServerStatus.STOPPED})
_BREAKS: Final = ("build_error", "reschedule")  # the faults that break a build on its host


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
        self._servers: dict[str, ServerView] = {}
        self._deleted: dict[str, ServerView] = {}
        self._changed_at: dict[str, datetime] = {}
        self._managed: frozenset[str] = frozenset()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._unacked: dict[str, bytes] = {}
        self._notices: deque[Notice] = deque()
        self._timers = Timers(clock)
        self._images: dict[str, bool] = {}
        self._created = 0
        self._request_wakes: list[Wake] = []
        self._notice_wakes: list[Wake] = []
        self._before_resize: dict[str, ServerView] = {}
        self._failures: dict[str, str] = {}
        self.faults = Faults()
        self.changes = EmbeddedChanges(self._perform, self._reject, self.faults)
        self.orphans: list[str] = []

    # --- time -------------------------------------------------------------------------------------

    def next_due_at(self) -> datetime | None:
        """Return when the next boot or image completes."""
        with self._lock:
            return self._timers.next_at()

    def catch_up(self) -> None:
        """Let everything happen that is due by now."""
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
        """Let the broker forget these."""
        with self._lock:
            for delivery in deliveries:
                self._unacked.pop(delivery.message_id, None)

    def redeliver(self) -> None:
        """Put what was never acknowledged back, as a broker does when its consumer dies."""
        self.changes.redeliver()
        with self._lock:
            self._inbox.extendleft(reversed(self._unacked.items()))
            self._unacked.clear()

    def publish(self, message_id: str, body: bytes) -> None:
        """Put any message on the edge, as a faulty client might."""
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
            if self.faults.strikes("hand_over"):
                return Receipt(Handed.NOT_SENT, "the broker did not take the message")
            try:
                order = nova_message.order_of(parcel.body)
            except InvalidInput as error:
                return Receipt(Handed.UNUSABLE, str(error))
            for server_id in order.server_ids:
                self._conduct(server_id, order, parcel.token or order.token)
            if self.faults.strikes("unconfirmed"):
                return Receipt(Handed.UNKNOWN, "the broker did not confirm the message")
            return Receipt(Handed.SENT)

    def backlog(self) -> int:
        """Return how many messages wait for the conductor: it takes each at once."""
        return 0

    def refuse(self, body: bytes, reason: str) -> None:
        """End the server in ERROR with a readable fault."""
        (receipt,) = self.build([Parcel(nova_message.refused(body, reason))])
        if receipt.handed is not Handed.SENT:
            raise HandOverFailed(receipt.why)

    def _conduct(self, server_id: str, order: nova_message.Order, token: str) -> None:
        server, forced = self._servers.get(server_id), order.forced_host
        if server is None:
            return  # deleted while it waited: nothing to build
        if server.status is not ServerStatus.SCHEDULING:
            self._orphan(server)
            return
        if forced is not None and forced not in self._placement:
            self._fail(
                server, f"No valid host was found. No such host - host: {forced} node: None "
            )
        elif self.faults.strikes("no_valid_host"):
            self._fail(server, "No valid host was found. ")
        elif not self._authorized(token):
            self._fail(server, "Not authorized for image.")
        else:
            self._place(server, order.constraints)

    def _orphan(self, server: ServerView) -> None:
        """A second build of a known server: Nova drops its mapping and allocation (observed)."""
        if server.status is ServerStatus.ERROR:
            return
        self.orphans.append(server.server_id)
        self._placement.release(server.server_id)
        self._drop(server)

    def _authorized(self, token: str) -> bool:
        return self._spec.service_tokens or self._identity.check_token(token) is not None

    def _place(self, server: ServerView, constraints: Constraints) -> None:
        host = self._placement.best_host(server.demand, constraints)
        if host is None:
            self._fail(server, "No valid host was found. ")
            return
        self._placement.allocate(server.server_id, host, server.demand)
        self._put(replace(server, status=ServerStatus.BUILDING, host=host))
        breaks = next((name for name in _BREAKS if self.faults.strikes(name)), "")
        self._timers.after(
            self._spec.boot_s, lambda: self._built(server.server_id, breaks, constraints)
        )

    def _built(self, server_id: str, breaks: str, constraints: Constraints) -> None:
        server = self._servers.get(server_id)
        if server is None or server.status is not ServerStatus.BUILDING:
            return
        if breaks:
            gone = self._broken(server)
            if breaks == "reschedule":
                self._place(gone, constraints)
            else:
                self._put_in_error(gone, _ABORTED)
            return
        active = replace(server, status=ServerStatus.ACTIVE, launched_at=self._clock.now())
        self._put(active)
        self._notify(NoticeKind.BOOTED, server_id, host=server.host)

    def _broken(self, server: ServerView) -> ServerView:
        """A build broke on its host: Nova tells so, but not that it gives up or tries elsewhere."""
        self._notify(NoticeKind.ATTEMPT_FAILED, server.server_id, host=server.host, detail=_ABORTED)
        self._placement.release(server.server_id)
        return replace(server, host=None)

    def _fail(self, server: ServerView, fault: str) -> None:
        failed = self._put_in_error(server, fault)
        self._notify(NoticeKind.FAILED, server.server_id, detail=fault, failure=failed.failure)

    def _put_in_error(self, server: ServerView, fault: str) -> ServerView:
        failure = nova_message.failure_of(fault)
        failed = replace(server, status=ServerStatus.ERROR, fault=fault, failure=failure)
        self._put(failed)
        return failed

    def _put(self, server: ServerView) -> None:
        self._servers[server.server_id] = server
        self._changed_at[server.server_id] = self._clock.now()

    def _drop(self, server: ServerView) -> None:
        """Forget a server; Nova tells later that it was there, unless it never left the API."""
        del self._servers[server.server_id]
        self._before_resize.pop(server.server_id, None)
        self._failures.pop(server.server_id, None)
        if server.status is ServerStatus.SCHEDULING:
            del self._changed_at[server.server_id]
            return
        self._deleted[server.server_id] = replace(server, status=ServerStatus.DELETED, host=None)
        self._changed_at[server.server_id] = self._clock.now()
        if len(self._deleted) > _MOST_DELETED:
            oldest = next(iter(self._deleted))
            del self._deleted[oldest], self._changed_at[oldest]

    def _notify(self, kind: NoticeKind, server_id: str, **more: Any) -> None:
        if self.faults.strikes("lost_notice"):
            return
        self._notices.append(Notice(kind=kind, server_id=server_id, at=self._clock.now(), **more))
        for wake in self._notice_wakes:
            wake()

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
            return {one: self._servers[one] for one in server_ids if one in self._servers}

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers for which no conductor has done anything yet."""
        found = self.servers(server_ids)
        return {key for key, one in found.items() if one.status is ServerStatus.SCHEDULING}

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Walk a project's servers, or everybody's; with `changed_since` those that changed,
        deleted ones too."""
        self._answer()
        with self._lock:
            found = [s for s in self._servers.values() if project_id in (None, s.project_id)]
            if changed_since is not None:
                gone = [s for s in self._deleted.values() if project_id in (None, s.project_id)]
                found = [
                    s for s in (*found, *gone) if self._changed_at[s.server_id] >= changed_since
                ]
        yield from found

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Walk, page by page, the ids of the servers that are not built yet."""
        with self._lock:
            ids = [
                server.server_id
                for server in self._servers.values()
                if server.status in _UNBUILT and project_id in (None, server.project_id)
            ]
        for start in range(0, max(1, len(ids)), _PAGE):
            self._answer()
            yield ids[start : start + _PAGE]

    def delete_server(self, server_id: str) -> None:
        """Delete a server; nothing happens when it is gone."""
        self._answer()
        with self._lock:
            server = self._servers.get(server_id)
            self._placement.release(server_id)
            if server is None:
                return
            self._drop(server)
            if server.status is not ServerStatus.SCHEDULING:
                self._notify(NoticeKind.DELETED, server_id)  # a held server tells nobody

    def set_error(self, server_id: str) -> None:
        """Show the server as failed; nothing is done to it. Raises NotFound."""
        self._answer()
        with self._lock:
            self._put(replace(self._server(server_id), status=ServerStatus.ERROR))

    def shelve_server(self, server_id: str) -> None:
        """Shelve and offload."""
        self._answer()
        with self._lock:
            server = self._server(server_id)
            self._placement.release(server_id)
            self._put(replace(server, status=ServerStatus.SHELVED, host=None))
            self._notify(NoticeKind.SHELVED, server_id)

    def stop_server(self, server_id: str) -> None:
        """Power off; the host keeps the server's resources."""
        self._answer()
        with self._lock:
            self._put(replace(self._server(server_id), status=ServerStatus.STOPPED))

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start an image of the server, and return the image's id."""
        self._answer()
        with self._lock:
            self._server(server_id)
            image_id = str(UUID(int=self._rng.getrandbits(128), version=4))
            self._images[image_id] = False
            self._timers.after(self._spec.boot_s, lambda: self._images.update({image_id: True}))
            return image_id

    def image_is_ready(self, image_id: str) -> bool:
        """Tell whether the image is complete. Raises NotFound."""
        self._answer()
        if image_id not in self._images:
            raise NotFound(f"image {image_id!r} does not exist")
        return self._images[image_id]

    def _server(self, server_id: str) -> ServerView:
        if server_id not in self._servers:
            raise NotFound(f"server {server_id!r} does not exist")
        return self._servers[server_id]

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
        """Return what the servers of a host hold."""
        with self._lock:
            return self._placement.used_on(name)

    def set_down(self, *, nova: bool, keystone: bool) -> None:
        """Let Nova's API and Keystone answer nothing, or answer again."""
        self.faults.api_down, self._identity.down = nova, keystone

    def set_host_up(self, name: str, up: bool) -> None:
        """Let a host fail or come back."""
        with self._lock:
            self._placement.set_up(name, up)

    def room_for(self, demand: Resources, constraints: Constraints = ()) -> Mapping[str, Resources]:
        """Return the hosts that can take a demand now, and what is free on each."""
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
        """Return the resource classes that Nova's limits bound."""
        self._answer()
        return self._quotas.classes()

    def quota_record(self, project_id: str) -> Limits:
        """Return what was set for the project itself."""
        self._answer()
        return self._quotas.record(project_id)

    def lift_quota(self, project_id: str) -> None:
        """Make every class unlimited."""
        self._answer()
        self._quotas.lift(project_id)

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Put a record back."""
        self._answer()
        self._quotas.restore(project_id, record)

    def set_quota(self, project_id: str, limits: Limits) -> None:
        """Set limits of a project, as an administrator of Nova would."""
        self._answer()
        self._quotas.set(project_id, limits)

    def used_by(self, project_id: str) -> Resources:
        """Return what a project's servers hold."""
        self._answer()
        with self._lock:
            return total(
                demand
                for server_id, demand in self._placement.held()
                if self._servers[server_id].project_id == project_id
            )

    # --- what a user does -------------------------------------------------------------------------

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
        """Ask for servers as `openstack server create` does, and return their ids."""
        if flavor not in self._flavors:
            known = ", ".join(sorted(self._flavors))
            raise NotFound(f"flavor {flavor!r} does not exist; there are: {known}")
        view = self._identity.find_project(project)
        context = self._identity.request_context(user, view)
        spec = self._flavors[flavor]
        demand = spec.demand()
        with self._lock:
            held = [s for s in self._servers.values() if s.project_id == view.project_id]
        used = self.used_by(view.project_id)
        self._quotas.check(view.project_id, used, demand, servers=len(held), count=count)
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
                )
                self._put(waiting)
        if view.project_id in self._managed:
            self.publish(f"m-{ids[0]}", body)
        else:
            self.build([Parcel(body)])
        return ids

    def _new_id(self) -> str:
        """Ids that sort in the order of creation, so that ties in a queue resolve that way."""
        self._created += 1
        number = (self._created << 80) | self._rng.getrandbits(80)
        return str(UUID(int=number & (2**128 - 1), version=4))

    def delete_server_as_user(self, server_id: str) -> None:
        """Delete a server, waiting or running. Raises NotFound."""
        self._server(server_id)
        self.delete_server(server_id)

    def show_server(self, server_id: str) -> ServerView:
        """Return a server. Raises NotFound."""
        self.catch_up()
        return self._server(server_id)

    # --- resize and unshelve ----------------------------------------------------------------------

    def resize_server(self, server_id: str, flavor: str) -> None:
        """Ask for another flavor. Raises NotFound, and Conflict as Nova does where a server is not
        there yet, or something else is done to it."""
        server = self._server(server_id)
        if server.status not in _RESIZABLE or server.in_task:
            raise Conflict(f"server {server_id!r} cannot be resized while it is {server.status}")
        if flavor not in self._flavors:
            raise NotFound(f"flavor {flavor!r} does not exist")
        self._ask_for(server, ChangeKind.RESIZE, flavor)

    def unshelve_server(self, server_id: str) -> None:
        """Ask for a shelved server. Raises NotFound."""
        server = self._server(server_id)
        self._ask_for(server, ChangeKind.UNSHELVE, server.flavor)

    def _ask_for(self, server: ServerView, kind: ChangeKind, flavor: str) -> None:
        spec = self._flavors[flavor]
        change = Change(
            message_id=f"c-{self._rng.getrandbits(64):016x}",
            kind=kind,
            server_id=server.server_id,
            project_id=server.project_id,
            flavor=flavor,
            demand=nova_message.demand_of(
                spec.as_dict(), spec.extra_specs, boots_from_volume=False
            ),
            body=b"",
        )
        self._put(replace(server, in_task=True))
        if server.project_id in self._managed:
            self.changes.arrive(change)
        else:
            self._perform(change)

    def _perform(self, change: Change) -> None:
        """Find a host; a resized server holds the larger of both until its user decided."""
        with self._lock:
            server = self._servers.get(change.server_id)
            if server is None:
                return  # deleted meanwhile
            self._placement.release(change.server_id)
            needed = change.demand
            if change.kind is ChangeKind.RESIZE:
                names = {*server.demand, *change.demand}
                needed = Resources.of(
                    {n: max(server.demand.get(n, 0), change.demand.get(n, 0)) for n in names}
                )
            host = self._placement.best_host(needed)
            if host is None:
                if server.host is not None:
                    self._placement.allocate(server.server_id, server.host, server.demand)
                self._reject(change, "No valid host was found. ")
                return
            self._placement.allocate(server.server_id, host, needed)
            if change.kind is ChangeKind.UNSHELVE:
                self._put(replace(server, status=ServerStatus.ACTIVE, host=host, in_task=False))
                self._notify(NoticeKind.UNSHELVED, server.server_id, host=host)
                return
            self._before_resize[server.server_id] = server
            self._put(replace(server, flavor=change.flavor, demand=change.demand, host=host))

    def _reject(self, change: Change, reason: str) -> None:
        with self._lock:
            if change.server_id not in self._servers:
                return  # deleted meanwhile
            self._put(replace(self._servers[change.server_id], in_task=False))
            self._failures[change.server_id] = f"Synergy rejected this request: {reason}"

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor. Raises NotFound, or Conflict when no resize waits for that."""
        self._resized(server_id)
        self._end_resize(server_id, self._server(server_id))

    def revert_resize(self, server_id: str) -> None:
        """Go back to the old flavor. Raises NotFound, or Conflict when no resize waits for that."""
        self._end_resize(server_id, self._resized(server_id))

    def _resized(self, server_id: str) -> ServerView:
        """Return what a server was before its resize. Raises NotFound and Conflict."""
        self._server(server_id)
        if server_id not in self._before_resize:
            raise Conflict(f"server {server_id!r} waits for no resize to be confirmed")
        return self._before_resize[server_id]

    def _end_resize(self, server_id: str, final: ServerView) -> None:
        with self._lock:
            del self._before_resize[server_id]
            host = self._placement.host_of(server_id)
            self._placement.release(server_id)
            self._placement.allocate(server_id, host, final.demand)
            self._put(replace(final, host=host, in_task=False))
            self._notify(NoticeKind.RESIZED, server_id, host=host)

    def last_failure(self, server_id: str) -> str:
        """Return why the last thing that was asked of a server failed."""
        return self._failures.get(server_id, "")

    # --- notifications ----------------------------------------------------------------------------

    def on_notice(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""
        self._notice_wakes.append(wake)

    def take_notices(self, limit: int) -> list[Notice]:
        """Return up to `limit` notifications."""
        self.catch_up()
        with self._lock:
            return [self._notices.popleft() for _ in range(min(limit, len(self._notices)))]
