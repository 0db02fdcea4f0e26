"""The relay keeps within RabbitMQ 4's delivery limit, tried on an older broker with that limit set."""

from pathlib import Path
from typing import Any

from synergy.drivers.nova_rpc.broker import Durability, body_of, declare
from synergy.drivers.nova_rpc.publisher import PublishResult
from synergy.drivers.nova_rpc.relay import EXCHANGE, RETRY_S, TOPIC, Relay
from tests.builders import rid
from tests.messages import build_message, enveloped
from tests.patience import until
from tests.rabbitmq import running

QUORUM = Durability(quorum=True)


class Counting(Relay):
    """A relay that counts how often it tried to relay something."""

    tries = 0

    def _on_relay_result(self, message: Any, done: PublishResult) -> None:
        self.tries += 1
        super()._on_relay_result(message, done)


def test_what_cannot_be_relayed_is_not_given_back_to_a_queue_that_counts(tmp_path: Path) -> None:
    """RabbitMQ 4 drops a message of a quorum queue that came back too often; here the second time
    is too often, and nobody takes the message before it was tried many times."""
    with running(tmp_path) as broker:
        edge, core = broker.add_vhost("edge"), broker.add_vhost("core")
        broker.control(
            "set_policy", "-p", "edge", "limit", ".*", '{"delivery-limit": 1}', "--apply-to",
            "queues",
        )  # fmt: skip
        relay = Counting(edge, core, still_waiting=lambda ids: ids, durability=QUORUM, prefetch=10)
        try:
            relay.manage(frozenset())
            assert relay.wait_ready(15)
            body = enveloped(build_message([rid(1)]))
            with broker.connect(edge) as connection:
                connection.Producer().publish(body, exchange=EXCHANGE, routing_key=TOPIC)
            until(lambda: relay.tries > 4, 30 * RETRY_S)
            with broker.connect(core) as connection:
                channel = connection.channel()
                declare(channel, TOPIC, exchange=EXCHANGE, routing_key=TOPIC, durability=QUORUM)
                found = until(lambda: channel.basic_get(TOPIC, no_ack=True), 15 * RETRY_S)
            assert body_of(found) == body
        finally:
            relay.close()
