"""The domain model: the nouns of Synergy as frozen values.

Why: every layer speaks of the same resources, projects, classes and requests. Must not know where
a value is stored or which message it came in.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from synergy.core.declared.fields import setting
from synergy.core.declared.kinds import (
    DAY_S,
    MAX,
    RESOURCE_CLASS,
    Amounts,
    Choice,
    Explained,
    Flag,
    Number,
    OrNone,
    Shares,
)
from synergy.core.errors import InvalidInput
from synergy.core.reasons import Reason

DEFAULT_PARTITION: Final = "default"
AVAILABILITY_ZONE: Final = "availability_zone"
PARTITION: Final = "partition"
SERVER_GROUP: Final = "server_group"
TRAIT: Final = "trait:"  # followed by the name of a trait, as in the extra specs of a flavor
Constraints = tuple[tuple[str, str], ...]
_USUAL: Final = frozenset({"VCPU", "MEMORY_MB", "DISK_GB"})  # resource classes of every flavor


def zone_in(constraints: Iterable[tuple[str, str]]) -> str | None:
    """Return the availability zone that constraints name, None for any."""
    return dict(constraints).get(AVAILABILITY_ZONE)


@dataclass(frozen=True, slots=True)
class Resources(Mapping[str, int]):
    """Amounts by Placement resource class (Slurm: TRES); a class that is absent counts 0.

    Equal amounts make equal values, whatever order they were given in. Differences may be
    negative; `demand` accepts only what a server can ask for.
    """

    amounts: tuple[tuple[str, int], ...] = ()

    @classmethod
    def of(
        cls, amounts: Mapping[str, int] | Iterable[tuple[str, int]] = (), /, **more: int
    ) -> Self:
        """Build from a mapping, pairs or keywords, leaving out zeros."""
        merged = {**dict(amounts), **more}
        return cls(tuple(sorted((name, amount) for name, amount in merged.items() if amount)))

    @classmethod
    def demand(cls, amounts: Mapping[str, object], *, of: str = "resources") -> Self:
        """Build from untrusted input. Raises InvalidInput naming `of`, the class and the value."""
        found = []
        for name, amount in amounts.items():
            if name not in _USUAL and not RESOURCE_CLASS.fullmatch(name):
                raise InvalidInput(f"{of}: {name!r} is not a resource class such as VCPU")
            if isinstance(amount, bool) or not isinstance(amount, int) or not 0 <= amount < 2**53:
                raise InvalidInput(
                    f"{of}: {name} is {amount!r}, but must be an integer from 0 to 2^53 - 1"
                )
            if amount:
                found.append((name, amount))
        return cls(tuple(sorted(found)))

    @classmethod
    def limit(cls, amounts: Mapping[str, object], *, of: str = "limit") -> Self:
        """Build a limit from untrusted input, keeping zeros: a class that is absent has no limit.

        Raises InvalidInput.
        """
        cls.demand(amounts, of=of)
        return cls(tuple(sorted((n, a) for n, a in amounts.items() if isinstance(a, int))))

    def __getitem__(self, name: str) -> int:
        for known, amount in self.amounts:
            if known == name:
                return amount
        raise KeyError(name)

    def get(self, name: str, default: object = None) -> Any:
        """Return the amount of a class, or the default."""
        for known, amount in self.amounts:
            if known == name:
                return amount
        return default

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self.amounts])

    def __len__(self) -> int:
        return len(self.amounts)

    def __add__(self, other: "Resources") -> "Resources":
        sums = dict(self.amounts)
        for name, amount in other.amounts:
            sums[name] = sums.get(name, 0) + amount
        return Resources.of(sums)

    def __sub__(self, other: "Resources") -> "Resources":
        left = dict(self.amounts)
        for name, amount in other.amounts:
            left[name] = left.get(name, 0) - amount
        return Resources.of(left)

    def fits_in(self, room: Mapping[str, int]) -> bool:
        """Return whether `room` has at least this much of every class."""
        return all(amount <= room.get(name, 0) for name, amount in self.amounts)

    def at_least_zero(self) -> "Resources":
        """Return the positive part."""
        return Resources.of({name: amount for name, amount in self.amounts if amount > 0})

    def __str__(self) -> str:
        return ", ".join(f"{name}={amount}" for name, amount in self.amounts) or "nothing"


NOTHING: Final = Resources()


def total(parts: Iterable[Resources]) -> Resources:
    """Sum resource vectors."""
    sums: dict[str, int] = {}
    for part in parts:
        for name, amount in part.amounts:
            sums[name] = sums.get(name, 0) + amount
    return Resources.of(sums)


class QuotaKind(StrEnum):
    """The quota that a request counts against."""

    PRIVATE = "private"
    SHARED = "shared"


class DefaultQuota(Explained):
    """Which quota a project's requests use when they do not say."""

    PRIVATE = "private", "the private quota; on_private_full says what happens if it is full"
    SHARED = "shared", "the shared quota"
    PRIVATE_THEN_SHARED = "private_then_shared", "the private quota if it has room, else the shared"


