"""Private quota, shared pool, lending and limits over the account tree.

The rules are in doc/source/concepts.rst.

Why: one place decides whether a request fits and which bound stops it. Private and shared usage are
accounted separately, so nothing on the shared quota can touch a private guarantee. Must not know
priorities, order or requests. "No limit" is None in values, UNLIMITED in columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from synergy.core.errors import InvalidInput
from synergy.core.model import NOTHING, Resources, total
from synergy.core.reasons import Reason
from synergy.core.shares import Bools, Ints

UNLIMITED: Final = np.iinfo(np.int64).max
Amounts = Sequence[int] | Ints  # one for each resource class of a tree


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaNode:
    """One node of the account tree with its quota; a limit bounds only the classes it names."""

    node_id: str
    parent_id: str | None
    private: Resources | None = None  # None: the node owns none and uses its nearest ancestor's
    max_servers: int | None = None  # on that private quota, whatever their size
    borrow_limit: Resources | None = None
    lend_limit: Resources | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A project, its private quota, and its usage of that.

    private    for a project that is not managed: its limits in Nova
    unlimited  resource classes without a limit: their usage counts instead
    """

    project_id: str
    name: str
    private: Resources = NOTHING
    used: Resources = NOTHING
    unlimited: frozenset[str] = frozenset()

    @property
    def guaranteed(self) -> Resources:
        """What nobody else can have: the quota, or the usage where the quota was set below it."""
        return larger(self.private, self.used)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSize:
    """What no project owns, and by how much the guarantees exceed the cloud: for each resource
    class at most one of the two is positive."""

    shared: Resources
    shortfall: Resources


def fits(demand: Amounts, room: Amounts) -> bool:
    """Return whether amounts, one for each resource class, are all there; what is not asked for
    may be overdrawn."""
    for amount, left in zip(demand, room, strict=True):  # noqa: SIM110 - `all` would take thrice as long
        if amount > left and amount:
            return False
    return True


def larger(one: Resources, other: Resources) -> Resources:
    """Return the larger amount of each resource class."""
    names = {*one, *other}
    return Resources.of({name: max(one.get(name, 0), other.get(name, 0)) for name in names})


def shared_size(capacity: Resources, guaranteed: Iterable[Resources]) -> SharedSize:
    """Return by resource class what is left of `capacity`, and what is missing."""
    left = capacity - total(guaranteed)
    missing = Resources.of({name: -amount for name, amount in left.items()})
    return SharedSize(shared=left.at_least_zero(), shortfall=missing.at_least_zero())


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """The cloud's capacity and its owners, as found by one pass of the QuotaManager.

    total      capacity of the enabled hosts that are up
    installed  capacity of all hosts, up or not; it decides what can never fit
    hosts      the distinct capacities of single hosts, up or not
    nodes      the account tree, parents before children, the root first
    unmanaged  the projects that Synergy does not manage
    limited    resource classes that a private quota bounds, None for all. Nova's own limits omit
               some, such as disk: there a private server takes from what is free
    """

    total: Resources = NOTHING
    installed: Resources = NOTHING
    hosts: tuple[Resources, ...] = ()
    nodes: tuple[QuotaNode, ...] = (QuotaNode(node_id="root", parent_id=None),)
    unmanaged: tuple[Owner, ...] = ()
    limited: frozenset[str] | None = None

    def is_limited(self, name: str) -> bool:
        """Return whether a private quota bounds a resource class."""
        if self.limited is None or name in self.limited:
            return True
        return any(node.private and node.private.get(name) for node in self.nodes)

    def resource_classes(self) -> tuple[str, ...]:
        """Return every resource class that the cloud has, or a project owns or uses."""
        known = [self.total, self.installed, *self.hosts]
        known += [node.private for node in self.nodes if node.private is not None]
        known += [one.guaranteed for one in self.unmanaged]
        return tuple(sorted({name for one in known for name in one}))

    def no_host_has(self, amounts: Resources) -> Resources:
        """Return the amounts of resource classes that no host has, up or not."""
        return Resources.of({n: a for n, a in amounts.items() if not self.installed.get(n)})

    def size(self, claims: Iterable["Claim"] = ()) -> SharedSize:
        """Return the size of the shared quota: of the hosts that are up, given what is claimed."""
        claims = list(claims)
        names = {*self.resource_classes(), *(name for one in claims for name in one.private)}
        return QuotaBook(QuotaTree(self, tuple(sorted(names))), claims).size()


@dataclass(frozen=True, slots=True)
class Claim:
    """What one node itself has claimed, separated by quota: a sum of demands, never a counter.

    private_servers  the number of servers in `private`
    """

    node_id: str
    private: Resources = NOTHING
    shared: Resources = NOTHING
    private_servers: int = 0


