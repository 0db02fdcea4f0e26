"""The relay and the queue on a real RabbitMQ: intake, dispatch, and what a relayed message waits.

Needs the lab's broker: `python -m lab up` first. Messages of 22 KB are durable and acknowledged
after the commit into SQLite. The baseline of intake is oslo.messaging's own RPC server, which
stores nothing and acknowledges before it hands on; that of the relay a message that goes straight.
Synergy runs in a process of its own.
"""

import gc
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, TypeAlias, cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from oslo_config import cfg

from benchmarks.common import Figures, show
from lab.settings import read_settings
from lab.steps import Lab
from synergy.core.events import Fact, RequestsQueued
from synergy.core.model import Resources
from synergy.db.engine import DATABASE_OPTIONS, open_engine, upgrade
from synergy.db.key_file import new_key
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.drivers import nova_message
from synergy.drivers.clock import SystemClock
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec, ProjectSpec
from synergy.drivers.nova_rpc import broker
from synergy.drivers.nova_rpc.broker import Broker, Durability
from synergy.drivers.nova_rpc.consumer import Consumer
from synergy.drivers.nova_rpc.driver import NovaRpc
from synergy.drivers.nova_rpc.publisher import Outgoing, Publisher, PublishStatus, Stream
from synergy.managers.scheduler import SchedulerManager
from synergy.service.periodic import Worker
from synergy.sim.engine import Engine

Counter: TypeAlias = "Synchronized[int]"  # their classes know no parameters while they run
Latencies: TypeAlias = "Queue[list[float]]"
DURABLE = Durability(durable=True)
INTAKE, DISPATCH, RELAYED, FILLER = 12_000, 5_000, 1_000, 20_300
EVERY_S = 0.005
BUSY_PER_S = (250, 500)
TEXT = "".join(chr(33 + (n * 7919) % 90) for n in range(FILLER))
CLOUD = CloudSpec(
    hosts=(HostSpec(name="h", inventory=Resources.of(VCPU=10**6, MEMORY_MB=10**9)),),
    flavors=(FlavorSpec(name="f", vcpus=1, memory_mb=512),),
    projects=(ProjectSpec(project_id="p", name="p", users={"u": "u"}),),
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FLAVOR = CLOUD.flavors[0].as_dict()
FROM_RPC = ("manage", "on_arrival", "fetch", "acknowledge", "build", "backlog", "credentials")


def message(project: str = "p") -> bytes:
    """A build request of 22 KB that carries when it was made as the server's name."""
    return nova_message.compose(
        context={
            "user_id": "u", "user_name": "u", "project_id": project, "project_name": "p",
            "roles": ["member"], "auth_token": "t",
        },
        servers=[(str(uuid.uuid4()), repr(time.time()))], flavor=FLAVOR,
        metadata={"filler": TEXT}, created_at=NOW, unique_id=uuid.uuid4().hex,
    )  # fmt: skip


def other(**outside: str) -> bytes:
    """Another method, of an unmanaged project, that carries when it was made."""
    inner = {"method": "other", "args": {"at": time.time()}, "_context_project_id": "x", **outside}
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(inner)}).encode()


class Between:
    """The embedded cloud, but for what goes over the broker; every server is there."""

    def __init__(self, nova: EmbeddedNova, rpc: NovaRpc) -> None:
        self.nova, self.rpc = nova, rpc

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rpc if name in FROM_RPC else self.nova, name)

    def servers(self, server_ids: Iterable[str]) -> dict[str, None]:
        return dict.fromkeys(server_ids)

    def placed(self, server_ids: Iterable[str]) -> set[str]:
        return set(server_ids)


