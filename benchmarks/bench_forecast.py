"""Forecasts of a long queue, drawn in a process of their own beside rounds.

10,000 wait for 2,000 VCPU, 31 samples each. The aims: under 30 s, the 99th percentile of a round at
most 1.2 times what it is without, and a stored forecast read in under 20 ms.
"""

import random
import resource
import sys
import threading
import time
from array import array
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Figures, show
from synergy.core.accounts import claim_of, project_node, user_node
from synergy.core.events import FactorsChanged
from synergy.core.forecasts.correction import Correction
from synergy.core.forecasts.drawing import Held, Line, Question, Queue
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.record import Recorded
from synergy.core.ids import ID_BYTES
from synergy.core.model import OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.queue import WaitingQueue
from synergy.core.quota import QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import NO_FACTS, Policy, build_snapshot, decide, in_order
from synergy.managers.forecast.drawers import ProcessDrawer
from synergy.sim.engine import temporary_store

WAITING, SAMPLES = 10_000, 31
PROJECTS, USERS, VCPUS, NOW_S = 20, 100, 2000, 2e9
PACE_S = 0.02  # between two rounds


def cloud() -> QuotaState:
    whole = Resources.of(VCPU=VCPUS, MEMORY_MB=VCPUS * 4096)
    nodes = [QuotaNode(node_id="root", parent_id=None)]
    nodes += [QuotaNode(node_id=project_node(f"p{n}"), parent_id="root") for n in range(PROJECTS)]
    nodes += [
        QuotaNode(node_id=user_node(user), parent_id=project_node(f"p{user % PROJECTS}"))
        for user in range(1, USERS + 1)
    ]
    return QuotaState(total=whole, installed=whole, hosts=(whole,), nodes=tuple(nodes))


def kind_of(rng: random.Random) -> RequestClass:
    vcpus = rng.choice([1, 2, 4, 8, 32])
    return RequestClass(
        association_id=rng.randint(1, USERS),
        demand=Resources.of(VCPU=vcpus, MEMORY_MB=vcpus * 2048),
        quota=QuotaKind.SHARED,
        on_private_full=OnPrivateFull.QUEUE,
        ttl_s=rng.choice([3600, 14_400, 86_400]),
    )


def project_of(kind: RequestClass) -> str:
    return f"p{kind.association_id % PROJECTS}"


def question(count: int, samples: int) -> Question:
    rng = random.Random(1)
    ids: dict[RequestClass, list[int]] = {}
    for number in range(1, count + 1):
        ids.setdefault(kind_of(rng), []).append(number)
    held, left = list[Held](), VCPUS
    while left > 32:
        kind = kind_of(rng)
        left -= int(kind.demand.get("VCPU", 0))
        began_s = NOW_S - rng.random() * kind.ttl_s
        held.append(
            Held(
                key=10**9 + len(held), kind=kind, project_id=project_of(kind), began_s=began_s,
                known_end_s=began_s + kind.ttl_s,
            )
        )  # fmt: skip
    lifetimes = Lifetimes()
    for _ in range(5000):
        kind = kind_of(rng)
        lifetimes.learn(kind, project_of(kind), kind.ttl_s * rng.random())
    factors = np.random.default_rng(1).random(USERS + 1)
    queue = Queue(
        at_s=NOW_S,
        state=cloud(),
        policy=Policy(round_size=count + 1),
        lines=[
            Line(
                kind=kind,
                project_id=project_of(kind),
                ids=b"".join(UUID(int=one).bytes for one in some),
                queued_at_s=array("d", (NOW_S - count + one for one in some)),
            )
            for kind, some in ids.items()
        ],
        held=held,
        suspended=frozenset(),
        factors=FactorsChanged(factors, np.zeros(USERS + 1), 0.0),
    )
    wanted = frozenset(str(UUID(int=number)) for number in range(1, count + 1))
    return Question(
        queue=queue, wanted=wanted, lifetimes=lifetimes, correction=Correction(), samples=samples
    )


def rounds_of(asked: Question) -> Callable[[], float]:
    """Return what decides a round over the queue, and says how long that took."""
    queue, waits = asked.queue, WaitingQueue()
    for number, line in enumerate(queue.lines):
        waits.load(number, line.kind, line.ids, array("d", line.queued_at_s))
    tree = QuotaTree(queue.state, ("MEMORY_MB", "VCPU"))
    claims = [
        claim_of(one.kind.association_id, one.kind.quota, one.kind.demand, 1) for one in queue.held
    ]
    ends = in_order(
        (
            one.known_end_s,
            tree.row[user_node(one.kind.association_id)],
            tree.amounts(one.kind.demand),
        )
        for one in queue.held
    )

    def decided_s() -> float:
        began_s = time.perf_counter()
        snapshot = build_snapshot(
            waiting=waits.snapshot(), at_s=NOW_S, tree=tree, claims=claims,
            factors=queue.factors, ends=ends,
        )  # fmt: skip
        decide(snapshot, NO_FACTS, Policy())
        return time.perf_counter() - began_s

    return decided_s


def p99_s(decided_s: Callable[[], float], go_on: Callable[[int], bool]) -> Figures:
    taken_s: list[float] = []
    while go_on(len(taken_s)):
        taken_s.append(decided_s())
        time.sleep(PACE_S)
    low, high = np.quantile(taken_s, [0.5, 0.99])
    return {"rounds": len(taken_s), "median_s": float(low), "p99_s": float(high)}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else WAITING
    samples = int(sys.argv[2]) if len(sys.argv) > 2 else SAMPLES
    asked, drawer = question(count, samples), ProcessDrawer()
    decided_s = rounds_of(asked)
    with temporary_store() as store:
        drawer.ask(question(10, 1), 60.0)  # so that the process runs
        while drawer.busy:
            time.sleep(0.05)
            list(drawer.parts())
        without = p99_s(decided_s, lambda done: done < 400)
        took_s: list[float] = []

        def forecast() -> None:
            began_s = time.monotonic()
            drawer.ask(asked, 600.0)
            while drawer.busy:
                time.sleep(0.2)
                for part in drawer.parts():
                    with store.writing() as uow:
                        uow.forecasts.add([
                            Recorded(
                                request_id=one.request_id, project_id=one.project_id,
                                made_at=datetime.fromtimestamp(NOW_S, UTC), raw=one.raw,
                                published=one.published, past_p50_s=0.0, past_p90_s=0.0,
                            )
                            for one in part
                        ])  # fmt: skip
                        uow.commit()
            took_s.append(time.monotonic() - began_s)

        thread = threading.Thread(target=forecast)
        thread.start()
        beside = p99_s(decided_s, lambda _: thread.is_alive())
        thread.join()
        reads_s = []
        for line in asked.queue.lines[:200]:
            request_id = str(UUID(bytes=line.ids[:ID_BYTES]))
            began_s = time.perf_counter()
            with store.reading() as uow:
                assert uow.forecasts.of([request_id])
            reads_s.append(time.perf_counter() - began_s)
    drawer.close()
    drew = resource.getrusage(resource.RUSAGE_CHILDREN)
    show({
        "benchmark": "forecast",
        "waiting": count,
        "samples": samples,
        "forecasts_s": took_s[0],
        "processor_s": drew.ru_utime + drew.ru_stime,  # of the process that draws, its start in it
        "rounds_without": without,
        "rounds_beside": beside,
        "ratio_of_p99": beside["p99_s"] / without["p99_s"],
        "ratio_of_medians": beside["median_s"] / without["median_s"],
        "read_p99_s": float(np.quantile(reads_s, 0.99)),
    })  # fmt: skip


if __name__ == "__main__":
    main()
