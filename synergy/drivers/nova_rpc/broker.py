"""What both ways over RabbitMQ share: connections, how queues are declared, and what goes wrong.

Must not know what a message means.
"""

from dataclasses import dataclass
from typing import Any, Final

import amqp.exceptions
import kombu.exceptions
from kombu.connection import Connection

HEARTBEAT_S: Final = 30.0
ANSWER_S: Final = 10.0
FOREIGN: Final = (
    OSError,
    amqp.exceptions.AMQPError,
    kombu.exceptions.KombuError,
)  # what a broker that is away, or refuses, makes kombu raise


def connect(url: str, *, heartbeat_s: float = HEARTBEAT_S) -> Any:
    """Return a connection, not opened yet. A question that the broker leaves open ANSWER_S raises
    TimeoutError."""
    return Connection(  # type: ignore[no-untyped-call]
        url.replace("rabbit://", "pyamqp://", 1),
        heartbeat=heartbeat_s,
        connect_timeout=ANSWER_S,
        transport_options={"read_timeout": ANSWER_S, "write_timeout": ANSWER_S},
    )


def body_of(message: Any) -> bytes:
    """Return the body of a message as it came."""
    body = message.body
    return body if isinstance(body, bytes) else str(body).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """How Nova declares queues and exchanges; everybody has to agree, or the broker refuses.

    durable           [oslo_messaging_rabbit] amqp_durable_queues
    quorum            rabbit_quorum_queue, which is durable
    transient_quorum  rabbit_transient_quorum_queue: of fanouts and replies
    """

    durable: bool = False
    quorum: bool = False
    transient_quorum: bool = False


def declare(
    channel: Any, queue: str, *, exchange: str, routing_key: str, durability: Durability
) -> None:
    """Make a topic exchange, queue and binding as oslo.messaging does, so that either may come
    first."""
    durable = durability.durable or durability.quorum
    arguments = {"x-queue-type": "quorum"} if durability.quorum else {}
    channel.exchange_declare(exchange, "topic", durable=durable, auto_delete=False)
    channel.queue_declare(queue, durable=durable, auto_delete=False, arguments=arguments)
    channel.queue_bind(queue, exchange, routing_key)


def declare_fanout(channel: Any, exchange: str, durability: Durability) -> str:
    """Make a fanout exchange as oslo.messaging does, and a queue of our own that vanishes with the
    connection; return its name."""
    durable = durability.transient_quorum
    channel.exchange_declare(exchange, "fanout", durable=durable, auto_delete=True)
    queue = str(channel.queue_declare("", exclusive=True, auto_delete=True).queue)
    channel.queue_bind(queue, exchange, "")
    return queue
