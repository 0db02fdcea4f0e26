"""Hours of churn in minutes: what grows, and what a service burns while it has nothing to do.

The real service on the embedded cloud and SQLite, driven over REST: servers are created at a steady
rate on a pool that is always full; of those that run some are resized, some deleted, the others
expire; of those that wait some are deleted. Meanwhile memory, threads, descriptors and CPU are read
from /proc. Then everything is deleted. How long the service still works on what the churn left (it
holds forecasts against what came true, and sums up usage) is measured; then CPU while nothing
happens, while Keystone or Nova does not answer, and while another process has locked the database,
with requests waiting.

The slope of a figure is that of the straight line through its second half, so that what is filled
once (caches, pools of threads and connections, the servers that run) is no growth.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
import time
import urllib.error
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import sysconf
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.bench_api import Service
from benchmarks.common import show

TTL_S, BOOT_S, HOSTS = 20, 2, 5
EVERY_S = 5.0  # between two samples
WAITING_AT_REST = 200
BUSY_CORES, LOOK_S, SETTLED_WITHIN_S = 0.05, 15.0, 900.0
# At this rate a pass that comes late ends hundreds: no sign of a wrong clock.
SETTINGS = "[expiry]\nmost_per_pass = 10000\n"
TOLD_EVERY = 6  # samples: progress on standard error
PROJECTS = ("science", "physics", "biology")
# The cloud is in the same process, and its Keystone keeps a token until it expires: with the usual
# hour it grows for an hour.
TOKEN_TTL_S = 120
CLOUD = f"""
boot_s: {BOOT_S}
token_ttl_s: {TOKEN_TTL_S}
hosts:
- {{name: node, count: {HOSTS}, inventory: {{VCPU: 128, MEMORY_MB: 1048576}}}}
flavors:
- {{name: small, vcpus: 1, memory_mb: 1024}}
- {{name: medium, vcpus: 2, memory_mb: 2048}}
- {{name: huge, vcpus: 128, memory_mb: 131072}}
projects:
""" + "".join(
    f"- {{project_id: {name}, name: {name}, users: {{u1: u1, u2: u2, u3: u3, u4: u4}}}}\n"
    for name in PROJECTS
)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a process held and had used at an instant."""

    at_s: float
    rss_bytes: int
    threads: int
    descriptors: int
    cpu_s: float


