"""nova-api and a conductor on oslo.messaging, as Nova has it, on two vhosts of their own.

Imported by the fixture that needs it: oslo.messaging chooses its kind of threads when it is
imported, and that is nothing for the tests that run without a broker.
"""

import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from oslo_config import cfg
from oslo_service import backend

from lab.steps import Lab
from synergy.drivers import nova_message
from synergy.drivers.nova_rpc.broker import Durability
from synergy.drivers.nova_rpc.relay import Relay
from tests.builders import NOON

backend.init_backend(backend.BackendType.THREADING)
import oslo_messaging  # noqa: E402

EXCHANGE = Exchange("nova", "topic", durable=False)
FLAVOR = {"name": "f", "vcpus": 1, "memory_mb": 64, "root_gb": 1, "ephemeral_gb": 0, "swap": 0,
          "extra_specs": {}}  # fmt: skip


class Conductor:
    """What a conductor is for the relay: it notes casts, and answers calls."""

    target = oslo_messaging.Target(namespace="compute_task", version="1.99")

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []

    def schedule_and_build_instances(self, context: Any, **args: Any) -> None:
        self.got.append((context["auth_token"], args))

    def migrate_server(self, context: Any, **args: Any) -> None:
        self.got.append(("migrate", args))

    def attach_volume(self, context: Any, number: int) -> int:
        return number * 2

    def fail(self, context: Any) -> None:
        raise ValueError("the conductor's own fault")


def _connected(url: str) -> Connection:
    return Connection(url.replace("rabbit:", "pyamqp:"))


class Sides:
    """The two vhosts and who stands on them."""

    def __init__(self, lab: Lab) -> None:
        name = uuid.uuid4().hex[:8]
        self.lab, self.names = lab, (f"edge-{name}", f"core-{name}")
        self.edge_url, self.core_url = (lab.add_vhost(one) for one in self.names)
        self.conductor = Conductor()
        self.servers: list[Any] = []  # of oslo.messaging, which has no types
        self.relays: list[Relay] = []
        conf = cfg.CONF  # with another, oslo.messaging drops what it gets without a word
        conf([], project="nova", default_config_files=[], default_config_dirs=[])
        self.transports = [
            oslo_messaging.get_rpc_transport(conf, url) for url in (self.edge_url, self.core_url)
        ]

    def serve(self) -> None:
        """Let the conductor serve on core."""
        target = oslo_messaging.Target(topic="conductor", server="host", exchange="nova")
        server = oslo_messaging.get_rpc_server(
            self.transports[1], target, [self.conductor], executor="threading"
        )
        server.start()
        self.servers.append(server)

    def relay(
        self,
        prefetch: int = 100,
        still_waiting: Callable[[Collection[str]], Collection[str]] = lambda ids: ids,
        core_url: str | None = None,
    ) -> Relay:
        made = Relay(
            self.edge_url, core_url or self.core_url, still_waiting=still_waiting,
            durability=Durability(), prefetch=prefetch, recheck_s=0.5,
        )  # fmt: skip
        made.manage(frozenset())
        self.relays.append(made)
        assert made.wait_ready(15)
        return made

    def api(self, **options: Any) -> Any:
        """nova-api, publishing to the edge."""
        target = oslo_messaging.Target(
            topic="conductor", exchange="nova", namespace="compute_task", version="1.17"
        )
        return oslo_messaging.get_rpc_client(self.transports[0], target, **options)

    def create(self, project: str = "managed", servers: int = 1) -> list[str]:
        """Publish a build request as nova-api does, and return the ids of its servers."""
        ids = [str(uuid.uuid4()) for _ in range(servers)]
        body = nova_message.compose(
            context={"user_id": "u", "user_name": "alice", "project_id": project,
                     "project_name": "p", "roles": ["member"], "auth_token": "a-token"},
            servers=[(one, "s") for one in ids], flavor=FLAVOR, metadata={}, created_at=NOON,
            unique_id=uuid.uuid4().hex,
        )  # fmt: skip
        self.publish(body)
        return ids

    def publish(self, body: object, **properties: Any) -> None:
        """Publish on the edge, to whoever serves as conductor there."""
        with _connected(self.edge_url) as connection:
            connection.Producer().publish(
                body, exchange=EXCHANGE, routing_key="conductor", delivery_mode=2,
                content_type="application/json", content_encoding="utf-8", **properties,
            )  # fmt: skip

    @contextmanager
    def queue_on_core(self) -> Iterator[Any]:
        """The conductor's queue, with no conductor."""
        with _connected(self.core_url) as connection:
            queue = Queue("conductor", EXCHANGE, routing_key="conductor", durable=False)
            bound = queue(connection.channel())
            bound.declare()
            yield bound

    def crash_on(self, count: int = 1) -> None:
        """Take messages off the edge and die without a word, as a relay killed in between."""
        connection = _connected(self.edge_url)
        channel = connection.channel()
        got: list[object] = []
        while len(got) < count:
            if (message := channel.basic_get("conductor")) is not None:
                got.append(message)
        connection.close()

    def built(self) -> list[str]:
        """The servers that the conductor was told to build."""
        return [
            spec["nova_object.data"]["instance_uuid"]
            for _, args in self.conductor.got
            if "request_specs" in args
            for spec in args["request_specs"]
        ]

    def close(self) -> None:
        for relay in self.relays:
            relay.close()
        for server in self.servers:
            server.stop()
            server.wait()
        for transport in self.transports:
            transport.cleanup()
        for name in self.names:
            self.lab.remove_vhost(name)
