"""What Synergy declares at a broker keeps within the rules of RabbitMQ 4."""

from collections.abc import Mapping
from typing import Any

import pytest

from synergy.drivers.nova_rpc import broker
from synergy.drivers.nova_rpc.broker import Durability
from synergy.drivers.nova_rpc.relay import FANOUT, FANOUT_QUEUE, Relay
from synergy.drivers.openstack import notifications

# What Nova may be configured to on RabbitMQ 4: with neither, its own queues are refused there.
ADMITTED = [
    Durability(durable=True),
    Durability(quorum=True),
    Durability(quorum=True, transient_quorum=True),
]


NONE: Mapping[str, object] = {}


class Recording:
    """A broker's channel that notes what is declared."""

    def __init__(self) -> None:
        self.queues: dict[str, Any] = {}
        self.exchanges: dict[str, Any] = {}
        self.bound: list[Any] = []
        self.prefetches: list[tuple[int, int, bool]] = []

    def basic_qos(self, size: int, count: int, a_global: bool) -> None:
        self.prefetches.append((size, count, a_global))

    def basic_consume(self, queue: str, callback: object) -> None:
        pass

    def exchange_declare(self, name: str, kind: str, *, durable: bool, auto_delete: bool) -> None:
        self.exchanges[name] = (kind, durable, auto_delete)

    def queue_declare(
        self,
        name: str,
        *,
        durable: bool,
        auto_delete: bool,
        exclusive: bool = False,
        arguments: Mapping[str, object] = NONE,
    ) -> None:
        self.queues[name] = {
            "durable": durable, "auto_delete": auto_delete, "exclusive": exclusive,
            "arguments": arguments,
        }  # fmt: skip

    def queue_bind(self, queue: str, exchange: str, key: str) -> None:
        self.bound.append((queue, exchange, key))


def declared(durability: Durability) -> Recording:
    """Everything that the relay and the listeners declare."""
    channel = Recording()
    broker.declare(
        channel, "conductor", exchange="nova", routing_key="conductor", durability=durability
    )
    broker.declare_fanout(channel, FANOUT, FANOUT_QUEUE, durability)
    broker.declare_replies(channel, "reply_synergy_1")
    notifications.listen(channel, "nova", ["versioned_notifications"], "synergy", durability)
    return channel


@pytest.mark.parametrize("durability", ADMITTED, ids=str)
def test_no_queue_is_transient_and_shared(durability: Durability) -> None:
    queues = declared(durability).queues
    assert len(queues) == 4
    assert [name for name, of in queues.items() if not of["durable"] and not of["exclusive"]] == []


@pytest.mark.parametrize("durability", ADMITTED, ids=str)
def test_quorum_queues_are_durable_and_stay(durability: Durability) -> None:
    quorum = {
        name: of
        for name, of in declared(durability).queues.items()
        if of["arguments"].get("x-queue-type") == "quorum"
    }
    assert bool(quorum) == durability.quorum
    assert all(of["durable"] and not of["auto_delete"] for of in quorum.values())


@pytest.mark.parametrize("durability", [Durability(), *ADMITTED], ids=str)
def test_the_queue_of_what_all_schedulers_get_outlives_its_consumer(durability: Durability) -> None:
    channel = declared(durability)
    fanout = channel.queues[FANOUT_QUEUE]
    assert not fanout["auto_delete"]
    assert not fanout["exclusive"]
    assert fanout["arguments"] == {"x-expires": 7 * 24 * 3600 * 1000}
    # as oslo.messaging declares it, or nova-api and Synergy refuse each other
    assert channel.exchanges[FANOUT] == ("fanout", durability.transient_quorum, True)
    assert (FANOUT_QUEUE, FANOUT, "") in channel.bound


def test_prefetch_is_asked_for_each_consumer_not_for_the_channel() -> None:
    channel, durability = Recording(), Durability(quorum=True)
    nowhere = "rabbit://u:p@127.0.0.1:9/v"
    relay = Relay(
        nowhere, nowhere, still_waiting=lambda ids: ids, durability=durability, prefetch=7
    )
    relay._setup_edge(channel)
    notifications.NovaNotices(
        nowhere, exchange="nova", topics=["t"], pool="synergy", durability=durability
    )._setup(channel)
    assert channel.prefetches == [(0, 7, False), (0, 1000, False)]
