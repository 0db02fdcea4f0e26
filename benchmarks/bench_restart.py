"""A restart with a million queued requests in SQLite: from the open file to the first round."""

import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import ASSOCIATIONS, SHAPES, resident_bytes, show
from synergy.core.accounts import claim_of
from synergy.core.model import (
    Domain,
    Handover,
    OnPrivateFull,
    Project,
    QuotaKind,
    RequestClass,
    Resources,
)
from synergy.db.store import SqlStore
from synergy.drivers.embedded.spec import CloudSpec, HostSpec
from synergy.managers.quota import QuotaManager
from synergy.managers.scheduler import SchedulerManager
from synergy.managers.scheduler.policy import policy_of
from synergy.sim.engine import Engine, temporary_store

COUNT, PROJECTS = 1_000_000, 100
START_US = 1_488_000_000 * 10**6


def fill(store: SqlStore, path: str) -> None:
    """Write the queue straight into the tables: intake itself is measured elsewhere."""
    with store.writing() as uow:
        uow.projects.save_domain(Domain(domain_id="d", name="d"))
        for number in range(PROJECTS):
            uow.projects.add(
                Project(
                    project_id=f"p{number}", name=f"p{number}", domain_id="d",
                    handover=Handover.HELD,
                )
            )  # fmt: skip
        users = [
            uow.projects.association(f"p{n % PROJECTS}", f"u{n}", f"u{n}").association_id
            for n in range(ASSOCIATIONS)
        ]
        class_ids = [
            uow.requests.class_id(
                RequestClass(
                    association_id=users[n % ASSOCIATIONS],
                    demand=Resources.of(VCPU=1 + n % 16, MEMORY_MB=512 * (1 + n % SHAPES)),
                    quota=QuotaKind.SHARED,
                    on_private_full=OnPrivateFull.QUEUE,
                )
            )
            for n in range(ASSOCIATIONS)
        ]
        uow.commit()
    rng = random.Random(1)
    rows = (
        (
            f"{n:08x}-0000-4000-8000-{rng.getrandbits(48):012x}", class_ids[n % ASSOCIATIONS],
            f"p{n % PROJECTS}", f"u{n % ASSOCIATIONS}", "server", "flavor", "QUEUED",
            START_US + n * 1000, START_US, 3600,
        )
        for n in range(COUNT)
    )  # fmt: skip
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO requests (request_id, class_id, project_id, user_id, server_name, flavor, "
            "state, queued_at, changed_at, ttl_s, attempts, why, generation) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', 0)",
            rows,
        )
    connection.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, temporary_store(Path(folder)) as store:
        path = str(store._engine.url.database)
        fill(store, path)
        store.close()  # also empties the write-ahead log into the file
        before = Path(path).read_bytes()[:100], Path(path).stat().st_size
        host = HostSpec(name="h", inventory=Resources.of(VCPU=10**6, MEMORY_MB=10**9))
        cloud = CloudSpec(hosts=(host,), flavors=(), projects=())
        memory = resident_bytes()
        began_s = time.perf_counter()
        engine = Engine(cloud, {}, store=store, seed=1)
        scheduler, quota = engine.managers["scheduler"], engine.managers["quota"]
        assert isinstance(scheduler, SchedulerManager)
        assert isinstance(quota, QuotaManager)
        # The shared quota is known but no server exists in this cloud: the round only decides.
        with store.reading() as uow:
            scheduler._queue.read(uow)
        read_s = time.perf_counter() - began_s
        unchanged = (Path(path).read_bytes()[:100], Path(path).stat().st_size) == before
        wal = Path(f"{path}-wal")
        written = wal.stat().st_size if wal.exists() else 0
        quota.task()
        assert quota._state is not None
        with store.reading() as uow:
            edition = uow.projects.edition()
            claims = [claim_of(*entry) for entry in uow.requests.claims()]
        snapshot = scheduler._snapshot(quota._state, scheduler._queue.waiting(), claims, edition)
        scheduler._cloud.decide(snapshot, policy_of(scheduler._conf))
        total_s = time.perf_counter() - began_s
    show({
        "benchmark": "restart",
        "baseline": "10 s to the first round",
        "queued": len(scheduler._queue),
        "classes": len(snapshot.waiting),
        "read_s": read_s,
        "first_round_s": total_s,
        "ratio": total_s / 10,
        "file_unchanged": unchanged,
        "bytes_written": written,
        "resident_bytes_per_request": (resident_bytes() - memory) / COUNT,
    })  # fmt: skip


if __name__ == "__main__":
    main()