class OnPrivateFull(Explained):
    """What becomes of a private request that its project's private quota cannot hold now."""

    REJECT = "reject", "it is rejected, and its server's fault says why"
    QUEUE = "queue", "it waits for the private quota"
    SHARED = "shared", "it may also use the shared quota"


class ExpiryAction(Explained):
    """What Synergy does to a shared server whose lifetime is over."""

    DELETE = "delete", "it is deleted"
    SHELVE = "shelve", "it is shelved, and claims no quota"
    STOP = "stop", "it is stopped, and claims its quota until its user deletes it"
    SNAPSHOT_DELETE = "snapshot_delete", "it is deleted once an image of it is complete"
    STOP_DELETE = "stop_delete", "it is stopped, and deleted [expiry] grace_s later"


class ExtendPolicy(Explained):
    """Whether users may extend the lifetimes of their shared servers."""

    NEVER = "never", "only operators may"
    WHEN_IDLE = "when_idle", "they may while no request waits for the shared quota"
    ALWAYS = "always", "they may"


class OnKeep(Explained):
    """What becomes of a server, at its end, that is locked or has the metadata synergy:keep."""

    END = "end", "it ends like any other, and the ledger says that it was so"
    KEEP = "keep", "it keeps running while it is locked or has that metadata"


class BuildFailure(StrEnum):
    """Why Nova gave up a build."""

    NO_VALID_HOST = "no_valid_host"  # the scheduler found no host: nothing was tried
    RETRIES_EXHAUSTED = "retries_exhausted"  # the build failed on every host that was tried
    BUILD_ERROR = "build_error"  # it failed in a way that Nova does not retry on another host


class OnBuildFailure(Explained):
    """What Synergy does to a server whose build Nova gave up."""

    KEEP = "keep", "it stays in ERROR, and its fault says why"
    DELETE = "delete", "it is deleted"


class OnLost(Explained):
    """What Synergy does with a request that the conductor has but does not build.

    The message is never sent again, because Nova may still build it.
    """

    TELL = "tell", "nothing beyond reporting it; the request keeps claiming its quota"
    ERROR = "error", "it is set to ERROR, and its quota is released"
    REBUILD_BY_USER = (
        "rebuild_by_user",
        "it is deleted (it never ran), so that its user can create it again",
    )