def engine_on(folder: str, rpc: Any) -> Engine:
    conf = cfg.ConfigOpts()
    conf.register_opts(DATABASE_OPTIONS, group="database")
    conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", f"sqlite:///{folder}/relay.sqlite", group="database")
    opened = open_engine(conf.database, create=True)
    upgrade(opened)
    store = SqlStore(opened, Vault([new_key()]))
    # The system's clock and the broker stand in where a simulation has its own.
    clock: Any = SystemClock()
    plain = Engine(CLOUD, {}, store=store, seed=1, clock=clock)
    many, cloud = 10**7, cast(EmbeddedNova, Between(plain.nova, rpc))
    engine = Engine(
        CLOUD, {"scheduler": {"round_size": 1000}}, store=store, seed=1, clock=clock,
        cloud=(cloud, plain.identity),
    )  # fmt: skip
    engine.managers["project"].execute(
        "add", project="p", default_quota="shared", max_waiting=many, max_waiting_per_user=many
    )
    return engine


def rpc_on(edge: str, core: str) -> NovaRpc:
    return NovaRpc(edge, core, still_waiting=lambda ids: ids, durability=DURABLE, prefetch=1000)


def serve(edge: str, core: str, stored: Counter, latencies: Latencies, stop: Event) -> None:
    """Synergy's side of intake and relay, until told to stop."""
    with tempfile.TemporaryDirectory() as folder:
        rpc = rpc_on(edge, core)
        engine = engine_on(folder, rpc)
        worker = Worker(engine.supervisors["queue"])
        found: list[float] = []

        def listen(event: Fact) -> None:
            if isinstance(event, RequestsQueued):
                now = time.time()
                found.extend(now - float(one.server_name) for one in event.requests)
                stored.value += len(event.requests)

        engine.listen(listen)
        rpc.on_arrival(worker.wake)
        gc.collect()
        gc.freeze()  # as the service does
        worker.start()
        stop.wait()
        worker.stop()
        worker.join(5)
        rpc.close()
        latencies.put(found)