class QuotaTree:
    """A QuotaState as columns: n nodes, r resource classes; built once per state.

    row           node_id -> row; parents come before their children
    parent        row above, -1 for the root
    owner         row of the nearest node, itself included, that owns a private quota
    private       shape (n, r)
    max_servers   shape (n,), maximum servers on the private quota, UNLIMITED without a limit
    borrow_limit  shape (n, r), UNLIMITED without a limit
    lend_limit    shape (n, r), likewise
    capacity      shape (r,), of the hosts that are up
    down          shape (r,), capacity of the other hosts
    unmanaged     shape (r,), the guarantees of projects that are not managed
    limited       shape (r,), whether a private quota bounds the class
    lends         whether any owner lends
    """

    def __init__(self, state: QuotaState, resource_classes: tuple[str, ...]) -> None:
        self.state, self.resource_classes = state, resource_classes
        nodes = state.nodes
        self.row = {node.node_id: index for index, node in enumerate(nodes)}
        self.parent, self.owner = _links(nodes, self.row)
        self.private = self._column([n.private for n in nodes], absent=0)
        self.max_servers: Ints = np.array(
            [UNLIMITED if n.max_servers is None else n.max_servers for n in nodes], dtype=np.int64
        )
        self.borrow_limit = self._column([n.borrow_limit for n in nodes], absent=UNLIMITED)
        self.lend_limit = self._column([n.lend_limit for n in nodes], absent=UNLIMITED)
        self.capacity = self.amounts(state.total)
        self.down: Ints = np.maximum(self.amounts(state.installed) - self.capacity, 0)
        self.unmanaged = self.amounts(total(one.guaranteed for one in state.unmanaged))
        self.limited: Bools = np.array([state.is_limited(name) for name in resource_classes], bool)
        self.lends = bool((self.lend_limit[self.private.any(axis=1)] > 0).any())
        self._bounds: Bools = np.any(self.borrow_limit < UNLIMITED, axis=1)
        self._paths: dict[int, list[int]] = {}

    def amounts(self, resources: Mapping[str, int]) -> Ints:
        """Return a resource vector as a row, shape (r,)."""
        return np.array([resources.get(name, 0) for name in self.resource_classes], dtype=np.int64)

    def resources(self, amounts: Ints) -> Resources:
        """Return a row of amounts as a value."""
        return Resources.of(zip(self.resource_classes, map(int, amounts), strict=True))

    def path(self, node: int) -> list[int]:
        """Return the rows from `node` up to the root."""
        path = self._paths.get(node)
        if path is None:
            path, above = [], node
            while above >= 0:
                path.append(above)
                above = self.parent[above]
            self._paths[node] = path
        return path

    def bounds_of(self, node: int) -> list[int]:
        """Return the rows on the path of `node` that have a borrow limit."""
        return [above for above in self.path(node) if self._bounds[above]]

    def lowest_on_path(self, column: Ints) -> Ints:
        """Return, shape (n, r), the lowest entry on the path from each node to the root."""
        lowest = column.copy()
        for node in range(1, len(lowest)):
            lowest[node] = np.minimum(lowest[node], lowest[self.parent[node]])
        return lowest

    @cached_property
    def borrow_ceiling(self) -> Ints:
        """Shape (n, r), the lowest borrow limit on each node's path."""
        return self.lowest_on_path(self.borrow_limit)

    @cached_property
    def pool_ceiling(self) -> Ints:
        """Shape (r,), the largest possible shared quota: every host up, no private usage, and all
        lent that may be. UNLIMITED where the quotas exceed even that, because the operator may
        correct them."""
        owned = total(one.private for one in self.state.unmanaged)
        left = self.amounts(self.state.installed - owned) - self.private.sum(axis=0)
        best = left + QuotaBook(self).lendable()
        return np.where(best < 0, UNLIMITED, best)

    @cached_property
    def bounded(self) -> bool:
        """Return whether any node has a borrow limit."""
        return bool(self._bounds.any())

    def _column(self, values: Sequence[Resources | None], *, absent: int) -> Ints:
        """A limit of NOTHING bounds every class to 0; any other only the classes it names."""
        column = np.full((len(values), len(self.resource_classes)), absent, dtype=np.int64)
        for row, value in enumerate(values):
            if value is None:
                continue
            if not value:
                column[row] = 0
            for name, amount in value.amounts:
                if name in self.resource_classes:
                    column[row, self.resource_classes.index(name)] = amount
        return column


def _links(nodes: Sequence[QuotaNode], row: Mapping[str, int]) -> tuple[list[int], list[int]]:
    parent: list[int] = []
    owner: list[int] = []
    for index, node in enumerate(nodes):
        above = -1 if node.parent_id is None else row.get(node.parent_id, index)
        if above >= index:
            raise InvalidInput(f"quota tree: {node.node_id!r} comes before its parent")
        parent.append(above)
        owner.append(index if node.private is not None or above < 0 else owner[above])
    return parent, owner


