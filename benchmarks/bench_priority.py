"""Every term of the priority of 50,000 and of a million waiting requests, each unlike any other.

The baseline is the time that a real Slurm took for 50,000 pending jobs with all factors and two
TRES weights on one slow machine with two processors (22.05.8, recorded): 29-77 ms. Here too every
request is computed: each is a class of its own, the worst case; equal requests cost nothing more.
"""

import sys
from array import array
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Figures, show, timed_s
from synergy.core import priority
from synergy.core.model import OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.priority import Scales, Weights
from synergy.core.queue import WaitingQueue
from synergy.core.quota import QuotaBook, QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Snapshot, weighted_terms

USERS = 500
NOW_S = 2e9
SLURM_MS = [29.0, 77.0]
EVERY = Weights(
    age=1000, fairshare=10_000, size=3000, partition=2000, qos=5000, association=700,
    tres={"VCPU": 1000.0, "MEMORY_MB": 2000.0},
)  # fmt: skip
SCALES = Scales(
    qos_points={"normal": 0, "high": 100}, partition_points={"default": 1, "az1": 5, "az2": 7}
)


def snapshot_of(count: int) -> Snapshot:
    """Return a queue of `count` classes with one member each."""
    queue, rng = WaitingQueue(), np.random.default_rng(1)
    ids, ages_s = rng.bytes(16 * count), rng.random(count) * 1e6
    for number in range(count):
        kind = RequestClass(
            association_id=number % USERS,
            demand=Resources.of(VCPU=1 + number % 16, MEMORY_MB=512 * (1 + number % 64)),
            quota=QuotaKind.SHARED,
            on_private_full=OnPrivateFull.QUEUE,
            qos=("normal", "high")[number % 2],
            nice=number // USERS % 1000,
            constraints=(("availability_zone", ("az1", "az2", "az3")[number % 3]),),
        )
        one = ids[16 * number : 16 * number + 16]
        queue.load(number, kind, one, array("d", [NOW_S - ages_s[number]]))
    waiting = queue.snapshot()
    capacity = Resources.of(VCPU=100_000, MEMORY_MB=10**9)
    nodes = (QuotaNode(node_id="root", parent_id=None),)
    state = QuotaState(total=capacity, installed=capacity, hosts=(capacity,), nodes=nodes)
    return Snapshot(
        waiting=waiting,
        at_s=NOW_S,
        fairshare=rng.random(USERS),
        points=np.arange(USERS, dtype=float),
        highest_points=USERS - 1.0,
        leaf=np.zeros(USERS, dtype=np.int64),
        suspended=np.zeros(USERS, dtype=bool),
        book=QuotaBook(QuotaTree(state, waiting.resource_classes)),
        demand=waiting.demand,
        site=rng.random(count) * 100,
    )


def measure(count: int) -> Figures:
    snapshot = snapshot_of(count)
    return {
        "requests": count,
        "priorities_s": timed_s(
            lambda: priority.total(weighted_terms(snapshot, EVERY, SCALES)), times=15
        ),
    }


if __name__ == "__main__":
    small, large = measure(50_000), measure(1_000_000)
    show({
        "benchmark": "priority",
        "baseline": "real Slurm's recorded time for 50,000 jobs, 29-77 ms",
        "slurm_50000_ms": SLURM_MS,
        "sizes": [small, large],
        "ratio_to_slurms_best": small["priorities_s"]["median"] * 1e3 / SLURM_MS[0],
        "ratio_of_times_50k_to_1M":
            large["priorities_s"]["median"] / small["priorities_s"]["median"],
    })  # fmt: skip
