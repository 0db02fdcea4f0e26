"""What can never fit, whatever comes free: a request for it is refused, not queued for ever.

Why: intake asks about one class of requests, a round about all of them at once, and both must say
the same. Capacity that is only down for now does not count against a request, nor does a resource
class in which the quotas exceed the cloud: whoever set them may set them right. Must not know what
is held.
"""

import numpy as np

from synergy.core.model import RequestClass, Resources
from synergy.core.queue import ON_FULL, QUOTAS, Waiting, may_borrow, may_own
from synergy.core.quota import UNLIMITED, QuotaTree
from synergy.core.shares import Bools, Ints


class Ceilings:
    """The most that anything can ever be: n nodes, r resource classes, h different hosts.

    hosts    shape (h, r), capacity of single hosts
    private  shape (n, r), the private quota that a node uses
    """

    def __init__(self, tree: QuotaTree) -> None:
        self.tree = tree
        hosts = [tree.amounts(one) for one in tree.state.hosts]
        self.hosts: Ints = np.array(hosts, dtype=np.int64).reshape(
            len(hosts), len(tree.resource_classes)
        )
        self.private = np.where(tree.limited, tree.private[tree.owner], UNLIMITED)

    def never(self, leaf: Ints, demand: Ints, *, may_own: Bools, may_borrow: Bools) -> Bools:
        """Tell, shape (c,), which classes of requests can never start.

        leaf        shape (c,), rows of the tree; nothing but the hosts counts against the root's,
                    where users stand whom the last look at the cloud did not know
        demand      shape (c, r)
        may_own     shape (c,), whether they may use the private quota
        may_borrow  shape (c,), whether they may use the shared quota
        """
        asked = demand > 0
        if not len(self.hosts):
            return np.zeros(len(demand), dtype=np.bool_)  # nobody told what there is
        no_host = np.ones(len(demand), dtype=np.bool_)
        for host in self.hosts:
            no_host &= (demand > host).any(axis=1)
        servers = self.tree.max_servers[np.array(self.tree.owner)[leaf]]
        not_owned = (asked & (demand > self.private[leaf])).any(axis=1) | (servers == 0)
        limit = np.minimum(self.tree.borrow_ceiling[leaf], self.tree.pool_ceiling)
        not_borrowed = (asked & (demand > limit)).any(axis=1)
        bounded = (~may_own | not_owned) & (~may_borrow | not_borrowed)
        found: Bools = no_host | (bounded & (leaf > 0))
        return found

    def why(self, node_id: str, kind: RequestClass) -> str:
        """Return why a class can never be held, by whichever quota it may use, or "" if it may."""
        demand = kind.demand
        row = self.tree.row.get(node_id, 0)
        if not len(self.hosts):
            return ""
        why = self._why_no_host(demand)
        if why or row == 0:
            return why
        amounts = self.tree.amounts(demand)
        if kind.may_own:
            why = self._why_not_owned(row, amounts)
        if kind.may_borrow and (why or not kind.may_own):
            why = self._why_not_borrowed(row, amounts, demand)
        return why

    def _why_no_host(self, demand: Resources) -> str:
        hosts = self.tree.state.hosts
        if any(demand.fits_in(host) for host in hosts):
            return ""
        missing = self.tree.state.no_host_has(demand)
        if missing:
            return f"asks for {missing}, but no host has {' or '.join(missing)}"
        largest = Resources.of({n: max(host.get(n, 0) for host in hosts) for n in demand})
        if demand.fits_in(largest):
            return f"asks for {demand}, but no single host has all of it"
        return f"asks for {demand}, but the largest host has {largest}"

    def _why_not_owned(self, row: int, amounts: Ints) -> str:
        tree = self.tree
        if ((amounts > 0) & (amounts > self.private[row])).any():
            bounded = tree.resources(np.where(tree.limited, amounts, 0))
            owned = tree.resources(tree.private[tree.owner[row]])
            return f"asks for {bounded}, but the private quota is {owned}"
        if tree.max_servers[tree.owner[row]] == 0:
            return "asks for a server, but the private quota holds none"
        return ""

    def _why_not_borrowed(self, row: int, amounts: Ints, demand: Resources) -> str:
        tree = self.tree
        for node in tree.bounds_of(row):
            if ((amounts > 0) & (amounts > tree.borrow_limit[node])).any():
                limit = tree.state.nodes[node].borrow_limit
                name = tree.state.nodes[node].node_id
                return f"asks for {demand}, but {name} may borrow {limit}"
        asked, ceiling = amounts > 0, tree.pool_ceiling
        if (asked & (amounts > ceiling)).any():
            whole = tree.resources(np.where(asked & (ceiling < UNLIMITED), ceiling, 0))
            return f"asks for {demand}, but the whole shared quota is {whole}"
        return ""


class NeverFits:
    """Which classes of the queue can never start: each is looked at once for a state of the cloud,
    since a round must cost what it decides."""

    def __init__(self, tree: QuotaTree) -> None:
        self.ceilings = Ceilings(tree)
        self._seen = np.zeros(0, dtype=np.bool_)  # by class_id
        self._why: dict[int, str] = {}

    def among(self, waiting: Waiting, leaf: Ints, demand: Ints) -> dict[int, str]:
        """Return the class_ids of the queue that can never start, and why in words.

        leaf    shape (a,), row of the tree by association_id
        demand  shape (s, r), the queue's shapes over the resource classes of the tree
        """
        widest = 1 + int(waiting.class_id.max(initial=0))
        if widest > len(self._seen):
            self._seen = np.append(self._seen, np.zeros(2 * widest - len(self._seen), np.bool_))
        new = np.flatnonzero(~self._seen[waiting.class_id])
        if len(new):
            self._look_at(waiting, new, leaf, demand)
        if not self._why:
            return {}
        present = set(waiting.class_id.tolist())
        return {key: why for key, why in self._why.items() if key in present}

    def _look_at(self, waiting: Waiting, rows: Ints, leaf: Ints, demand: Ints) -> None:
        tree = self.ceilings.tree
        never = rows[
            self.ceilings.never(
                leaf[waiting.association[rows]],
                demand[waiting.shape[rows]],
                may_own=may_own(waiting)[rows],
                may_borrow=may_borrow(waiting)[rows],
            )
        ]
        self._seen[waiting.class_id[rows]] = True
        for row in map(int, never):
            kind = RequestClass(
                association_id=int(waiting.association[row]),
                demand=tree.resources(demand[waiting.shape[row]]),
                quota=QUOTAS[waiting.quota[row]],
                on_private_full=ON_FULL[waiting.on_full[row]],
            )
            node = tree.state.nodes[int(leaf[kind.association_id])].node_id
            self._why[int(waiting.class_id[row])] = self.ceilings.why(node, kind)
