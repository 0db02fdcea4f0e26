"""The cloud and the clock, as protocols.

Why: managers are written against these, and the embedded cloud and the real one are held to the
same contract tests. Must not know who implements them. What is said here follows what was observed
on Nova: a build message may carry several servers, must reach the conductor at most once, and is
acknowledged only after its requests are committed.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from synergy.core.model import (
    Association,
    BuildFailure,
    Constraints,
    Resources,
    ServerStatus,
)
from synergy.core.queue import Waiting
from synergy.core.shares import Floats

Wake = Callable[[], None]
Limits = Mapping[str, int | None]  # None is unlimited


class Clock(Protocol):
    """Time: `now` for records, `monotonic_s` for intervals."""

    def now(self) -> datetime:
        """Return the instant as an aware UTC datetime."""

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""


# --- build requests, in and out -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One server that a user asked for, as read from Nova's message.

    body is the message that builds just this server; it holds tokens and passwords.
    """

    server_id: str
    project_id: str
    user_id: str
    user_name: str
    server_name: str
    flavor: str
    demand: Resources
    created_at: datetime
    body: bytes = field(repr=False)
    batch_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    constraints: Constraints = ()
    user_data_quota: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message from the edge: its requests, or why it cannot be read.

    unreadable is "" when the message is what Nova sends. `message_id` is stable over redelivery.
    """

    message_id: str
    body: bytes = field(repr=False)
    requests: tuple[BuildRequest, ...] = ()
    unreadable: str = ""


class Intake(Protocol):
    """Build requests of managed projects, taken from between nova-api and the conductor."""

    def manage(self, project_ids: frozenset[str]) -> None:
        """Take requests of these projects from now on; those of all others pass untouched."""

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a message arrives."""

    def fetch(self, *, limit: int) -> Sequence[Delivery]:
        """Return up to `limit` messages without waiting; they stay unacknowledged."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget these; to be called after the commit."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a stored body can act with."""

    token: str = field(repr=False)
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parcel:
    """One server's message for the conductor; a fresh token replaces the one inside."""

    body: bytes = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Handed(StrEnum):
    """What became of a parcel."""

    SENT = "sent"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"  # the connection broke before the broker confirmed it
    UNUSABLE = "unusable"  # the message cannot be read, and never will


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a parcel, and why it was not sent."""

    handed: Handed
    why: str = ""


class Conductor(Protocol):
    """The way to Nova's conductor."""

    def credentials(self, body: bytes) -> Credentials:
        """Return the user's token and roles in a body."""

    def build(self, parcels: Sequence[Parcel]) -> Sequence[Receipt]:
        """Hand messages over and return a receipt for each, once the broker told."""

    def refuse(self, body: bytes, reason: str) -> None:
        """End the server in ERROR with a fault that its user can read. Safe to repeat.

        Raises UpstreamUnavailable when that is not certain.
        """

    def backlog(self) -> int:
        """Return how many messages wait for the conductor. Raises UpstreamUnavailable."""


