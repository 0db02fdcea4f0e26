"""What both ways over RabbitMQ share: connections, how queues are declared, and what goes wrong.

Must not know what a message means.
"""

import logging
import random
import ssl
from dataclasses import dataclass
from typing import Any, Final

import amqp.exceptions
import kombu.exceptions
from kombu.connection import Connection

from synergy.drivers.nova_rpc.address import Address, Host, Tls, read_address

LOG = logging.getLogger(__name__)
ANSWER_S: Final = 10.0
FOREIGN: Final = (
    OSError,
    amqp.exceptions.AMQPError,
    kombu.exceptions.KombuError,
)  # what a broker that is away, or refuses, makes kombu raise


class Broker:
    """The hosts of one address: the one that served last is tried first, then those behind it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._hosts = list(address.hosts)
        if address.shuffled:
            random.shuffle(self._hosts)

    @classmethod
    def of(cls, url: "str | Broker") -> "Broker":
        """Return the broker of a URL. Raises InvalidInput."""
        return url if isinstance(url, Broker) else cls(read_address(url))

    def connect(self, *, heartbeat_s: float | None = None) -> Any:
        """Return an open connection to the first host that answers; raises what the last of them
        made kombu raise. A question that the broker leaves open ANSWER_S raises TimeoutError."""
        wanted_s = self.address.heartbeat_s if heartbeat_s is None else heartbeat_s
        for _ in range(len(self._hosts) - 1):
            try:
                return self._open(self._hosts[0], wanted_s)
            except FOREIGN as error:
                LOG.warning("%s: %s does not answer: %s", self, self._hosts[0].name, error)
                self._hosts.append(self._hosts.pop(0))
        try:
            return self._open(self._hosts[0], wanted_s)
        except FOREIGN:
            self._hosts.append(self._hosts.pop(0))
            raise

    def _open(self, host: Host, heartbeat_s: float) -> object:
        connection = Connection(  # type: ignore[no-untyped-call]
            hostname=f"[{host.name}]" if ":" in host.name else host.name,
            port=host.port,
            userid=host.user,
            password=host.password,
            virtual_host=self.address.vhost,
            transport="pyamqp",
            ssl=_tls_options(self.address.tls, host.name),
            heartbeat=heartbeat_s,
            connect_timeout=ANSWER_S,
            transport_options={"read_timeout": ANSWER_S, "write_timeout": ANSWER_S},
        )
        connection.ensure_connection(max_retries=0)  # type: ignore[no-untyped-call]
        return connection

    def __str__(self) -> str:
        """Return what may be logged."""
        return str(self.address)


def _tls_options(tls: Tls | None, host: str) -> object:
    """Return what amqp wants to know: certificates are verified, and have to name the host."""
    if tls is None:
        return False
    options = {
        "cert_reqs": ssl.CERT_REQUIRED,
        "server_hostname": host,
        "ca_certs": tls.ca_file,
        "certfile": tls.cert_file,
        "keyfile": tls.key_file,
        "tls_minimum_version": ssl.TLSVersion[tls.version] if tls.version else None,
    }
    return {name: value for name, value in options.items() if value is not None}


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
