"""Durable intake into SQLite of 22 KB messages: commit of a batch beside commit of each row.

Each request goes from its message (parsed, compressed, sealed) to a commit that is flushed to the
disk, through the QueueManager's own way in.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from oslo_config import cfg

from benchmarks.common import show
from synergy.core.model import Resources
from synergy.db.engine import DATABASE_OPTIONS, open_engine, upgrade
from synergy.db.key_file import new_key
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec, ProjectSpec
from synergy.sim.engine import Engine

BATCH, FILLER = 200, 20_500
CLOUD = CloudSpec(
    hosts=(HostSpec(name="h", inventory=Resources.of(VCPU=8, MEMORY_MB=8192)),),
    flavors=(FlavorSpec(name="f", vcpus=1, memory_mb=512),),
    projects=(ProjectSpec(project_id="p", name="p", users={"u": "u"}),),
)


def engine_on(folder: Path, commit_size: int) -> Engine:
    conf = cfg.ConfigOpts()
    conf.register_opts(DATABASE_OPTIONS, group="database")
    conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", f"sqlite:///{folder}/{commit_size}.sqlite", group="database")
    opened = open_engine(conf.database, create=True)
    upgrade(opened)
    store = SqlStore(opened, Vault([new_key()]))
    engine = Engine(CLOUD, {"queue": {"commit_size": commit_size}}, store=store, seed=1)
    engine.managers["project"].execute(
        "add", project="p", default_quota="shared", max_waiting=10**6, max_waiting_per_user=10**6
    )
    return engine


def per_second(folder: Path, commit_size: int, count: int) -> dict[str, float]:
    engine = engine_on(folder, commit_size)
    text = "".join(chr(33 + (n * 7919) % 90) for n in range(FILLER))  # a service catalogue, say
    for _ in range(count):
        engine.nova.create_server(
            project="p", user="u", flavor="f", name="s", metadata={"filler": text}, count=1
        )
    size = len(engine.nova._inbox[0][1])
    queue = engine.managers["queue"]
    began_s = time.perf_counter()
    while queue.task() is not None:
        pass
    taken_s = time.perf_counter() - began_s
    with engine.store.reading() as uow:
        stored = uow.requests.waiting_count("p")
    engine.store.close()
    if stored != count:
        raise SystemExit(f"{stored} of {count} requests are stored")
    return {"requests_per_s": count / taken_s, "message_bytes": size, "requests": count}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        single = per_second(Path(place), 1, 400)
        group = per_second(Path(place), BATCH, 4000)
    show({
        "benchmark": "intake",
        "baseline": "a commit for each request",
        "commit_of_one": single,
        f"commit_of_{BATCH}": group,
        "ratio": group["requests_per_s"] / single["requests_per_s"],
    })  # fmt: skip
