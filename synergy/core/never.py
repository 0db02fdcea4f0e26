"""Finds requests that can never fit, whatever is released: they are refused, not queued for ever.

Why: intake checks one class of requests, a round all classes at once, and both must agree. A host
that is down still counts as capacity here. A resource class whose quotas exceed the cloud never
rules a request out, because the operator may correct the quotas. Must not know what is in use.
"""

import numpy as np

from synergy.core.model import RequestClass, Resources
from synergy.core.queue import ON_FULL, QUOTAS, Waiting, may_borrow, may_own
from synergy.core.quota import UNLIMITED, QuotaTree
from synergy.core.shares import Bools, Ints


class Ceilings:
    """Upper bounds of what can ever be started: n nodes, r resource classes, h different hosts.

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
        """Return, shape (c,), which classes of requests can never start.

        leaf        shape (c,), rows of the tree; the root's row stands for users that the last
                    survey
                    of the cloud did not know, and only the hosts bound these
        demand      shape (c, r)
        may_own     shape (c,), whether they may use the private quota
        may_borrow  shape (c,), whether they may use the shared quota
        """
        requested = demand > 0
        if not len(self.hosts):
            return np.zeros(len(demand), dtype=np.bool_)  # the hosts are not known yet
        no_host = np.ones(len(demand), dtype=np.bool_)
        for host in self.hosts:
            no_host &= (demand > host).any(axis=1)
        servers = self.tree.max_servers[np.array(self.tree.owner)[leaf]]
        not_owned = (requested & (demand > self.private[leaf])).any(axis=1) | (servers == 0)
        limit = np.minimum(self.tree.borrow_ceiling[leaf], self.tree.pool_ceiling)
        not_borrowed = (requested & (demand > limit)).any(axis=1)
        bounded = (~may_own | not_owned) & (~may_borrow | not_borrowed)
        found: Bools = no_host | (bounded & (leaf > 0))
        return found

    def why(self, node_id: str, kind: RequestClass) -> str:
        """Return why a class can never start on any quota that it may use, "" if it can."""
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
        requested, ceiling = amounts > 0, tree.pool_ceiling
        if (requested & (amounts > ceiling)).any():
            whole = tree.resources(np.where(requested & (ceiling < UNLIMITED), ceiling, 0))
            return f"asks for {demand}, but the whole shared quota is {whole}"
        return ""


class NeverFits:
    """The classes of the queue that can never start. Each class is evaluated once per state of the
    cloud, so that a round costs only what it decides."""

    def __init__(self, tree: QuotaTree) -> None:
        self.ceilings = Ceilings(tree)
        self._seen = np.zeros(0, dtype=np.bool_)  # by class_id
        self._why: dict[int, str] = {}

    def among(self, waiting: Waiting, leaf: Ints, demand: Ints) -> dict[int, str]:
        """Return the class_ids of the queue that can never start, and why, in a sentence.

        leaf    shape (a,), row of the tree by association_id
        demand  shape (s, r), the queue's shapes over the resource classes of the tree
        """
        widest = 1 + int(waiting.class_id.max(initial=0))
        if widest > len(self._seen):
            self._seen = np.append(self._seen, np.zeros(2 * widest - len(self._seen), np.bool_))
        new = np.flatnonzero(~self._seen[waiting.class_id])
        if len(new):
            self._evaluate(waiting, new, leaf, demand)
        if not self._why:
            return {}
        present = set(waiting.class_id.tolist())
        return {key: why for key, why in self._why.items() if key in present}

    def _evaluate(self, waiting: Waiting, rows: Ints, leaf: Ints, demand: Ints) -> None:
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
