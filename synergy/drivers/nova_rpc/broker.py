"""RabbitMQ connections and queue declarations, shared by the consumers and publishers.

Must not know what a message means.
"""

import logging
import random
import ssl
from dataclasses import dataclass
from typing import Final

import amqp.exceptions
import kombu.exceptions
from kombu.connection import Connection

from synergy.drivers.nova_rpc.address import Address, Host, Tls, read_address
from synergy.drivers.nova_rpc.wire import Declaring, Received

LOG = logging.getLogger(__name__)
RESPONSE_TIMEOUT_S: Final = 10.0
FANOUT_KEPT_S: Final = 7 * 86_400  # how long Synergy may be away
FOREIGN: Final = (
    OSError,
    amqp.exceptions.AMQPError,
    kombu.exceptions.KombuError,
)  # what kombu raises when a broker is down or refuses


class Broker:
    """Connects to one of the hosts of an address, first to the one that worked last."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._hosts = list(address.hosts)
        if address.shuffled:
            random.shuffle(self._hosts)

    @classmethod
    def of(cls, url: "str | Broker") -> "Broker":
        """Return the broker of a URL. Raises InvalidInput."""
        return url if isinstance(url, Broker) else cls(read_address(url))

    def connect(self, *, heartbeat_s: float | None = None) -> Connection:
        """Return an open connection to the first host that answers. Raises kombu's error for the
        last host if none does. On the connection, a request without a response in
        RESPONSE_TIMEOUT_S raises TimeoutError."""
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

    def _open(self, host: Host, heartbeat_s: float) -> Connection:
        connection = Connection(
            hostname=f"[{host.name}]" if ":" in host.name else host.name,
            port=host.port,
            userid=host.user,
            password=host.password,
            virtual_host=self.address.vhost,
            transport="pyamqp",
            ssl=_tls_options(self.address.tls, host.name),
            heartbeat=heartbeat_s,
            connect_timeout=RESPONSE_TIMEOUT_S,
            transport_options={
                "read_timeout": RESPONSE_TIMEOUT_S,
                "write_timeout": RESPONSE_TIMEOUT_S,
            },
        )
        connection.ensure_connection(max_retries=0)
        return connection

    def __str__(self) -> str:
        """Return the address without passwords, for logs."""
        return str(self.address)


def _tls_options(tls: Tls | None, host: str) -> object:
    """Return amqp's TLS options: the certificate is verified and must match the host name."""
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


def body_of(message: Received) -> bytes:
    """Return the body of a message as it came."""
    body = message.body
    return body if isinstance(body, bytes) else str(body).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """How Nova declares queues and exchanges; a declaration that differs is refused by the broker.

    durable           [oslo_messaging_rabbit] amqp_durable_queues
    quorum            rabbit_quorum_queue, which is durable
    transient_quorum  rabbit_transient_quorum_queue, for fanout and reply queues
    """

    durable: bool = False
    quorum: bool = False
    transient_quorum: bool = False


def declare(
    channel: Declaring, queue: str, *, exchange: str, routing_key: str, durability: Durability
) -> None:
    """Declare a topic exchange, queue and binding exactly as oslo.messaging does, so that either
    side may start first."""
    durable = durability.durable or durability.quorum
    arguments = {"x-queue-type": "quorum"} if durability.quorum else {}
    channel.exchange_declare(exchange, "topic", durable=durable, auto_delete=False)
    channel.queue_declare(queue, durable=durable, auto_delete=False, arguments=arguments)
    channel.queue_bind(queue, exchange, routing_key)


def declare_fanout(channel: Declaring, exchange: str, queue: str, durability: Durability) -> None:
    """Declare a fanout exchange as oslo.messaging does, and a queue of ours on it, which keeps what
    is published while nobody consumes, for FANOUT_KEPT_S.

    Without a queue the exchange is deleted, and what nova-api tells its schedulers is lost
    silently: their view of the aggregates stays wrong until they restart. The queue is durable
    whatever Nova's are: RabbitMQ 4 gives up queues that are neither durable nor exclusive.
    """
    durable = durability.transient_quorum
    channel.exchange_declare(exchange, "fanout", durable=durable, auto_delete=True)
    arguments = {"x-expires": FANOUT_KEPT_S * 1000}
    channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
    channel.queue_bind(queue, exchange, "")


def declare_replies(channel: Declaring, queue: str) -> None:
    """Declare a queue of ours for replies, which is deleted with its consumer; it is durable for
    the same reason."""
    channel.queue_declare(queue, durable=True, auto_delete=True)