class Handover(StrEnum):
    """Where a project's private quota lives while it moves between Nova and Synergy."""

    TAKING = "taking"
    HELD = "held"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """An inner node of the account tree, directly below the root.

    raw_shares None is Slurm's `parent`: the projects of all such domains compete with each other
    directly, as an operator expects who sets shares of projects only. Domains own no private quota,
    so with `lend_limit` None everything that their projects lend passes; `borrow_limit` None is no
    limit. A limit names only the classes that it bounds.
    """

    domain_id: str
    name: str
    raw_shares: int | None = None
    borrow_limit: Resources | None = None
    lend_limit: Resources | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A managed project: its shares, its quotas and how its requests are treated.

    A field declared with `setting` is stored, shown and can be set: see `core.declared`.
    raw_shares None is `parent`: its users compete with those of its sibling projects.
    """

    project_id: str
    name: str
    domain_id: str
    parent_id: str | None = None  # the project above, where Keystone nests them
    raw_shares: int | None = setting(1, Shares(), "Raw shares among its sibling projects.")
    priority: int | None = setting(
        None,
        OrNone(Number(0, MAX), "that of the project above, or 0"),
        "Priority in the association factor; a user's own takes precedence over the project's.",
    )
    default_quota: DefaultQuota = setting(
        DefaultQuota.PRIVATE_THEN_SHARED,
        Choice(DefaultQuota),
        "Quota of requests that name none.",
    )
    on_private_full: OnPrivateFull = setting(
        OnPrivateFull.QUEUE,
        Choice(OnPrivateFull),
        "What happens to a request that does not fit into the private quota now.",
    )
    ttl_s: int = setting(
        DAY_S,
        Number(1, 366 * DAY_S, "seconds"),
        "Maximum lifetime of a shared server, in seconds.",
    )
    expiry_action: ExpiryAction = setting(
        ExpiryAction.DELETE,
        Choice(ExpiryAction),
        "What happens to a shared server at the end of its lifetime.",
    )
    on_keep: OnKeep = setting(
        OnKeep.END,
        Choice(OnKeep),
        "What happens at the end of its lifetime to a server that is locked or has the metadata "
        "synergy:keep.",
    )
    extend_policy: ExtendPolicy = setting(
        ExtendPolicy.NEVER,
        Choice(ExtendPolicy),
        "Whether users may extend the lifetimes of their shared servers.",
    )
    max_ttl_s: int | None = setting(
        None,
        OrNone(Number(1, 2**31 - 1, "seconds"), "no limit"),
        "Maximum lifetime of a shared server including all extensions by users, in seconds.",
    )
    max_extensions: int | None = setting(
        3,
        OrNone(Number(0, 1_000_000), "no limit"),
        "Maximum number of extensions of a shared server by its users.",
    )
    on_build_failure: OnBuildFailure = setting(
        OnBuildFailure.KEEP,
        Choice(OnBuildFailure),
        "What happens to a server whose build Nova gave up.",
    )
    on_lost: OnLost = setting(
        OnLost.TELL,
        Choice(OnLost),
        "What happens to a server that Nova's conductor received and does not build.",
    )
    max_waiting: int = setting(10_000, Number(0, 10_000_000), "Maximum number of waiting requests.")
    max_waiting_per_user: int = setting(
        10_000, Number(0, 10_000_000), "Maximum number of waiting requests of one user."
    )
    suspended: bool = setting(
        False, Flag(), "Whether the project is suspended: while it is, all its requests wait."
    )
    private: Resources = setting(
        NOTHING, Amounts(), "Private quota; resource classes that are not named stay unchanged."
    )
    max_private_servers: int | None = setting(
        None,
        OrNone(Number(0, MAX), "no limit"),
        "Maximum number of servers on the private quota, whatever their size.",
    )
    borrow_limit: Resources | None = setting(
        None, OrNone(Amounts(), "no limit"), "Maximum use of the shared quota."
    )
    lend_limit: Resources | None = setting(
        NOTHING,
        OrNone(Amounts(), "no limit"),
        "Maximum part of the private quota that is lent out while idle.",
    )
    nova_quota: Mapping[str, int | None] = field(default_factory=dict)  # put back on removal
    handover: Handover = Handover.TAKING
    gone: bool = False  # it was deleted in Keystone
    rule: str = ""  # the part of `[project] manage` that manages it; added by hand without one
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Association:
    """A (project, user) leaf of the account tree.

    raw_shares None is `parent`, priority None is the project's. The usage of a user who is no
    longer `active` counts for the project, so that a project gains nothing by removing users.
    """

    association_id: int
    project_id: str
    user_id: str
    user_name: str
    raw_shares: int | None = setting(1, Shares(), "Raw shares among the project's users.")
    priority: int | None = setting(
        None,
        OrNone(Number(0, MAX), "that of the project"),
        "Priority in the association factor; it takes precedence over the project's.",
    )
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestClass:
    """What makes requests equal for scheduling; inside a class, order is by age.

    quota        the quota that a server of the class holds; while it waits and may use either, the
                 one it held last or prefers
    ttl_s        lifetime in seconds, 0 without end
    constraints  (AVAILABILITY_ZONE, "az1"), ("trait:CUSTOM_SSD", "required") or "forbidden",
                 (SERVER_GROUP, its id) and (PARTITION, "gpu")

    Its settings are numbers that the metadata synergy:NAME of a server asks for.
    """

    association_id: int
    demand: Resources
    quota: QuotaKind
    on_private_full: OnPrivateFull
    qos: str = "normal"
    nice: int = setting(0, Number(0, MAX - 2), "By how much its priority is lowered.")  # as Slurm
    ttl_s: int = 0
    constraints: Constraints = ()

    @property
    def may_own(self) -> bool:
        """Whether it may start on its project's private quota."""
        return self.quota is QuotaKind.PRIVATE or self.on_private_full is OnPrivateFull.SHARED

    @property
    def may_borrow(self) -> bool:
        """Whether it may start on the shared quota."""
        return self.quota is QuotaKind.SHARED or self.on_private_full is OnPrivateFull.SHARED

    @property
    def partition(self) -> str:
        """The requested part of the cloud: the flavor's partition, else the zone."""
        named = dict(self.constraints)
        return named.get(PARTITION) or named.get(AVAILABILITY_ZONE) or DEFAULT_PARTITION

    @property
    def placement(self) -> Constraints:
        """The constraints on the choice of a host, besides the demand."""
        return tuple(pair for pair in self.constraints if pair[0] != PARTITION)


