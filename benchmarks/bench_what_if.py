"""What if over a living queue: 10,000 waiting, run to its end before and after.

The aim is under 3 seconds.
"""

import random
import sys
import time
from math import inf

import numpy as np

from synergy.core import courses, shares
from synergy.core.accounts import project_node, user_node
from synergy.core.fairshare import Algorithm
from synergy.core.foreseen import ForeseenUsage
from synergy.core.model import OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.quota import QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Discipline, Policy
from synergy.core.rounds.timeline import Arrival, LiveState

WAITING, PROJECTS, USERS, VCPUS = 10_000, 20, 100, 2000


def world(discipline: Discipline, raw: int, count: int) -> courses.World:
    rng = random.Random(1)
    project_of = {user: f"p{user % PROJECTS}" for user in range(1, USERS + 1)}
    whole = Resources.of(VCPU=VCPUS, MEMORY_MB=VCPUS * 4096)
    nodes = [QuotaNode(node_id="root", parent_id=None)]
    nodes += [QuotaNode(node_id=project_node(f"p{n}"), parent_id="root") for n in range(PROJECTS)]
    nodes += [
        QuotaNode(node_id=user_node(user), parent_id=project_node(name))
        for user, name in project_of.items()
    ]
    tree = QuotaTree(
        QuotaState(total=whole, installed=whole, hosts=(whole,), nodes=tuple(nodes)),
        ("MEMORY_MB", "VCPU"),
    )
    share = shares.build(
        [
            shares.ShareNode("root", None, 1),
            *(
                shares.ShareNode(project_node(f"p{n}"), "root", raw if n == 0 else 1)
                for n in range(PROJECTS)
            ),
            *(
                shares.ShareNode(user_node(user), project_node(name), 1, True)
                for user, name in project_of.items()
            ),
        ]
    )
    row = {node_id: place for place, node_id in enumerate(share.node_ids)}
    rows = np.array([-1, *(row[user_node(user)] for user in range(1, USERS + 1))])
    waiting = []
    for number in range(count):
        vcpus = rng.choice([1, 2, 4, 8, 32])
        kind = RequestClass(
            association_id=rng.randint(1, USERS),
            demand=Resources.of(VCPU=vcpus, MEMORY_MB=vcpus * 2048),
            quota=QuotaKind.SHARED,
            on_private_full=OnPrivateFull.QUEUE,
            ttl_s=rng.choice([3600, 14_400, 86_400]),
        )
        waiting.append(
            Arrival(
                at_s=-float(count - number),
                request_id=f"00000000-0000-0000-0000-{number:012x}",
                kind=kind,
                held_s=float(kind.ttl_s),
            )
        )
    usage = ForeseenUsage(
        share, rows, np.zeros(len(share)), np.zeros(USERS + 1),
        at_s=0.0, half_life_s=7 * 86_400.0, algorithm=Algorithm.FAIR_TREE,
    )  # fmt: skip
    return courses.World(
        tree=tree,
        policy=Policy(discipline=discipline, round_size=count + 1, max_reserved=1000),
        begin=LiveState(at_s=0.0, waiting=waiting),
        held=(),
        usage=usage,
        capacity=float(VCPUS),
    )


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else WAITING
    for discipline in (Discipline.EASY, Discipline.FIFO, Discipline.GREEDY):
        began_s, busy_s = time.perf_counter(), time.process_time()
        was, will = (
            courses.run(world(discipline, raw, count), lambda demand: float(demand.get("VCPU", 0)))
            for raw in (1, 10)
        )
        found = courses.changes(was, will)
        effect = courses.effect(found)
        took_s, busy_s = time.perf_counter() - began_s, time.process_time() - busy_s
        ends = max(will.last_s, was.last_s)
        assert ends < inf
        print(
            f"{discipline.value:8} {count:,} waiting, to their end twice in {took_s:.2f} s "
            f"({busy_s:.2f} s of processor time): "
            f"{effect.earlier:,} earlier, {effect.later:,} later"
        )


if __name__ == "__main__":
    main()