class QuotaBook:
    """The accounting of one round: it answers what fits, and records what the round decides.

    private_used     shape (n, r), each owner's usage of its private quota
    private_claimed  shape (n, r), private_used plus what the owner waits for because it is lent
    private_servers  shape (n,), the number of each owner's private servers
    shared_used      shape (n, r), usage of the shared quota by each node and all below it
    left             shape (r,), capacity minus the guarantees. An owner's guarantee is the larger
                     of its private quota and its claim, so that nobody else pays for a quota
                     that was set below its usage. Negative when the guarantees exceed the cloud
    pool             shape (r,), max(0, left + Σ lendable(children of root)): lent capacity covers
                     a shortfall first
    """

    def __init__(self, tree: QuotaTree, claims: Iterable[Claim] = ()) -> None:
        self.tree = tree
        self.private_used = np.zeros_like(tree.private)
        self.private_servers = np.zeros_like(tree.max_servers)
        self.shared_used = np.zeros_like(tree.private)
        # Worked out when somebody asks, until they change.
        self._free: list[int] | None = None
        self._disabled: list[bool] | None = None
        for one in claims:
            node = tree.row.get(one.node_id, 0)
            self.private_used[tree.owner[node]] += tree.amounts(one.private)
            self.private_servers[tree.owner[node]] += one.private_servers
            self.hold_shared(node, tree.amounts(one.shared))
        self.private_claimed = self.private_used.copy()
        self._private_is_common = False  # whether a copy has the same columns
        guaranteed = np.maximum(tree.private, self.private_claimed).sum(axis=0)
        self.left: Ints = tree.capacity - tree.unmanaged - guaranteed
        self.pool: Ints = np.maximum(self.left + self.lendable(), 0)

    def copy(self) -> "QuotaBook":
        """Return an independent copy. Most rounds change no private usage: its columns are copied
        when it changes."""
        other = QuotaBook.__new__(QuotaBook)
        self._private_is_common = True
        other.__dict__.update(self.__dict__)
        other.shared_used = self.shared_used.copy()
        return other

    def _change_private(self) -> None:
        """Prepare to change the private usage."""
        if self._private_is_common:
            self.private_used = self.private_used.copy()
            self.private_claimed = self.private_claimed.copy()
            self.private_servers = self.private_servers.copy()
            self._private_is_common = False

    def size(self) -> SharedSize:
        """Return what no project owns, and the shortfall."""
        resources = self.tree.resources
        return SharedSize(
            shared=resources(np.maximum(self.left, 0)),
            shortfall=resources(np.maximum(-self.left, 0)),
        )

    def lendable(self) -> Ints:
        """Return Σ lendable(children of root), shape (r,): what owners lend to the pool now."""
        tree = self.tree
        if not tree.lends:
            return np.zeros(len(tree.resource_classes), dtype=np.int64)
        offer = np.maximum(tree.private - self.private_claimed, 0)
        offer[0] = 0
        for node in range(len(tree.parent) - 1, 0, -1):
            offer[tree.parent[node]] += np.minimum(tree.lend_limit[node], offer[node])
        lent: Ints = offer[0]
        return lent

    def pool_free(self) -> Ints:
        """Return what is free in the pool, shape (r,); negative when it shrank below its usage."""
        free: Ints = self.pool - self.shared_used[0]
        return free

    def room_at(self, node: int) -> list[int]:
        """Return how much more a node lets be borrowed below it, and the root besides no more than
        is free in the pool."""
        if node or self.tree.bounds_of(node):
            room = self._room_below(node)
            return room if node else list(map(min, room, self.free_amounts()))
        return self.free_amounts().copy()

    def free_amounts(self) -> list[int]:
        """Return `pool_free` as plain numbers, which cost less where one request asks."""
        if self._free is None:
            self._free = self.pool_free().tolist()
        return self._free

    @property
    def disabled(self) -> list[bool]:
        """The resource classes of which nothing is shared, because the guarantees exceed the cloud
        by more than is lent."""
        if self._disabled is None:
            sizes = zip(self.left.tolist(), self.pool.tolist(), strict=True)
            self._disabled = [left < 0 and pool == 0 for left, pool in sizes]
        return self._disabled

    def room_below_limits(self) -> Ints:
        """Return, shape (n, r), how much each node may still borrow under the limits on its
        path."""
        limit = self.tree.borrow_limit
        return self.tree.lowest_on_path(
            np.where(limit < UNLIMITED, limit - self.shared_used, UNLIMITED)
        )

    def blocks_shared(self, node: int, demand: Amounts) -> Reason | None:
        """Return why `demand` of `node` does not fit into the shared quota, None if it does."""
        tree = self.tree
        for above in tree.bounds_of(node) if tree.bounded else ():
            if not fits(demand, self._room_below(above)):
                return Reason.USER_LIMIT if above == node else Reason.PROJECT_BORROW_LIMIT
        free = self.free_amounts() if self._free is None else self._free
        if fits(demand, free):
            return None
        if True in self.disabled:
            asked = zip(demand, free, self.disabled, strict=True)
            if any(amount > left and amount and none for amount, left, none in asked):
                return Reason.SHARED_QUOTA_DISABLED
        return Reason.NO_FREE_QUOTA

    def _room_below(self, node: int) -> list[int]:
        limit = self.tree.borrow_limit[node]
        room: list[int] = np.where(
            limit < UNLIMITED, limit - self.shared_used[node], UNLIMITED
        ).tolist()
        return room

    def private_room(self, owner: int | Ints) -> Ints:
        """Return what is free of owners' private quotas, one row each; UNLIMITED in a class that
        they do not bound."""
        tree = self.tree
        room = tree.private[owner] - self.private_claimed[owner]
        return np.where(tree.limited, room, UNLIMITED)

    def server_room(self, owner: int | Ints) -> Ints:
        """Return how many more servers the private quotas of owners allow."""
        room: Ints = self.tree.max_servers[owner] - self.private_servers[owner]
        return room

    def blocks_private(self, node: int, demand: Ints, servers: int = 1) -> Reason | None:
        """Return why `demand` of `node` does not fit into its private quota, None if it does.

        servers  0 for a server that exists already and wants more

        AWAITING_EXPIRY: the quota suffices, but part of it is lent and in use. Hosts that are down
        count here with their capacity and their servers: what borrowers hold on them must not block
        an owner whom a host that is up could serve.
        """
        tree, requested = self.tree, demand > 0
        owner = tree.owner[node]
        if (requested & (demand > self.private_room(owner))).any():
            return Reason.NO_FREE_QUOTA
        if servers > self.server_room(owner):
            return Reason.NO_FREE_QUOTA
        if not tree.lends and tree.limited.all():
            return None
        now = self.left + self.lendable()
        self._claim(owner, demand)
        then = self.left + self.lendable()
        self._claim(owner, -demand)
        minimum = np.maximum(then + tree.down, 0)
        if ((then < now) & (self.shared_used[0] > minimum)).any():
            return Reason.AWAITING_EXPIRY
        return None

    def hold_shared(self, node: int, demand: Ints) -> None:
        """Add `demand` to the shared usage of every node on the path."""
        for above in self.tree.path(node):  # short: numpy's way to index by a list costs more
            self.shared_used[above] += demand
        self._free = None

    def release_shared(self, node: int, demand: Ints) -> None:
        """Subtract `demand` from the shared usage of every node on the path."""
        self.hold_shared(node, -demand)

    def hold_private(self, node: int, demand: Ints) -> None:
        """Add a server to the private usage, which may reduce what is lent."""
        owner = self.tree.owner[node]
        self._change_private()
        self.private_used[owner] += demand
        self.private_servers[owner] += 1
        self._claim(owner, demand)
        self._resize_pool()

    def release_private(self, node: int, demand: Ints) -> None:
        """Subtract a server from the private usage."""
        owner = self.tree.owner[node]
        self._change_private()
        self.private_used[owner] -= demand
        self.private_servers[owner] -= 1
        self._claim(owner, -demand)
        self._resize_pool()

    def forget_claims(self) -> None:
        """Drop what `reclaim` withheld: the next round claims for those that still wait."""
        if not self.tree.lends:
            return
        for owner in np.flatnonzero((self.private_claimed != self.private_used).any(axis=1)):
            self._claim(int(owner), self.private_used[owner] - self.private_claimed[owner])
        self._resize_pool()

    def reclaim(self, node: int, demand: Ints, count: int) -> None:
        """Withhold from the pool what `count` waiting servers of an owner need, within its private
        quota. Otherwise borrowers would take lent capacity again as it comes back bit by bit."""
        owner, requested = self.tree.owner[node], demand > 0
        fitting = [count, int(self.server_room(owner))]
        fitting += [int(n) for n in self.private_room(owner)[requested] // demand[requested]]
        self._claim(owner, demand * max(0, min(fitting)))
        self._resize_pool()

    def _claim(self, owner: int, demand: Ints) -> None:
        self._change_private()
        before = np.maximum(self.tree.private[owner], self.private_claimed[owner])
        self.private_claimed[owner] += demand
        after = np.maximum(self.tree.private[owner], self.private_claimed[owner])
        self.left = self.left + before - after
        self._free = self._disabled = None

    def _resize_pool(self) -> None:
        if self.tree.lends or not self.tree.limited.all():
            self.pool = np.maximum(self.left + self.lendable(), 0)
            self._free = self._disabled = None