class State(StrEnum):
    """Where a request is in its life; see `lifecycle`."""

    RECEIVED = "RECEIVED"
    QUEUED = "QUEUED"
    HELD = "HELD"
    DISPATCHING = "DISPATCHING"
    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    EXPIRING = "EXPIRING"
    PARKED = "PARKED"
    DELETED = "DELETED"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"
    ERROR = "ERROR"
    QUARANTINED = "QUARANTINED"


class ServerStatus(StrEnum):
    """The status of a server in Nova, as far as Synergy distinguishes it."""

    SCHEDULING = "SCHEDULING"  # BUILD without a host yet
    BUILDING = "BUILDING"
    ACTIVE = "ACTIVE"
    STOPPED = "STOPPED"
    SHELVED = "SHELVED"  # offloaded: holds nothing
    ERROR = "ERROR"
    DELETED = "DELETED"  # or Nova knows no such server
    UNKNOWN = "UNKNOWN"  # Nova has it, but cannot show it, or shows it in a form nobody can read


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One server held by Synergy; its id is the server's uuid.

    not_before_at  it is not ended before, though its lifetime is over
    warned_s       the shortest time before its present end at which it was announced
    extensions     how often a user extended it
    reason, why  of its last event: `reason` is what programs go by, None where none is declared for
                 it; `why` is prose for people, which nothing compares
    """

    request_id: str
    class_id: int
    request_class: RequestClass
    project_id: str
    user_id: str
    server_name: str
    flavor: str
    queued_at: datetime
    changed_at: datetime
    ttl_s: int
    state: State = State.RECEIVED
    batch_id: str | None = None
    held_from: datetime | None = None
    released_at: datetime | None = None
    active_at: datetime | None = None
    expires_at: datetime | None = None
    not_before_at: datetime | None = None
    warned_s: int | None = None
    extensions: int = 0
    retry_at: datetime | None = None
    attempts: int = 0
    host: str | None = None
    reason: Reason | None = None
    why: str = ""
    generation: int = 0

    @property
    def demand(self) -> Resources:
        """The resources of the server's flavor."""
        return self.request_class.demand

    @property
    def quota(self) -> QuotaKind:
        """The quota that it counts against."""
        return self.request_class.quota