def processes(pid: int) -> list[Path]:
    """Return the folders below /proc of a process and all below it."""
    children = " ".join(one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/children"))
    below = [one for child in children.split() for one in processes(int(child))]
    return [Path(f"/proc/{pid}"), *below]


class Watch:
    """Reads the figures of a process and those below it from /proc."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.samples: list[Sample] = []

    def sample(self) -> Sample:
        folders = processes(self._pid)
        stats = [(one / "stat").read_text().rpartition(")")[2].split() for one in folders]
        found = Sample(
            at_s=time.monotonic(),
            rss_bytes=sum(int(stat[21]) for stat in stats) * sysconf("SC_PAGE_SIZE"),
            threads=sum(int(stat[17]) for stat in stats),
            descriptors=sum(len(list((one / "fd").iterdir())) for one in folders),
            cpu_s=sum(int(stat[11]) + int(stat[12]) for stat in stats) / sysconf("SC_CLK_TCK"),
        )
        self.samples.append(found)
        return found

    def sample_now_and_then(self) -> None:
        if time.monotonic() < self.samples[-1].at_s + EVERY_S:
            return
        found = self.sample()
        if len(self.samples) % TOLD_EVERY == 0:
            print(
                f"{(found.at_s - self.samples[0].at_s) / 60:5.1f} min  "
                f"{found.rss_bytes / 2**20:7.1f} MiB  {found.threads} threads  "
                f"{found.descriptors} descriptors",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    def cpu_ratio_over(self, seconds: float) -> float:
        """Return which part of a core is used in the next seconds."""
        first = self.sample()
        while (left_s := first.at_s + seconds - time.monotonic()) > 0:
            time.sleep(min(EVERY_S, left_s))
            self.sample()
        last = self.samples[-1]
        return (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)


def growth(samples: list[Sample], name: str) -> dict[str, float]:
    """Return the largest value, the last one, and the slope of the second half."""
    late = samples[len(samples) // 2 :]
    hours = np.array([one.at_s / 3600 for one in late])
    values = np.array([getattr(one, name) for one in late], dtype=np.float64)
    slope = float(np.polyfit(hours - hours[0], values, 1)[0]) if len(late) > 1 else 0.0
    largest = max(getattr(one, name) for one in samples)
    return {"max": largest, "last": float(values[-1]), "slope_per_hour": slope}


class Churn:
    """What users do, second by second."""

    def __init__(self, service: Service, rate_per_s: int) -> None:
        self._service, self._rate_per_s = service, rate_per_s
        self._rng = random.Random(1)
        self._young: deque[tuple[float, str]] = deque()  # when created, and the server
        self._resized: deque[str] = deque()
        self.done: Counter[str] = Counter()
        self.late_s = 0.0

    def run(self, seconds: float, each: Callable[[], object]) -> None:
        """Go on for so many seconds, and call `each` between two of them."""
        began_s = time.monotonic()
        for step in range(int(seconds)):
            self._create()
            self._confirm()
            self._delete_and_resize()
            each()
            ahead_s = began_s + step + 1 - time.monotonic()
            self.late_s = max(self.late_s, -ahead_s)
            time.sleep(max(0.0, ahead_s))

    def _create(self) -> None:
        shares = self._rng.sample(PROJECTS, 2)
        halves = (self._rate_per_s // 2, -(-self._rate_per_s // 2))
        for project, count in zip(shares, halves, strict=True):
            ids = self._service.run(
                "embedded", "create_server", project=project, user=f"u{self._rng.randint(1, 4)}",
                flavor="small", count=count,
                metadata={"quota": "shared", "synergy:ttl_s": str(TTL_S)},
            )  # fmt: skip
            self._young += [(time.monotonic(), one) for one in ids]
            self.done["created"] += len(ids)

    def _delete_and_resize(self) -> None:
        """Of those of ten seconds ago, of which some run and some wait, half are deleted."""
        ripe = []
        while self._young and self._young[0][0] < time.monotonic() - TTL_S / 2:
            ripe.append(self._young.popleft()[1])
        deleted = [one for one in ripe if self._rng.random() < 0.5]
        if deleted:
            answer = self._service.run("embedded", "delete_servers", server_ids=deleted)
            self.done["deleted"] += len(answer["deleted"])
        for one in [one for one in ripe if one not in deleted][:3]:
            if self._asked("resize_server", server_id=one, flavor="medium"):
                self._resized.append(one)

    def _confirm(self) -> None:
        for _ in range(len(self._resized)):
            self._asked("confirm_resize", server_id=self._resized.popleft())

    def _asked(self, command: str, **arguments: Any) -> bool:
        """Ask for what the cloud may refuse: the server may be gone, or not be resized yet."""
        try:
            self._service.run("embedded", command, **arguments)
        except urllib.error.HTTPError as error:
            if error.code >= 500:
                raise
            self.done[f"{command} refused"] += 1
            return False
        self.done[command] += 1
        return True


def wait_for(service: Service, is_so: Callable[[Counter[str]], bool], seconds: float) -> None:
    """Wait until the counts of requests by state are so."""
    ends_s = time.monotonic() + seconds
    while not is_so(Counter(counts := service.run("queue", "counts"))):
        if time.monotonic() > ends_s:
            raise SystemExit(f"the service did not come to rest: {counts}")
        time.sleep(0.5)


def remove_all(service: Service) -> int:
    """Delete every server that waits or runs, and return how many were gone without a word.

    Nova does not tell of a server that is deleted between its hand-over and the conductor's taking
    it: such a request is silent until Synergy asks.
    """
    silent = 0
    while True:
        found = [
            one["id"]
            for state in ("QUEUED", "BUILDING", "ACTIVE")
            for one in service.ask(f"/v1/requests?state={state}&limit=1000")["requests"]
        ]
        if not found:
            return silent
        answer = service.run("embedded", "delete_servers", server_ids=found[:1000])
        if not answer["deleted"]:
            silent = max(silent, len(found))
            service.run("nova", "reconcile")
        time.sleep(0.5)


def settle(watch: Watch) -> dict[str, float]:
    """Wait until the service has done what is left; return how long that took, and its CPU.

    Raises SystemExit when it never comes to rest.
    """
    first = watch.sample()
    while watch.cpu_ratio_over(LOOK_S) > BUSY_CORES:
        if watch.samples[-1].at_s - first.at_s > SETTLED_WITHIN_S:
            raise SystemExit(f"the service still works {SETTLED_WITHIN_S:.0f} s after the churn")
    last = watch.samples[-1]
    return {"seconds": last.at_s - first.at_s, "cpu_s": last.cpu_s - first.cpu_s}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a SQLite file, as another process that hangs would."""
    other = sqlite3.connect(path, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def down(service: Service, **parts: bool) -> Iterator[None]:
    """Let Nova or Keystone answer nothing meanwhile."""
    service.run("embedded", "set_down", **parts)
    try:
        yield
    finally:
        service.run("embedded", "set_down")


def at_rest(service: Service, watch: Watch, database: Path, seconds: float) -> dict[str, float]:
    """Return which part of a core is used while nothing happens, and while others are down."""
    found = {"idle": watch.cpu_ratio_over(seconds)}
    for project in PROJECTS:  # the pool is full for good, and what comes then waits
        create(service, project, 3, flavor="huge")
    wait_for(service, lambda counts: counts["ACTIVE"] == HOSTS, 60)
    create(service, PROJECTS[0], WAITING_AT_REST)
    wait_for(service, lambda counts: counts["QUEUED"] > WAITING_AT_REST, 60)
    found["requests_wait"] = watch.cpu_ratio_over(seconds)
    with down(service, keystone=True):
        found["keystone_down"] = watch.cpu_ratio_over(seconds)
    with down(service, nova=True):
        found["nova_down"] = watch.cpu_ratio_over(seconds)
    with locked(database):
        refused(service)
        found["database_locked"] = watch.cpu_ratio_over(seconds)
    create(service, PROJECTS[1], 5)
    wait_for(service, lambda counts: counts["QUEUED"] > WAITING_AT_REST + 5, 120)
    return found


def refused(service: Service) -> None:
    """Try to change something, of which no record can be written: the API must refuse it."""
    try:
        create(service, PROJECTS[1], 5)
    except urllib.error.HTTPError as error:
        with error:
            if error.code != 503:
                raise
    else:
        raise SystemExit("a change was accepted although the database is locked")


def create(service: Service, project: str, count: int, *, flavor: str = "small") -> None:
    service.run(
        "embedded", "create_server", project=project, user="u1", flavor=flavor, count=count,
        metadata={"quota": "shared"},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="of churn (default: 30)")
    parser.add_argument("--rate", type=int, default=50, help="servers a second (default: 50)")
    parser.add_argument(
        "--rest-s",
        type=float,
        default=60.0,
        help="for each look at a service at rest (default: 60)",
    )
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        service = Service(Path(place), CLOUD, settings=SETTINGS)
        try:
            for project in PROJECTS:
                service.ask("/v1/projects", {
                    "project": project, "ttl_s": 86_400,
                    "max_waiting": 10**6, "max_waiting_per_user": 10**6,
                })  # fmt: skip
            watch = Watch(service.pid)
            churn = Churn(service, parsed.rate)
            began = watch.sample()
            churn.run(parsed.minutes * 60, watch.sample_now_and_then)
            samples = list(watch.samples)
            cpu_ratio = (samples[-1].cpu_s - began.cpu_s) / (samples[-1].at_s - began.at_s)
            counts = service.run("queue", "counts")
            silent = remove_all(service)
            settled = settle(watch)
            rest = at_rest(service, watch, Path(place) / "synergy.sqlite", parsed.rest_s)
            managers = service.ask("/v1/managers")["managers"]
        except urllib.error.HTTPError as error:
            raise SystemExit(
                f"{error}: {error.read().decode()}\n{service.log()[-4000:]}"
            ) from error
        finally:
            service.stop()
    show({
        "benchmark": "soak",
        "baseline": "a service that does nothing: no growth, no CPU",
        "minutes": parsed.minutes,
        "servers_per_s": parsed.rate,
        "done": dict(churn.done),
        "late_s_at_most": churn.late_s,
        "requests_at_the_end_of_churn": counts,
        "gone_without_a_word": silent,
        "settled_after": settled,
        **{name: growth(samples, name) for name in ("rss_bytes", "threads", "descriptors")},
        "cores_used": {"churn": cpu_ratio} | rest,
        "managers_at_the_end": {one["name"]: one["status"] for one in managers},
    })  # fmt: skip


if __name__ == "__main__":
    main()
