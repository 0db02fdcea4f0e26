"""Private quota, shared pool, lending and limits over the account tree (DESIGN.md §5).

Why: one place says whether a request fits and which bound stops it. Private and shared use are
accounted apart, so nothing that runs on the shared quota can touch a private guarantee. Must not
know priorities, order or requests. "No limit" is None in values, UNLIMITED in columns.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np

from synergy.core.errors import InvalidInput
from synergy.core.model import NOTHING, Resources, total
from synergy.core.reasons import Reason
from synergy.core.shares import Bools, Ints

UNLIMITED: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaNode:
    """One node of the account tree as quota sees it; a limit bounds only the classes it names."""

    node_id: str
    parent_id: str | None
    private: Resources | None = None  # None: the node owns none and uses its nearest ancestor's
    max_servers: int | None = None  # on that private quota, whatever their size
    borrow_limit: Resources | None = None
    lend_limit: Resources | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSize:
    """What no project owns, and by how much the private quotas exceed the cloud."""

    shared: Resources
    shortfall: Resources


def shared_size(capacity: Resources, privates: Iterable[Resources]) -> SharedSize:
    """Return max(0, capacity - Σ private) by resource class.

    A shortfall in any class disables the shared quota: `shared` is then empty.
    """
    left = capacity - total(privates)
    shortfall = Resources.of({name: -amount for name, amount in left.items() if amount < 0})
    return SharedSize(shared=NOTHING if shortfall else left, shortfall=shortfall)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaState:
    """What the cloud has and who owns it, as one QuotaManager pass found it.

    total      capacity of the enabled hosts that are up
    installed  capacity with every host, up or not: what can never fit is judged by it
    largest    by resource class, the most that a single host could ever give
    nodes      the account tree, parents before children, the root first
    unmanaged  Σ private quota of the projects that Synergy does not manage
    limited    resource classes that a private quota bounds, None for all. Nova's own limits leave
               some out, such as disk: of those a private server takes from what is there
    """

    total: Resources = NOTHING
    installed: Resources = NOTHING
    largest: Resources = NOTHING
    unmanaged: Resources = NOTHING
    nodes: tuple[QuotaNode, ...] = (QuotaNode(node_id="root", parent_id=None),)
    limited: frozenset[str] | None = None

    def is_limited(self, name: str) -> bool:
        """Tell whether a private quota bounds a resource class."""
        if self.limited is None or name in self.limited:
            return True
        return any(node.private and node.private.get(name) for node in self.nodes)

    def privates(self) -> tuple[Resources, ...]:
        """Return every private quota of the cloud."""
        return (self.unmanaged, *(n.private for n in self.nodes if n.private is not None))

    def size(self) -> SharedSize:
        """Return the shared quota of the capacity that is up."""
        return shared_size(self.total, self.privates())

    def never_fits(self, node_id: str, demand: Resources, *, private: bool) -> str:
        """Return why `demand` can never be held at `node_id`, or "" if one day it may.

        Capacity that is only down for now does not count against a request.
        """
        if not demand.fits_in(self.largest):
            return f"asks for {demand}, but the largest host has {self.largest}"
        path = self.path(node_id)
        if not path:
            return ""  # its project came a moment ago
        if private:
            owned = next((n.private for n in path if n.private is not None), NOTHING)
            bounded = Resources.of({n: a for n, a in demand.items() if self.is_limited(n)})
            if not bounded.fits_in(owned):
                return f"asks for {bounded}, but the private quota is {owned}"
            owner = next((n for n in path if n.private is not None), None)
            if owner is not None and owner.max_servers == 0:
                return "asks for a server, but the private quota holds none"
            return ""
        for node in path:
            if node.borrow_limit is not None and _above(demand, node.borrow_limit):
                return f"asks for {demand}, but {node.node_id} may borrow {node.borrow_limit}"
        size = shared_size(self.installed, self.privates())
        lent = total(
            n.private for n in self.nodes if n.private is not None and n.lend_limit != NOTHING
        )
        if not size.shortfall and not demand.fits_in(size.shared + lent):
            return f"asks for {demand}, but the whole shared quota is {size.shared + lent}"
        return ""

    def path(self, node_id: str) -> list[QuotaNode]:
        """Return the nodes from `node_id` up to the root; none when it is unknown."""
        by_id = {node.node_id: node for node in self.nodes}
        path, above = [], by_id.get(node_id)
        while above is not None:
            path.append(above)
            above = by_id.get(above.parent_id) if above.parent_id is not None else None
        return path


def _above(demand: Resources, limit: Resources) -> bool:
    """Tell whether `demand` exceeds `limit` in a class that the limit names."""
    return any(demand.get(name, 0) > amount for name, amount in limit.items())


@dataclass(frozen=True, slots=True)
class Held:
    """What one node holds itself, apart by quota; the sum of demands, never a counter.

    private_servers  how many servers `private` is
    """

    node_id: str
    private: Resources = NOTHING
    shared: Resources = NOTHING
    private_servers: int = 0


class QuotaTree:
    """A QuotaState as columns: n nodes, r resource classes; made once for each state.

    row           node_id -> row; parents come before their children
    parent        row above, -1 for the root
    owner         row of the nearest node, itself included, that owns a private quota
    private       shape (n, r)
    max_servers   shape (n,), most servers on the private quota, UNLIMITED where nothing bounds
    borrow_limit  shape (n, r), UNLIMITED where nothing bounds
    lend_limit    shape (n, r), likewise
    shared        shape (r,), what no project owns
    limited       shape (r,), whether a private quota bounds the class
    disabled      the private quotas exceed the cloud
    lends         some owner lends
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
        size = state.size()
        self.shared = self.amounts(size.shared)
        self.limited: Bools = np.array([state.is_limited(name) for name in resource_classes], bool)
        self.disabled = bool(size.shortfall)
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
        """Return the rows on the path of `node` that limit what is borrowed."""
        return [above for above in self.path(node) if self._bounds[above]]

    @property
    def bounded(self) -> bool:
        """Tell whether anything is limited in what it borrows."""
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
    """The accounting of one round: it tells what fits, and is told what the round decides.

    private_used     shape (n, r), what each owner holds on its private quota
    private_servers  shape (n,), how many servers that is
    shared_used      shape (n, r), what each node and all below it hold on the shared quota
    pool             shape (r,), shared + Σ lendable(children of root)
    """

    def __init__(self, tree: QuotaTree, held: Iterable[Held] = ()) -> None:
        self.tree = tree
        self.private_used = np.zeros_like(tree.private)
        self.private_servers = np.zeros_like(tree.max_servers)
        self.shared_used = np.zeros_like(tree.private)
        for one in held:
            node = tree.row.get(one.node_id, 0)
            self.private_used[tree.owner[node]] += tree.amounts(one.private)
            self.private_servers[tree.owner[node]] += one.private_servers
            self.shared_used[tree.path(node)] += tree.amounts(one.shared)
        self.pool = self._pool()

    def copy(self) -> "QuotaBook":
        """Return an accounting of the same that may be used up apart."""
        other = copy(self)
        other.private_used, other.shared_used = self.private_used.copy(), self.shared_used.copy()
        other.private_servers = self.private_servers.copy()
        return other

    def _pool(self) -> Ints:
        """What no project owns and what is lent, less what private servers take unbounded."""
        unbounded = np.where(self.tree.limited, 0, self.private_used.sum(axis=0))
        pool: Ints = self.tree.shared + self.lendable() - unbounded
        return pool

    def lendable(self) -> Ints:
        """Return Σ lendable(children of root), shape (r,): what owners lend to the pool now."""
        tree = self.tree
        if not tree.lends:
            return np.zeros(len(tree.resource_classes), dtype=np.int64)
        offer = np.maximum(tree.private - self.private_used, 0)
        offer[0] = 0
        for node in range(len(tree.parent) - 1, 0, -1):
            offer[tree.parent[node]] += np.minimum(tree.lend_limit[node], offer[node])
        lent: Ints = offer[0]
        return lent

    def pool_free(self) -> Ints:
        """Return what the pool still has, shape (r,); negative when it shrank below its use."""
        free: Ints = self.pool - self.shared_used[0]
        return free

    def room_below_limits(self) -> Ints:
        """Return, shape (n, r), how much each node may still borrow under all limits above it."""
        limit = self.tree.borrow_limit
        room = np.where(limit < UNLIMITED, limit - self.shared_used, UNLIMITED)
        for node in range(1, len(room)):
            room[node] = np.minimum(room[node], room[self.tree.parent[node]])
        return room

    def blocks_shared(self, node: int, demand: Ints) -> Reason | None:
        """Return the bound that keeps `demand` of `node` off the shared quota, None if it fits."""
        asked, tree = demand > 0, self.tree
        for above in tree.bounds_of(node):
            limit = tree.borrow_limit[above]
            beyond = demand > limit - self.shared_used[above]
            if (asked & (limit < UNLIMITED) & beyond).any():
                return Reason.USER_LIMIT if above == node else Reason.PROJECT_BORROW_LIMIT
        if (asked & (demand > self.pool_free())).any():
            return Reason.SHARED_QUOTA_DISABLED if self.shared_disabled else Reason.NO_FREE_QUOTA
        return None

    @property
    def shared_disabled(self) -> bool:
        """Tell whether there is no shared quota at all: a shortfall, and nobody lends."""
        return self.tree.disabled and not self.pool.any()

    def private_room(self, owner: int | Ints) -> Ints:
        """Return what owners still have of their private quota, a row for each; UNLIMITED in a
        class that it does not bound."""
        tree = self.tree
        room = tree.private[owner] - self.private_used[owner]
        return np.where(tree.limited, room, UNLIMITED)

    def server_room(self, owner: int | Ints) -> Ints:
        """Return how many servers more the private quotas of owners may hold."""
        room: Ints = self.tree.max_servers[owner] - self.private_servers[owner]
        return room

    def blocks_private(self, node: int, demand: Ints, servers: int = 1) -> Reason | None:
        """Return what keeps `demand` of `node` off its private quota, None if it fits.

        servers   0 for one that is there already and wants more
        AWAITING_EXPIRY: the quota is there, but part of it is lent and in use.
        """
        tree, asked = self.tree, demand > 0
        owner = tree.owner[node]
        if (asked & (demand > self.private_room(owner))).any():
            return Reason.NO_FREE_QUOTA
        if servers > self.server_room(owner):
            return Reason.NO_FREE_QUOTA
        if not tree.lends:
            return None
        self.private_used[owner] += demand
        shrunk = self._pool()
        self.private_used[owner] -= demand
        if ((shrunk < self.pool) & (self.shared_used[0] > shrunk)).any():
            return Reason.AWAITING_EXPIRY
        return None

    def hold_shared(self, node: int, demand: Ints) -> None:
        """Account `demand` on the pool, at every node of the path."""
        self.shared_used[self.tree.path(node)] += demand

    def release_shared(self, node: int, demand: Ints) -> None:
        """Give `demand` back to the pool, at every node of the path."""
        self.shared_used[self.tree.path(node)] -= demand

    def hold_private(self, node: int, demand: Ints) -> None:
        """Account a server on the private quota, which may shrink what is lent."""
        self.private_used[self.tree.owner[node]] += demand
        self.private_servers[self.tree.owner[node]] += 1
        if self.tree.lends or not self.tree.limited.all():
            self.pool = self._pool()