class Service:
    """That process."""

    def __init__(self, edge: str, core: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.stored: Counter = spawn.Value("q", 0)
        self._stop = spawn.Event()
        self._latencies: Latencies = spawn.Queue()
        self._process = spawn.Process(
            target=serve, args=(edge, core, self.stored, self._latencies, self._stop)
        )
        self._process.start()

    def stop(self) -> list[float]:
        self._stop.set()
        found = self._latencies.get()
        self._process.join()
        return found


def prepare(url: str) -> None:
    """Make exchange and queue of the conductor."""
    with Broker.of(url).connect() as connection:
        broker.declare(
            connection.channel(), "conductor", exchange="nova", routing_key="conductor",
            durability=DURABLE,
        )  # fmt: skip


def publish(url: str, bodies: Iterable[bytes]) -> None:
    publisher = Publisher(url)
    done = publisher.publish_all(
        [Outgoing(body=b, exchange="nova", routing_key="conductor") for b in bodies]
    )
    publisher.close()
    if any(one.status is not PublishStatus.CONFIRMED for one in done):
        raise SystemExit("the broker did not take everything")


def percentiles(values_s: Iterable[float]) -> Figures:
    ordered = sorted(values_s)
    return {
        "p50_ms": statistics.median(ordered) * 1e3,
        "p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
        "count": len(ordered),
    }


def intake_per_s(edge: str, core: str) -> float:
    publish(edge, [message() for _ in range(INTAKE)])
    service = Service(edge, core)
    while not service.stored.value:
        time.sleep(0.002)
    first, began_s = service.stored.value, time.perf_counter()
    while service.stored.value < INTAKE:
        time.sleep(0.002)
    taken_s = time.perf_counter() - began_s
    time.sleep(1)  # for the last acknowledgements, or the next service gets these again
    service.stop()
    return (INTAKE - first) / taken_s


def oslo_per_s(url: str) -> float:
    """The same messages, taken by oslo.messaging's RPC server and dropped."""
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging

    count = 3_000
    done, got = threading.Event(), list[float]()

    class Endpoint:
        target = oslo_messaging.Target(namespace="compute_task", version="1.99")

        def schedule_and_build_instances(self, context: object, **args: object) -> None:
            got.append(time.perf_counter())
            if len(got) == count:
                done.set()

    cfg.CONF([], project="nova", default_config_files=[], default_config_dirs=[])
    oslo_messaging.get_rpc_transport(cfg.CONF, url)  # registers the options
    cfg.CONF.set_override("amqp_durable_queues", True, group="oslo_messaging_rabbit")
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
    publish(url, [message() for _ in range(count)])
    target = oslo_messaging.Target(topic="conductor", server="bench", exchange="nova")
    server = oslo_messaging.get_rpc_server(transport, target, [Endpoint()], executor="threading")
    server.start()
    done.wait(120)
    server.stop()
    server.wait()
    return (count - 1) / (got[-1] - got[0])


def intake_latency(edge: str, core: str, per_s: float) -> Figures:
    """From publishing to the commit, at a steady rate."""
    service = Service(edge, core)
    publisher, count = Publisher(edge), int(per_s * 4)
    time.sleep(4)
    began_s = time.perf_counter()
    batch = max(1, int(per_s / 50))
    for start in range(0, count, batch):
        time.sleep(max(0.0, began_s + start / per_s - time.perf_counter()))
        publisher.publish_all([
            Outgoing(body=message(), exchange="nova", routing_key="conductor")
            for _ in range(min(batch, count - start))
        ])  # fmt: skip
    while service.stored.value < count:
        time.sleep(0.01)
    publisher.close()
    return {"per_s": per_s} | percentiles(service.stop())


def publish_until(url: str, per_s: float, stop: Event) -> None:
    """Publish build requests at a steady rate until told to stop."""
    stream, began_s, count = Stream(url), time.perf_counter(), 0
    while not stop.is_set():
        outgoing = Outgoing(body=message(), exchange="nova", routing_key="conductor")
        stream.send(outgoing, lambda _: None)
        stream.poll()
        count += 1
        time.sleep(max(0.0, began_s + count / per_s - time.perf_counter()))
    stream.wait_for_confirms()
    stream.close()


@contextmanager
def busy(url: str, per_s: float) -> Iterator[None]:
    """Let build requests arrive meanwhile, from a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    process = spawn.Process(target=publish_until, args=(url, per_s, stop))
    process.start()
    time.sleep(3)
    try:
        yield
    finally:
        stop.set()
        process.join()


@contextmanager
def consuming(
    url: str, queue: str, callback: Callable[[Any], object], **declared: bool
) -> Iterator[None]:
    """Consume from a queue, acknowledging everything."""

    def begin(channel: Any) -> None:
        if declared:
            channel.queue_declare(queue, **declared)
        channel.basic_consume(queue, callback=on_message)

    def on_message(message: Any) -> None:
        callback(json.loads(json.loads(broker.body_of(message))["oslo.message"]))
        message.channel.basic_ack(message.delivery_tag)

    consumer = Consumer("bench", url, begin)
    consumer.start()
    consumer.ready.wait(10)
    try:
        yield
    finally:
        consumer.stop()


def publish_steadily(url: str, got: list[float], **outside: str) -> Figures:
    """Publish messages one by one, and wait until all are got."""
    publisher = Publisher(url)
    for number in range(RELAYED):
        if outside:
            outside["_msg_id"] = str(number)
        publisher.publish(Outgoing(body=other(**outside), exchange="nova", routing_key="conductor"))
        time.sleep(EVERY_S)
    publisher.close()
    deadline_s = time.perf_counter() + 30
    while len(got) < RELAYED and time.perf_counter() < deadline_s:
        time.sleep(0.01)
    return percentiles(got)


def measure_casts(publish_url: str, receive_url: str) -> Figures:
    """How long casts take from the publisher to the consumer."""
    got: list[float] = []
    with consuming(
        receive_url, "conductor", lambda inner: got.append(time.time() - inner["args"]["at"])
    ):
        return publish_steadily(publish_url, got)


def measure_calls(publish_url: str, receive_url: str) -> Figures:
    """How long calls take from the publisher to the consumer, and their answers back."""
    got: list[float] = []
    queue, answers = f"reply_{uuid.uuid4().hex}", Publisher(receive_url)

    def answer(inner: Any) -> None:
        reply = {"_msg_id": inner["_msg_id"], "at": inner["args"]["at"], "ending": True}
        body = json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(reply)}).encode()
        answers.publish(Outgoing(body=body, exchange="", routing_key=inner["_reply_q"]))

    with (
        consuming(
            publish_url, queue, lambda reply: got.append(time.time() - reply["at"]),
            auto_delete=True,
        ),
        consuming(receive_url, "conductor", answer),
    ):  # fmt: skip
        found = publish_steadily(publish_url, got, _reply_q=queue)
    answers.close()
    return found


def relayed(edge: str, core: str) -> Figures:
    """Casts and calls that go straight and through the relay, at the same load."""
    found: Figures = {}
    for kind, measure in {"cast": measure_casts, "call": measure_calls}.items():
        straight, through = measure(core, core), measure(edge, core)
        added_ms = {
            f"added_{name}": through[name] - straight[name] for name in ("p50_ms", "p99_ms")
        }
        found[kind] = {"straight": straight, "relayed": through} | added_ms
    return found


class Stocked:
    """The way to the conductor, with requests that wait to be fetched instead of a broker's."""

    def __init__(self, rpc: NovaRpc, count: int) -> None:
        self._rpc = rpc
        self._inbox = [nova_message.read(str(n), message()) for n in range(count)]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rpc, name)

    def manage(self, project_ids: frozenset[str]) -> None:
        """Nothing is to be consumed here."""

    def fetch(self, *, limit: int) -> list[Any]:
        return [self._inbox.pop() for _ in range(min(limit, len(self._inbox)))]

    def acknowledge(self, deliveries: object) -> None:
        """No broker waits for it."""


