"""One round over a million queued requests, and over a thousand: time, memory, growth.

5,000 associations (100 projects of 50 users) ask for 50 shapes, so up to 250,000 classes; 20,000
servers hold most of the pool, and the policy is EASY: those that do not fit wait for their ends. A
round is everything from new usage to the plan: fair-share factors, the snapshot, priorities,
decisions.
"""

import random
import sys
from array import array
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import ASSOCIATIONS, SHAPES, Figures, resident_bytes, show, timed_s
from synergy.core import fairshare, shares
from synergy.core.model import OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.queue import WaitingQueue
from synergy.core.quota import QuotaBook, QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import NO_FACTS, KnownEnd, Policy, Snapshot, decide

PROJECTS = 100
NOW_S = 2e9
ENDS, FREED = 19_999, 5  # servers and their VCPU: of 100,000 are 5 free, too few for most


def share_tree() -> shares.ShareTree:
    nodes = [shares.ShareNode("root", None, 1)]
    nodes += [shares.ShareNode(f"p{n}", "root", 1 + n % 7) for n in range(PROJECTS)]
    nodes += [
        shares.ShareNode(f"u{n}", f"p{n % PROJECTS}", 1 + n % 3, True) for n in range(ASSOCIATIONS)
    ]
    return shares.build(nodes)


def quota_tree() -> QuotaTree:
    capacity = Resources.of(VCPU=100_000, MEMORY_MB=10**9)
    nodes = [QuotaNode(node_id="root", parent_id=None)]
    nodes += [QuotaNode(node_id=f"p{n}", parent_id="root") for n in range(PROJECTS)]
    nodes += [QuotaNode(node_id=f"u{n}", parent_id=f"p{n % PROJECTS}") for n in range(ASSOCIATIONS)]
    state = QuotaState(total=capacity, installed=capacity, hosts=(capacity,), nodes=tuple(nodes))
    return QuotaTree(state, ("MEMORY_MB", "VCPU"))


def filled(count: int, rng: random.Random) -> WaitingQueue:
    """Return a queue of `count` requests, spread evenly over the classes."""
    queue = WaitingQueue()
    classes = min(count, ASSOCIATIONS * SHAPES)
    for number in range(classes):
        shape = (number // ASSOCIATIONS + number) % SHAPES
        kind = RequestClass(
            association_id=number % ASSOCIATIONS,
            demand=Resources.of(VCPU=1 + shape % 16, MEMORY_MB=512 * (1 + shape)),
            quota=QuotaKind.SHARED,
            on_private_full=OnPrivateFull.QUEUE,
        )
        members = count // classes + (number < count % classes)
        queued_at_s = array("d", sorted(NOW_S - rng.random() * 1e6 for _ in range(members)))
        queue.load(number, kind, rng.randbytes(16 * members), queued_at_s)
    return queue


def measure(count: int) -> Figures:
    rng = random.Random(1)
    before = resident_bytes()
    queue = filled(count, rng)
    per_request = (resident_bytes() - before) / count
    tree, quotas = share_tree(), quota_tree()
    numbers = np.random.default_rng(1)
    leaf = np.array([quotas.row[f"u{n}"] for n in range(ASSOCIATIONS)])
    row = {node_id: index for index, node_id in enumerate(tree.node_ids)}
    users = np.array([row[f"u{n}"] for n in range(ASSOCIATIONS)])
    ends = [KnownEnd(NOW_S + 10 * n, 1 + n % PROJECTS, (0, FREED)) for n in range(ENDS)]
    plans = []

    def one_round() -> None:
        usage = np.zeros(len(tree))
        usage[users] = numbers.random(ASSOCIATIONS) * 1e6
        factors = fairshare.compute(tree, usage, algorithm=fairshare.Algorithm.FAIR_TREE)
        waiting = queue.snapshot()
        book = QuotaBook(quotas)
        book.shared_used[0] = [0, FREED * ENDS]
        snapshot = Snapshot(
            waiting=waiting,
            at_s=NOW_S,
            fairshare=factors.fairshare[users],
            leaf=leaf,
            suspended=np.zeros(ASSOCIATIONS, dtype=bool),
            book=book,
            demand=waiting.demand,
            points=np.zeros(ASSOCIATIONS),
            highest_points=0.0,
            ends=ends,
        )
        plans.append(decide(snapshot, NO_FACTS, Policy()))

    one_round()
    round_s = timed_s(one_round, times=15)
    return {
        "queued": len(queue),
        "classes": len(plans[-1].taken),
        "decisions": len(plans[-1].decisions),
        "round_s": round_s,
        "resident_bytes_per_request": per_request,
    }


if __name__ == "__main__":
    small, large = measure(1_000), measure(1_000_000)
    growth = large["round_s"]["median"] / small["round_s"]["median"]
    del small["resident_bytes_per_request"]  # too few to tell from the interpreter's own
    show({
        "benchmark": "round",
        "baseline": "the round over 1,000 queued requests",
        "small": small,
        "large": large,
        "ratio_of_rounds": growth,
        "ratio_of_queues": 1000.0,
    })  # fmt: skip