class ChangeKind(StrEnum):
    """What is asked of a server that exists and takes more, or other, resources."""

    RESIZE = "resize"
    UNSHELVE = "unshelve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that waits for us between nova-api and the conductor.

    demand  what the server asks for once it is done
    """

    message_id: str
    kind: ChangeKind
    server_id: str
    project_id: str
    flavor: str
    demand: Resources
    body: bytes = field(repr=False)


class Changes(Protocol):
    """Changes of servers of managed projects, which Nova does not check against a quota any more.

    `let_pass` and `refuse` raise UpstreamUnavailable.
    """

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a change arrives."""

    def fetch(self, *, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes without waiting; they stay unacknowledged."""

    def let_pass(self, change: Change) -> None:
        """Hand the change to the conductor as it came."""

    def refuse(self, change: Change, reason: str) -> None:
        """Leave the server as it is, and let its user read why."""

    def acknowledge(self, changes: Sequence[Change]) -> None:
        """Let the broker forget these."""


# --- Nova's and Placement's view ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """A server as Nova's API shows it."""

    server_id: str
    project_id: str
    user_id: str
    name: str
    flavor: str
    demand: Resources
    status: ServerStatus
    created_at: datetime
    launched_at: datetime | None = None
    host: str | None = None
    fault: str = ""
    failure: BuildFailure | None = None  # of a server in ERROR, as far as its fault tells
    in_task: bool = False  # Nova is at work on it, or waits for a resize to be confirmed


class NoticeKind(StrEnum):
    """What a notification tells."""

    BOOTED = "booted"
    ATTEMPT_FAILED = "attempt failed"  # on one host; Nova may try another
    FAILED = "failed"
    DELETED = "deleted"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    RESIZED = "resized"  # confirmed, or reverted
    CHANGED = "changed"  # it is elsewhere, or was built anew: Nova is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification about one server; `detail` and `failure` are of one that tells a failure."""

    kind: NoticeKind
    server_id: str
    at: datetime
    host: str | None = None
    detail: str = ""
    failure: BuildFailure | None = None
    message_id: str = ""


class Notices(Protocol):
    """Notifications of the compute service, from a pool of Synergy's own."""

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""

    def fetch(self, *, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications without waiting."""

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """Let the broker forget these; to be called after the commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One compute host: capacity is (total - reserved) x allocation_ratio, from Placement."""

    name: str
    capacity: Resources
    up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """A flavor that every project may use."""

    name: str
    demand: Resources
    extra_specs: Mapping[str, str] = field(default_factory=dict)


# --- Nova's API and Placement, cut by use: all raise UpstreamUnavailable without an answer --------


class Flavors(Protocol):
    """Nova's flavors."""

    def flavors(self) -> Sequence[Flavor]:
        """Return the public flavors; a list a few minutes old is good enough."""


class Servers(Protocol):
    """Nova's servers, as they are."""

    def servers(self, server_ids: Iterable[str]) -> Mapping[str, ServerView]:
        """Return those of the servers that exist."""

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers for which no conductor has done anything yet. One that Nova
        builds again on another host looks the same to its user, and is none of them."""

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Walk a project's servers that are not deleted, or everybody's for None; with
        `changed_since` those that changed since then, deleted ones included."""

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Walk, page by page, the ids of the servers that are not built yet, of one project or of
        all; each page is one question."""


class ServerActions(Protocol):
    """What is done to Nova's servers."""

    def delete_server(self, server_id: str) -> None:
        """Start the deletion; nothing happens when it is gone."""

    def set_error(self, server_id: str) -> None:
        """Show the server as failed; nothing is done to it. Raises NotFound."""

    def shelve_server(self, server_id: str) -> None:
        """Shelve and offload."""

    def stop_server(self, server_id: str) -> None:
        """Power off; the host keeps the server's resources."""

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor of a server. Raises Conflict when no resize waits for that."""

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start an image of the server, and return the image's id."""

    def image_is_ready(self, image_id: str) -> bool:
        """Tell whether the image is complete. Raises NotFound when it failed."""


class Capacity(Protocol):
    """Hosts and zones, and what Placement has free on them."""

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones."""

    def hosts(self) -> Sequence[Host]:
        """Return every compute host, up or not, disabled ones as not up."""

    def room_for(self, demand: Resources, constraints: Constraints = ()) -> Mapping[str, Resources]:
        """Return the hosts that can take a demand now, by name, and what is free on each.

        constraints  see `RequestClass`
        """

    def placed(self, server_ids: Sequence[str]) -> set[str]:
        """Return those of the servers that hold an allocation."""


class QuotaLimits(Protocol):
    """Nova's limits of projects, and what they use."""

    def quota(self, project_id: str, *, fresh: bool = True) -> Limits:
        """Return Nova's limits of a project by resource class; without `fresh` perhaps as they
        were a while ago."""

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have in Nova, None without a limit."""

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that Nova's limits bound."""

    def used_by(self, project_id: str) -> Resources:
        """Return what a project's servers hold."""


class QuotaOwnership(Protocol):
    """Who bounds a project: Nova's limit is lifted while Synergy owns its quota."""

    def quota_record(self, project_id: str) -> Limits:
        """Return what was set for the project itself, by the names of Nova's quota driver; what is
        a default of the cloud is absent."""

    def lift_quota(self, project_id: str) -> None:
        """Make every class unlimited."""

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Put a record back: what is absent follows the defaults of the cloud again."""


class Compute(Flavors, Servers, ServerActions, Capacity, QuotaLimits, QuotaOwnership, Protocol):
    """All of Nova's API and Placement; who needs a part of it asks for that part."""


PARTS_OF_COMPUTE: Final = (
    "flavors", "servers", "server_actions", "capacity", "quota_limits", "quota_ownership"
)  # fmt: skip


# --- Keystone -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectView:
    """A project as Keystone shows it."""

    project_id: str
    name: str
    domain_id: str
    domain_name: str
    parent_id: str | None = None
    enabled: bool = True


class Identity(Protocol):
    """Keystone. Raises UpstreamUnavailable when it does not answer."""

    def projects(self) -> Sequence[ProjectView]:
        """Return every project of every domain."""

    def find_project(self, name_or_id: str) -> ProjectView:
        """Return one project. Raises NotFound, or InvalidInput when a name is not unique."""

    def users_of(self, project_id: str) -> Mapping[str, str]:
        """Return the users with a role on the project: id -> name."""

    def gone(self, owners: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """Return why some of these (project_id, user_id) can act no longer: deleted, disabled."""

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when projects, users or roles changed, where Keystone tells so."""

    def create_trust(self, token: str, *, project_id: str, roles: Sequence[str]) -> str:
        """Let the token's user trust Synergy with these roles; return the trust's id.

        Raises InvalidInput when the token cannot make one (expired, or itself from a trust).
        """

    def trusts_of(self, user_id: str, project_id: str) -> Sequence[str]:
        """Return the trusts that a user gave Synergy for a project."""

    def delete_trust(self, trust_id: str) -> None:
        """Delete a trust; nothing happens when it is gone."""

    def token_from_trust(self, trust_id: str) -> str:
        """Return a fresh token that acts as the trusting user. Raises NotFound."""


class CloudUser(Protocol):
    """What a user of the cloud does; for the contract tests and for trying things out."""

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

    def resize_server(self, server_id: str, flavor: str) -> None:
        """Ask for another flavor."""

    def confirm_resize(self, server_id: str) -> None:
        """Keep the new flavor. Raises Conflict when no resize waits for that."""

    def revert_resize(self, server_id: str) -> None:
        """Go back to the old flavor."""

    def unshelve_server(self, server_id: str) -> None:
        """Ask for a shelved server."""

    def last_failure(self, server_id: str) -> str:
        """Return why the last thing that was asked of a server failed, as its user reads it."""

    def delete_server_as_user(self, server_id: str) -> None:
        """Delete a server, waiting or running. Raises NotFound."""

    def show_server(self, server_id: str) -> ServerView:
        """Return a server. Raises NotFound."""


class Edge(Protocol):
    """Where nova-api puts its build requests; for trying out what messages others may send."""

    def publish(self, message_id: str, body: bytes) -> None:
        """Put a message there."""


class Outages(Protocol):
    """Lets parts of an embedded cloud fail and come back, to see what Synergy does meanwhile."""

    def set_down(self, *, nova: bool, keystone: bool) -> None:
        """Let Nova's API and Keystone answer nothing, or answer again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What a plugin of the namespace synergy.clouds opens: ports by name, and how to let go."""

    ports: Mapping[str, object]
    close: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check of `synergy-manage doctor`; `fix` says what to do when it failed."""

    name: str
    passed: bool
    detail: str
    fix: str = ""


# --- a site's own priorities ---------------------------------------------------------------------


class SiteFactor(Protocol):
    """A plugin of the namespace synergy.priority_factors: what a site adds to priorities.

    It is made without arguments. Every round calls it in the scheduler's thread, so it answers from
    memory, in time that follows the columns and not their values.
    """

    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> Floats:
        """Return the points to add to each class of the queue, shape (c,).

        waiting       the queue, in columns of shape (c,); `association` holds association_ids
        associations  project and user by association_id
        at_s          the instant of the round, epoch seconds
        """