def dispatch_per_s(core: str) -> float:
    """Two commits and a confirmed message for each request."""
    with tempfile.TemporaryDirectory() as folder:
        rpc = rpc_on(core, core)
        engine = engine_on(folder, Stocked(rpc, DISPATCH))
        for name in ("quota", "fairshare"):
            engine.supervisors[name].run()
        while engine.managers["queue"].task() is not None:
            pass
        scheduler, turn = engine.managers["scheduler"], engine.supervisors["scheduler"]
        assert isinstance(scheduler, SchedulerManager)
        began_s = time.perf_counter()
        turn.run()
        taken_s = time.perf_counter() - began_s
        done = scheduler.counts["dispatched"]
        rpc.close()
        if done != DISPATCH:
            raise SystemExit(f"{done} of {DISPATCH} were dispatched")
        return done / taken_s


def main() -> None:
    lab = Lab(read_settings(), lambda _: None)
    names = [f"bench-{part}-{uuid.uuid4().hex[:6]}" for part in ("edge", "core", "oslo")]
    edge, core, oslo = (lab.add_vhost(name) for name in names)
    try:
        for url in (edge, core, oslo):
            prepare(url)
        rate = intake_per_s(edge, core)
        stock = oslo_per_s(oslo)
        half = intake_latency(edge, core, rate / 2)
        service = Service(edge, core)
        time.sleep(4)
        latency = {"idle": relayed(edge, core)}
        for per_s in BUSY_PER_S:
            with busy(edge, per_s):
                latency[f"while {per_s} requests/s arrive"] = relayed(edge, core)
        service.stop()
        dispatched = dispatch_per_s(core)
    finally:
        for name in names:
            lab.remove_vhost(name)
    show({
        "benchmark": "relay",
        "baseline": "oslo.messaging's RPC server; a message that goes straight",
        "message_bytes": len(message()),
        "intake_per_s": rate,
        "oslo_messaging_per_s": stock,
        "ratio_of_intake": rate / stock,
        "intake_latency_at_half_load": half,
        "relayed": latency,
        "dispatch_per_s": dispatched,
    })  # fmt: skip


if __name__ == "__main__":
    main()
