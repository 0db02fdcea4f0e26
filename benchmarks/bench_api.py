"""Reads of a service with 100,000 queued requests, alone and while it takes in more.

A real process on the embedded cloud and SQLite; one reader asks over HTTP, each kind of read in
turn. The baseline is the same read while nothing else happens. The scheduler's rounds are timed
with and without readers.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Figures, managers, show

BIN = Path(sys.executable).parent
QUEUED, ARRIVING_PER_S, READS = 100_000, 200, 150
CLOUD = """
hosts:
- {name: node1, count: 4, inventory: {VCPU: 32, MEMORY_MB: 131072}}
flavors:
- {name: small, vcpus: 1, memory_mb: 2048}
- {name: large, vcpus: 32, memory_mb: 65536}
projects:
- {project_id: p, name: p, users: {u1: u1, u2: u2, u3: u3, u4: u4, u5: u5}}
"""
CONF = f"""
[DEFAULT]
cloud = embedded
managers = {managers()}
[database]
connection = sqlite:///synergy.sqlite
keys_file = synergy.keys
[embedded]
cloud_file = cloud.yaml
[api]
port = 0
auth_strategy = none
costly_per_minute = 1000000
"""


class Service:
    """That process."""

    def __init__(self, folder: Path, cloud: str = CLOUD, *, settings: str = "") -> None:
        (folder / "cloud.yaml").write_text(cloud)
        self._conf = folder / "synergy.conf"
        self._conf.write_text(CONF + settings)
        for words in (("keys", "create"), ("db", "upgrade")):
            subprocess.run(
                [BIN / "synergy-manage", "--config-file", self._conf, *words],
                cwd=folder, check=True, capture_output=True,
            )  # fmt: skip
        self._log = folder / "service.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [BIN / "synergy-service", "--config-file", self._conf],
                cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
        told = "the API listens on "
        while told not in self._log.read_text():
            if self._process.poll() is not None:
                raise SystemExit(self._log.read_text())
            time.sleep(0.1)
        self._url = self._log.read_text().partition(told)[2].split()[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        return self._log.read_text()

    def ask(self, path: str, body: Figures | None = None) -> Any:
        request = urllib.request.Request(
            self._url + path, data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def run(self, manager: str, command: str, **arguments: Any) -> Any:
        return self.ask(f"/v1/managers/{manager}/commands/{command}", arguments)["result"]

    def create(self, number: int, count: int, flavor: str = "small") -> None:
        self.run(
            "embedded", "create_server", project="p", user=f"u{number % 5 + 1}", flavor=flavor,
            count=count, metadata={"quota": "shared"},
        )  # fmt: skip

    def waiting(self) -> int:
        counts: dict[str, int] = self.run("queue", "counts")
        return counts.get("QUEUED", 0)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def fill(service: Service) -> None:
    service.ask("/v1/projects", {
        "project": "p", "ttl_s": 86_400, "max_waiting": 10**7, "max_waiting_per_user": 10**7
    })  # fmt: skip
    for number in range(4):
        service.create(number, 1, "large")
    while service.run("queue", "counts").get("ACTIVE", 0) < 4:
        time.sleep(0.5)
    for number in range(QUEUED // 1000):
        service.create(number, 1000)
        while service.waiting() < number * 1000:
            time.sleep(0.1)
    while service.waiting() < QUEUED:
        time.sleep(0.2)


def measured(service: Service, reads: dict[str, str]) -> Figures:
    found = {}
    for name, path in reads.items():
        taken = []
        for _ in range(READS):
            began_s = time.perf_counter()
            service.ask(path)
            taken.append((time.perf_counter() - began_s) * 1e3)
        taken.sort()
        found[name] = {"p50_ms": statistics.median(taken), "p99_ms": taken[int(len(taken) * 0.99)]}
    return found


def rounds_ms(service: Service, during: Callable[[], None]) -> float:
    """Return the median duration of rounds while `during` runs."""
    seen: dict[int, float] = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            one = service.ask("/v1/managers/scheduler")["manager"]
            seen[one["runs"]] = one["last_duration_s"]
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    during()
    stop.set()
    watcher.join()
    return statistics.median(seen.values()) * 1e3


def arriving(service: Service, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        service.create(number, ARRIVING_PER_S // 10)
        number += 1
        time.sleep(0.1)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        service = Service(Path(place))
        try:
            fill(service)
            first = service.ask("/v1/requests?state=QUEUED&limit=1")["requests"][0]["id"]
            last = service.ask("/v1/requests?sort_dir=desc&limit=100")["requests"][-1]["id"]
            reads = {
                "first_page": "/v1/requests?limit=100",
                "last_page": f"/v1/requests?limit=100&marker={last}",
                "last_page_by_name": f"/v1/requests?limit=100&sort_key=name&marker={last}",
                "show": f"/v1/requests/{first}",
                "explain": f"/v1/requests/{first}/explain",
                "shares": "/v1/shares",
            }
            quiet = measured(service, reads)
            stop = threading.Event()
            intake = threading.Thread(target=arriving, args=(service, stop))
            intake.start()
            alone_ms = rounds_ms(service, lambda: time.sleep(15))
            busy: Figures = {}
            read_ms = rounds_ms(service, lambda: busy.update(measured(service, reads)))
            stop.set()
            intake.join()
            queued = service.waiting()
        finally:
            service.stop()
    show({
        "benchmark": "api",
        "baseline": "the same read while nothing arrives",
        "queued": queued,
        "arriving_per_s": ARRIVING_PER_S,
        "quiet": quiet,
        "while_requests_arrive": busy,
        "ratio_of_p50": {
            name: busy[name]["p50_ms"] / quiet[name]["p50_ms"] for name in quiet
        },
        "round_ms_without_readers": alone_ms,
        "round_ms_with_readers": read_ms,
    })  # fmt: skip


if __name__ == "__main__":
    main()
