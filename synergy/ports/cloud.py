"""The cloud and the clock, as protocols.

Why: managers use only these, and the same contract tests run on the embedded cloud and on a real
one. Must not know who implements them.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
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
from synergy.ports.messages import Wake

Limits = Mapping[str, int | None]  # None is unlimited
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Time: `now` for records, `monotonic_s` for intervals."""

    def now(self) -> datetime:
        """Return the instant as an aware UTC datetime."""

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""


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
    failure: BuildFailure | None = None  # of a server in ERROR, if its fault names it
    in_task: bool = False  # Nova is working on it, or a resize waits for confirmation
    locked: bool = False  # by its user or an administrator
    metadata: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def unknown(cls, server_id: str, *, project_id: str = "") -> "ServerView":
        """Return the view of a server that Nova has and cannot show: nothing else is known."""
        return cls(
            server_id=server_id, project_id=project_id, user_id="", name="", flavor="",
            demand=Resources(), status=ServerStatus.UNKNOWN, created_at=_NEVER,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One compute host: capacity is (total - reserved) x allocation_ratio, from Placement."""

    name: str
    capacity: Resources
    up: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    """A public flavor."""

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
        """Return those of the servers that exist; one that Nova cannot show is UNKNOWN."""

    def still_waiting(self, server_ids: Iterable[str]) -> set[str]:
        """Return those of the servers that no conductor has begun to work on. A server that Nova
        reschedules has the same task state, but is not one of them."""

    def servers_of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> Iterator[ServerView]:
        """Yield a project's servers, or all for None, without deleted ones; with `changed_since`
        those that changed since then, including deleted ones."""

    def unbuilt(self, project_id: str | None = None) -> Iterator[Sequence[str]]:
        """Yield the ids of the servers that are not built yet, of one project or of all, page by
        page; each page is one request."""


class ServerActions(Protocol):
    """Actions on Nova's servers."""

    def delete_server(self, server_id: str) -> None:
        """Start the deletion; a server that is gone is no error."""

    def set_error(self, server_id: str) -> None:
        """Set the server's status to ERROR; nothing else happens to it. Raises NotFound."""

    def shelve_server(self, server_id: str) -> None:
        """Shelve and offload."""

    def stop_server(self, server_id: str) -> None:
        """Power off; the host keeps the server's resources."""

    def set_metadata(self, server_id: str, changes: Mapping[str, str | None]) -> None:
        """Set keys of the server's metadata; None deletes a key, which may be gone.

        Raises NotFound, and Conflict for a server that is not built, failed, shelved or in a task.
        """

    def confirm_resize(self, server_id: str) -> None:
        """Confirm a server's resize. Raises Conflict without a resize to confirm."""

    def snapshot_server(self, server_id: str, image_name: str) -> str:
        """Start a snapshot of the server, and return the image's id."""

    def image_is_ready(self, image_id: str) -> bool:
        """Return whether the image is complete. Raises NotFound when it failed."""


class Capacity(Protocol):
    """Hosts and zones, and what is free on them in Placement."""

    def zones(self) -> frozenset[str]:
        """Return the names of the availability zones."""

    def hosts(self) -> Sequence[Host]:
        """Return every compute host, whether up or not; a disabled one counts as not up."""

    def room_for(self, demand: Resources, constraints: Constraints = ()) -> Mapping[str, Resources]:
        """Return the hosts with room for a demand now, by name, and what is free on each.

        constraints  see `RequestClass`
        """

    def placed(self, server_ids: Sequence[str]) -> set[str]:
        """Return those of the servers that hold an allocation."""


class QuotaLimits(Protocol):
    """Nova's limits of projects, and their usage."""

    def quota(self, project_id: str, *, fresh: bool = True) -> Limits:
        """Return Nova's limits of a project by resource class; without `fresh` possibly from a
        cache."""

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have in Nova, None without a limit."""

    def limited_classes(self) -> frozenset[str]:
        """Return the resource classes that Nova limits."""

    def used_by(self, project_id: str) -> Resources:
        """Return what a project's servers use."""


class QuotaOwnership(Protocol):
    """Moves the quota of a project: Nova's limit is lifted while Synergy owns it."""

    def quota_record(self, project_id: str) -> Limits:
        """Return the limits set explicitly for the project, by the names of Nova's quota driver;
        limits that follow the cloud's defaults are not in it."""

    def lift_quota(self, project_id: str) -> None:
        """Set every class to unlimited."""

    def restore_quota(self, project_id: str, record: Limits) -> None:
        """Restore a record; limits that are not in it follow the cloud's defaults again."""


class Compute(Flavors, Servers, ServerActions, Capacity, QuotaLimits, QuotaOwnership, Protocol):
    """All of Nova's API and Placement; a manager needs only the parts that it uses."""


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
    tags: frozenset[str] = frozenset()


class Identity(Protocol):
    """Keystone. Raises UpstreamUnavailable when it does not answer."""

    def projects(self) -> Sequence[ProjectView]:
        """Return every project of every domain, enabled or not, with its tags.

        Raises UpstreamUnavailable also when Keystone lists only a part of them.
        """

    def project(self, project_id: str) -> ProjectView:
        """Return one project by id, as it is now. Raises NotFound."""

    def own_project_id(self) -> str | None:
        """Return the project that Synergy itself acts in, None if it acts in none."""

    def find_project(self, name_or_id: str) -> ProjectView:
        """Return one project. Raises NotFound, or InvalidInput when a name is not unique."""

    def users_of(self, project_id: str) -> Mapping[str, str]:
        """Return the users with a role on the project: id -> name."""

    def gone(self, owners: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], str]:
        """Return those of the (project_id, user_id) pairs that can no longer act, and why."""

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when projects, users or roles changed, if Keystone notifies it."""

    def create_trust(self, token: str, *, project_id: str, roles: Sequence[str]) -> str:
        """Create a trust with these roles from the token's user to Synergy; return its id.

        Raises InvalidInput when the token cannot create one (expired, or itself from a trust).
        """

    def trusts_of(self, user_id: str, project_id: str) -> Sequence[str]:
        """Return the trusts that a user gave Synergy for a project."""

    def delete_trust(self, trust_id: str) -> None:
        """Delete a trust; one that is gone is no error."""

    def token_from_trust(self, trust_id: str) -> str:
        """Return a new token of the trusting user. Raises NotFound."""


class CloudUser(Protocol):
    """The actions of a user of the cloud; for contract tests and trials."""

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

    def resize_server(self, server_id: str, flavor: str) -> None:
        """Resize a server."""

    def confirm_resize(self, server_id: str) -> None:
        """Confirm a resize. Raises Conflict without a resize to confirm."""

    def revert_resize(self, server_id: str) -> None:
        """Revert a resize."""

    def unshelve_server(self, server_id: str) -> None:
        """Unshelve a server."""

    def lock_server(self, server_id: str) -> None:
        """Lock a server."""

    def unlock_server(self, server_id: str) -> None:
        """Unlock a server."""

    def last_failure(self, server_id: str) -> str:
        """Return why the server's last resize or unshelve failed, as its user reads it."""

    def delete_server_as_user(self, server_id: str) -> None:
        """Delete a server, waiting or running. Raises NotFound."""

    def show_server(self, server_id: str) -> ServerView:
        """Return a server. Raises NotFound."""


class Edge(Protocol):
    """Where nova-api publishes its build requests; for tests with arbitrary messages."""

    def publish(self, message_id: str, body: bytes) -> None:
        """Publish a message."""


class Outages(Protocol):
    """Makes parts of an embedded cloud unavailable, for tests and trials."""

    def set_down(self, *, nova: bool, keystone: bool) -> None:
        """Make Nova's API or Keystone unavailable, or available again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What a plugin of the namespace synergy.clouds opens: ports by name, and how to close them."""

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

    It is created without arguments. Every round calls it in the scheduler's thread, so it must
    answer from memory, with array operations on the columns instead of a loop over requests.
    """

    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> Floats:
        """Return the points to add to each class of the queue, shape (c,).

        waiting       the queue, in columns of shape (c,); `association` holds association_ids
        associations  project and user by association_id
        at_s          the instant of the round, epoch seconds
        """
