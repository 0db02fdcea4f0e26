"""A service after a long life: a million finished and 100,000 waiting requests, 8 readers at once.

The rows are written straight into the database, seeded, over the last 360 days; a real service on
the embedded cloud then answers over HTTP. Each kind of read is timed by one reader alone, and by 8
readers at once, who ask for the same kind. The baseline is the same with 1,000 finished and 100
waiting requests, in the same run. Database bytes a finished request are measured before and after
the archive of the oldest tenth. The Nova manager is left out: the embedded cloud of a new process
has none of these servers, so all that wait would be cancelled meanwhile.

The database of a million takes a quarter of an hour to make: --folder keeps it, and what making it
took, for the next run. What is measured is told on standard error as it comes.

usage: bench_longlife.py [--finished N] [--waiting N] [--reads N] [--seed N] [--folder F]
"""

import argparse
import json
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from oslo_config import cfg

from benchmarks.common import managers, show
from synergy.core.model import (
    Domain,
    Handover,
    OnPrivateFull,
    Project,
    QuotaKind,
    RequestClass,
    Resources,
)
from synergy.db.engine import DATABASE_OPTIONS, open_engine, upgrade
from synergy.db.key_file import read_keys
from synergy.db.store import SqlStore
from synergy.db.vault import Vault

BIN = Path(sys.executable).parent
READERS, PROJECTS, USERS, DAYS = 8, 20, 200, 360
CLOUD = """
hosts:
- {name: node1, count: 4, inventory: {VCPU: 32, MEMORY_MB: 131072}}
flavors:
- {name: small, vcpus: 1, memory_mb: 2048}
projects:
""" + "".join(
    f"- {{project_id: p{n}, name: p{n}, users: {{u{n}: u{n}}}}}\n" for n in range(PROJECTS)
)
CONF = f"""
[DEFAULT]
cloud = embedded
managers = {managers("nova")}
[database]
connection = sqlite:///synergy.sqlite
keys_file = synergy.keys
keep_days = 0
[nova]
reconcile_s = 86400
full_reconcile_s = 86400
[scheduler]
autostart = true
[embedded]
cloud_file = cloud.yaml
[api]
port = 0
auth_strategy = none
costly_per_minute = 100000
"""
STEPS = (
    ("RECEIVED", "QUEUED", "ADMITTED"), ("QUEUED", "DISPATCHING", "SELECTED"),
    ("DISPATCHING", "BUILDING", "HANDED_OVER"), ("BUILDING", "ACTIVE", "BOOTED"),
    ("ACTIVE", "EXPIRING", "TTL_REACHED"), ("EXPIRING", "DELETED", "REMOVED"),
)  # fmt: skip
HOUR_US = 3_600_000_000


def prepare(folder: Path) -> None:
    """Write configuration, key and tables."""
    (folder / "cloud.yaml").write_text(CLOUD)
    (folder / "synergy.conf").write_text(CONF)
    for words in (("keys", "create"), ("db", "upgrade")):
        manage(folder, *words)


