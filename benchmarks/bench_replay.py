"""A log replayed by the function that decides, beside the plainest replay of the same log.

The baseline knows one kind of resource and nothing of quotas, users or reasons: it says what the
schedule alone costs in plain Python. Both must give the same starts, job by job.

usage: bench_replay.py [LOG.swf[.gz] PROCESSORS]
without a log, 20,000 jobs are made up: exponential gaps, sizes and run times, 85 % load.
"""

import random
import sys
import time
from bisect import insort
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Figures, show
from synergy.core.rounds import Discipline
from synergy.sim import forward, swf
from synergy.sim.records import Replay, lifetime_s
from synergy.sim.swf import Job, Workload

JOBS, PROCESSORS, LOAD, TIMES = 20_000, 100, 0.85, 3


def made_up(count: int) -> Workload:
    """Return a log of `count` jobs, always the same."""
    rng, now_s, jobs = random.Random(1), 0.0, []
    for number in range(1, count + 1):
        size = min(PROCESSORS, 1 + int(rng.expovariate(1 / 6)))
        run_s = 1 + int(rng.expovariate(1 / 4000))
        now_s += rng.expovariate(LOAD * PROCESSORS / (6.5 * 4000))
        asked_s = run_s + int(rng.expovariate(1 / 4000))
        jobs.append(
            Job(
                number=number, submit_s=float(int(now_s)), run_s=float(run_s), vcpus=size,
                requested_s=float(asked_s), memory_mb=None, user=f"{number % 50}",
                group=f"{number % 7}",
            )
        )  # fmt: skip
    return Workload(tuple(jobs), {})


def plain(jobs: tuple[Job, ...], processors: int, *, passing: bool) -> dict[int, float]:
    """Return the starts of FIFO, or of EASY, by position in the log."""
    starts: dict[int, float] = {}
    free, coming = processors, 0
    ends: list[tuple[float, int]] = []  # of what runs, when it really ends
    limits: list[tuple[float, int]] = []  # and when it ends at the latest
    queue: list[int] = []

    def begin(place: int, now_s: float) -> None:
        nonlocal free
        job = jobs[place]
        starts[place], free = now_s, free - job.vcpus
        insort(ends, (now_s + min(job.run_s, lifetime_s(job)), place))
        insort(limits, (now_s + lifetime_s(job), place))

    while coming < len(jobs) or ends:
        arrival_s = jobs[coming].submit_s if coming < len(jobs) else float("inf")
        now_s = min(arrival_s, ends[0][0] if ends else float("inf"))
        while ends and ends[0][0] <= now_s:
            _, place = ends.pop(0)
            free += jobs[place].vcpus
            limits.remove((starts[place] + lifetime_s(jobs[place]), place))
        while coming < len(jobs) and jobs[coming].submit_s <= now_s:
            queue.append(coming)
            coming += 1
        while queue and jobs[queue[0]].vcpus <= free:
            begin(queue.pop(0), now_s)
        if not (queue and passing and free):
            continue
        room, reserved_s = free - jobs[queue[0]].vcpus, now_s
        for limit_s, place in limits:
            if room >= 0 and limit_s > reserved_s:
                break
            room, reserved_s = room + jobs[place].vcpus, limit_s
        for place in list(queue[1:]):
            size = jobs[place].vcpus
            in_time = now_s + lifetime_s(jobs[place]) <= reserved_s
            if size <= free and (in_time or size <= room):
                room -= 0 if in_time else size
                queue.remove(place)
                begin(place, now_s)
    return starts


def best_s(run: Callable[[], object]) -> float:
    """Return the least processor time of some runs."""
    found = []
    for _ in range(TIMES):
        began_s = time.process_time()
        run()
        found.append(time.process_time() - began_s)
    return min(found)


def measure(workload: Workload, processors: int) -> Figures:
    """Return the processor time of each engine and their ratio, by policy."""
    jobs, found = workload.jobs, {}

    def replayed(policy: str, order: str) -> Replay:
        return forward.run(workload, vcpus=processors, discipline=policy, order=order)

    for policy in (Discipline.FIFO, Discipline.EASY):
        passing = policy is Discipline.EASY
        starts: Mapping[int, float] = plain(jobs, processors, passing=passing)
        same = [one.start_s for one in replayed(policy, "submit").records]
        assert same == [starts[place] for place in range(len(jobs))], f"{policy}: starts differ"
        plain_s = best_s(partial(plain, jobs, processors, passing=passing))
        core_s = best_s(partial(replayed, policy, "submit"))
        found[policy.value] = {"plain_s": plain_s, "core_s": core_s, "ratio": core_s / plain_s}
    core_s = best_s(lambda: replayed("easy", "multifactor"))
    plain_s = found["easy"]["plain_s"]
    found["easy_multifactor"] = {"plain_s": plain_s, "core_s": core_s, "ratio": core_s / plain_s}
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        log, count = swf.read(sys.argv[1], skip_bad_lines=True), int(sys.argv[2])
        kept = tuple(job for job in log.jobs if job.run_s > 0 and job.vcpus <= count)
        log = Workload(kept, log.skipped)
    else:
        log, count = made_up(JOBS), PROCESSORS
    show({
        "benchmark": "replay",
        "baseline": "the plainest replay of the same log, in plain Python",
        "jobs": len(log.jobs),
        "by_policy": measure(log, count),
    })  # fmt: skip