def manage(folder: Path, *words: str) -> str:
    return subprocess.run(
        [BIN / "synergy-manage", "--config-file", folder / "synergy.conf", *words],
        cwd=folder, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip


def fill(folder: Path, finished: int, waiting: int, seed: int) -> float:
    """Write projects, classes, requests and their ledger; return the seconds that took."""
    began_s = time.perf_counter()
    conf = cfg.ConfigOpts()
    conf.register_opts(DATABASE_OPTIONS, group="database")
    conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", f"sqlite:///{folder}/synergy.sqlite", group="database")
    engine = open_engine(conf.database)
    upgrade(engine)
    store = SqlStore(engine, Vault(read_keys(folder / "synergy.keys")))
    rng, class_ids = random.Random(seed), []
    with store.writing() as uow:
        uow.projects.save_domain(Domain(domain_id="default", name="Default"))
        for number in range(PROJECTS):
            uow.projects.add(Project(
                project_id=f"p{number}", name=f"p{number}", domain_id="default",
                handover=Handover.HELD, max_waiting=10**7, max_waiting_per_user=10**7,
            ))  # fmt: skip
        for number in range(USERS):
            project, user = f"p{number % PROJECTS}", f"user{number:027d}"
            association = uow.projects.association(project, user, user).association_id
            for size in (1, 2, 4, 8):
                kind = RequestClass(
                    association_id=association,
                    demand=Resources.of(VCPU=size, MEMORY_MB=2048 * size, DISK_GB=10 * size),
                    quota=QuotaKind.SHARED if size < 8 else QuotaKind.PRIVATE,
                    on_private_full=OnPrivateFull.QUEUE,
                )
                class_ids.append((uow.requests.class_id(kind), project, user, size))
        uow.commit()
    store.close()
    now_us = int(time.time()) * 10**6
    begin_us = now_us - DAYS * 24 * HOUR_US
    connection = sqlite3.connect(folder / "synergy.sqlite")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA cache_size = -400000")
    step_us = (DAYS * 24 * HOUR_US - 72 * HOUR_US) // max(1, finished)

    queued = [one for one in class_ids[:50] if one[3] == 4]

    def requests() -> Any:
        for n in range(finished):
            class_id, project, user, size = rng.choice(class_ids)
            at = begin_us + n * step_us + rng.randrange(60 * 10**6)
            held_from = at + rng.randrange(4 * HOUR_US)
            end = held_from + rng.randrange(60 * 10**6, 48 * HOUR_US)
            yield (rid(rng, n), class_id, f"r-{n // 3:08x}", project, user, f"server-{n % 99991}",
                   f"m1.{size}", "DELETED", at, end, 86400, held_from, end, held_from + 10**7,
                   end, 0, f"compute{rng.randrange(200):03d}", "", 5)  # fmt: skip
        for n in range(finished, finished + waiting):
            class_id, project, user, size = rng.choice(queued)
            at = now_us - rng.randrange(24 * HOUR_US)
            yield (rid(rng, n), class_id, f"r-{n // 3:08x}", project, user, f"server-{n % 99991}",
                   f"m1.{size}", "HELD", at, at, 86400, None, None, None, None, 0, None,
                   "held_by_admin", 1)  # fmt: skip

    columns = (
        "request_id, class_id, batch_id, project_id, user_id, server_name, flavor, state, "
        "queued_at, changed_at, ttl_s, held_from, released_at, active_at, expires_at, attempts, "
        "host, why, generation"
    )
    connection.executemany(
        f"INSERT INTO requests ({columns}) VALUES ({', '.join('?' * 19)})", requests()
    )
    connection.executemany(
        "INSERT INTO ledger (request_id, project_id, at, from_state, to_state, event, why) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        entries(connection),
    )
    count_the_ledger(connection, finished)
    connection.commit()
    connection.close()
    return time.perf_counter() - began_s


def rid(rng: random.Random, number: int) -> str:
    return f"{rng.getrandbits(32):08x}-{number >> 16 & 0xFFFF:04x}-4000-8000-{number & 0xFFFF:012x}"


def entries(connection: sqlite3.Connection) -> Any:
    """Return the ledger of each request, one after the other."""
    reading = connection.execute(
        "SELECT request_id, project_id, queued_at, held_from, released_at FROM requests "
        "ORDER BY seq"
    )
    for request_id, project, queued_at, held_from, released_at in reading.fetchall():
        steps = STEPS if held_from is not None else (STEPS[0], ("QUEUED", "HELD", "HELD"))
        instants = (queued_at, held_from, held_from, held_from, released_at, released_at)
        for (source, target, event), at in zip(steps, instants, strict=False):
            yield request_id, project, at or queued_at, source, target, event, ""


def count_the_ledger(connection: sqlite3.Connection, finished: int) -> None:
    """Write the counts as the migration of an old database does."""
    connection.execute(
        "UPDATE growth SET ledger_seq = (SELECT MAX(seq) FROM ledger), "
        "newest_seq = (SELECT MAX(seq) FROM ledger)"
    )
    connection.execute("INSERT INTO finished_requests VALUES ('DELETED', ?)", (finished,))
    connection.execute(
        f"INSERT INTO ledger_hours SELECT at - at % {HOUR_US}, MIN(seq) FROM ledger GROUP BY 1"
    )


class Service:
    """A real process on that database."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "service.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [BIN / "synergy-service", "--config-file", folder / "synergy.conf"],
                cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
        ready = "the API listens on "
        while ready not in self._log.read_text():
            if self._process.poll() is not None:
                raise SystemExit(self._log.read_text())
            time.sleep(0.1)
        self.url = self._log.read_text().partition(ready)[2].split()[0]

    def ask(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=300) as answer:
            return bytes(answer.read())

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(60)


def measured(
    service: Service, reads: dict[str, str], count: int, readers_at_once: int
) -> dict[str, Any]:
    """Return p50 and p99 in milliseconds of each kind of read, `count` by each reader."""
    found = {}
    for name, path in reads.items():
        taken: list[float] = []

        def read(path: str = path, taken: list[float] = taken) -> None:
            for _ in range(count):
                began_s = time.perf_counter()
                service.ask(path)
                taken.append((time.perf_counter() - began_s) * 1e3)

        with ThreadPoolExecutor(readers_at_once) as readers:
            for reader in [readers.submit(read) for _ in range(readers_at_once)]:
                reader.result()  # a read that failed ends the measurement
        taken.sort()
        found[name] = {
            "p50_ms": statistics.median(taken),
            "p99_ms": taken[min(len(taken) - 1, int(len(taken) * 0.99))],
        }
    return found


def reads_of(service: Service) -> dict[str, str]:
    now = datetime.now(UTC)
    year = {"begin": (now - timedelta(days=359, seconds=17)).isoformat(), "period": "day"}
    last = json.loads(service.ask("/v1/requests?sort_dir=desc&limit=1"))["requests"][0]["id"]
    since = urllib.parse.quote((now - timedelta(hours=3)).isoformat())
    return {
        "list_first": "/v1/requests?limit=100",
        "list_finished_of_a_project": "/v1/requests?project_id=p3&state=DELETED&limit=100",
        "list_by_name": "/v1/requests?sort_key=name&limit=100",
        "list_of_a_project_by_change": "/v1/requests?project_id=p3&sort_key=changed_at",
        "list_behind_the_last": f"/v1/requests?limit=100&sort_dir=desc&marker={last}",
        "events": "/v1/events?limit=100",
        "events_of_a_project_since": f"/v1/events?project_id=p3&since={since}&limit=100",
        "usage_year_by_day": f"/v1/usage?{urllib.parse.urlencode({**year, 'project_id': 'p3'})}",
        "usage_year_by_day_of_all": "/v1/usage?"
        + urllib.parse.urlencode({**year, "group_by": "quota"}),
        "explain": f"/v1/requests/{last}/explain",
        "metrics": "/metrics",
        "liveness": "/healthcheck/live",
    }


def made(folder: Path, finished: int, waiting: int, seed: int) -> dict[str, Any]:
    """Make the database unless an earlier run did; return what that took."""
    kept = folder / "made.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        if found["asked"] != [finished, waiting, seed]:
            raise SystemExit(f"{folder} holds a database of {found['asked']}: give another folder")
        return found
    prepare(folder)
    empty = sizes(folder)
    filled_s = fill(folder, finished, waiting, seed)
    full = sizes(folder)
    began_s = time.perf_counter()
    manage(folder, "db", "rebuild-usage")
    found = {
        "asked": [finished, waiting, seed],
        "filled_s": filled_s,
        "usage_summed_up_s": time.perf_counter() - began_s,
        "bytes_a_request": (full - empty) / (finished + waiting),
        "bytes_of_usage_sums_a_request": (sizes(folder) - full) / finished,
    }
    kept.write_text(json.dumps(found))
    return found


def lived(
    finished: int, waiting: int, reads: int, seed: int, keep: Path | None = None
) -> dict[str, Any]:
    """Return the figures of one database, whose archive is made in a copy."""
    with tempfile.TemporaryDirectory() as place:
        folder = keep or Path(place)
        folder.mkdir(exist_ok=True)
        figures: dict[str, Any] = {"finished": finished, "waiting": waiting}
        figures |= told("made", made(folder, finished, waiting, seed))
        service = Service(folder)
        try:
            asked = reads_of(service)
            figures["reads_alone"] = told("alone", measured(service, asked, READERS * reads, 1))
            figures["reads"] = told("8 readers", measured(service, asked, reads, READERS))
        finally:
            service.stop()
        copy = Path(place, "copy")
        shutil.copytree(folder, copy, ignore=lambda _, names: {"copy"} & set(names))
        return figures | told("archived", archived(copy))


def archived(folder: Path) -> dict[str, Any]:
    """Archive the oldest tenth; return how fast, and the bytes that the archive takes."""
    began_s = time.perf_counter()
    before = (datetime.now(UTC) - timedelta(days=DAYS * 0.9)).isoformat()
    answer = manage(folder, "db", "archive", "--before", before, "-f", "json")
    archived_s = time.perf_counter() - began_s
    moved = json.loads(answer)["counts"]["request"]
    return {
        "archived": moved,
        "archived_per_s": moved / archived_s,
        "bytes_a_finished_request_archived": archive_bytes(folder) / max(1, moved),
    }


def told(what: str, figures: dict[str, Any]) -> dict[str, Any]:
    """Return figures, told on standard error: a run that is broken off was not for nothing."""
    print(json.dumps({what: figures}), file=sys.stderr, flush=True)
    return figures


def sizes(folder: Path) -> int:
    """Return the bytes of the database that are in use."""
    with sqlite3.connect(folder / "synergy.sqlite") as connection:
        pages, free, size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    connection.close()
    return int((pages - free) * size)


def archive_bytes(folder: Path) -> int:
    """Return the bytes of the archive: what its deletion would free."""
    full = sizes(folder)
    connection = sqlite3.connect(folder / "synergy.sqlite")
    connection.execute("DELETE FROM archive")
    connection.execute("DELETE FROM usage_spans")
    connection.commit()
    connection.close()
    return full - sizes(folder)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--reads", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the database is made, and kept")
    given = parser.parse_args()
    baseline = lived(1000, 100, given.reads, given.seed)
    old = lived(given.finished, given.waiting, given.reads, given.seed, given.folder)
    show({
        "benchmark": "longlife",
        "readers": READERS,
        "baseline": baseline,
        "old": old,
        "ratio_of_p99": {
            name: old["reads"][name]["p99_ms"] / baseline["reads"][name]["p99_ms"]
            for name in old["reads"]
        },
    })  # fmt: skip


if __name__ == "__main__":
    main()
