"""Connections to RabbitMQ: one that publishes with confirms, and threads that consume.

Must not know what a message means. A foreign error becomes one of ours here.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import amqp.exceptions
import kombu.exceptions
from kombu.connection import Connection

from synergy.core.errors import HandOverFailed

LOG = logging.getLogger(__name__)
T = TypeVar("T")
FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 30.0
HEARTBEAT_S: Final = 30.0
DRAIN_S: Final = 0.02  # how long a consumer waits for a message before it looks at what to do else
FOREIGN: Final = (
    OSError,
    amqp.exceptions.AMQPError,
    kombu.exceptions.KombuError,
)  # what a broker that is away, or refuses, makes kombu raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish: the body as it is, and what has to be kept of its properties."""

    body: bytes
    exchange: str
    routing_key: str
    expiration_ms: str | None = None
    mandatory: bool = True


def connect(url: str, *, confirm: bool = False) -> Any:
    """Return a connection, not opened yet."""
    return Connection(  # type: ignore[no-untyped-call]
        url.replace("rabbit://", "pyamqp://", 1),
        heartbeat=0 if confirm else HEARTBEAT_S,
        connect_timeout=10,
        transport_options={"confirm_publish": confirm},
    )


class Publisher:
    """Publishes one message at a time, each confirmed by the broker, from any thread."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._channel: Any = None
        self._lock = threading.Lock()

    def publish(self, outgoing: Outgoing) -> None:
        """Return once the broker has the message. Raises HandOverFailed: it may be tried again.

        An idle connection may have died unseen: what fails at once is tried a second time on a
        fresh one. A mandatory message without a queue to go to is refused by the broker.
        """
        with self._lock:
            try:
                self._send(outgoing)
            except amqp.exceptions.ChannelError as error:
                self._drop()
                raise HandOverFailed(
                    f"the broker refuses {outgoing.routing_key!r} on exchange "
                    f"{outgoing.exchange!r}: {error.reply_text or error}"
                ) from error
            except FOREIGN as error:
                self._drop()
                raise HandOverFailed(f"the broker does not answer: {error}") from error

    def waiting(self, queue: str) -> int:
        """Return how many messages a queue holds that no consumer was given, 0 without a queue.

        Raises HandOverFailed.
        """
        with self._lock:
            try:
                self._open()
                return int(self._channel.queue_declare(queue, passive=True).message_count)
            except amqp.exceptions.NotFound:
                self._drop()
                return 0
            except FOREIGN as error:
                self._drop()
                raise HandOverFailed(f"the broker does not answer: {error}") from error

    def _open(self) -> None:
        if self._channel is None or not self._connection.connected:
            self._drop()
            self._connection = connect(self._url, confirm=True)
            self._channel = self._connection.channel()

    def _send(self, outgoing: Outgoing) -> None:
        self._open()
        message = amqp.basic_message.Message(
            outgoing.body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            **({"expiration": outgoing.expiration_ms} if outgoing.expiration_ms else {}),
        )
        self._channel.basic_publish(
            message,
            exchange=outgoing.exchange,
            routing_key=outgoing.routing_key,
            mandatory=outgoing.mandatory,
            timeout=10,
            confirm_timeout=10,
        )

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                connection.close()
            except FOREIGN as error:
                LOG.debug("closing a broken connection: %s", error)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._drop()


class Inbox(Generic[T]):
    """What a consumer took and somebody else handles: acknowledged only when he says so.

    Filled and emptied of acknowledgements on the consumer's thread, read on any other. A message
    belongs to the connection that it came on: what that leaves unacknowledged comes again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived: deque[T] = deque()
        self._taken: dict[str, list[_Taken]] = {}
        self._done: deque[_Taken] = deque()
        self._epoch = 0

    def begin(self) -> None:
        """Forget what came on the last connection."""
        with self._lock:
            self._epoch += 1
            self._arrived.clear()
            self._taken.clear()
            self._done.clear()

    def put(self, key: str, item: T, tag: int) -> None:
        """Add what came with a delivery tag; `key` is the same when it comes again."""
        with self._lock:
            self._taken.setdefault(key, []).append(_Taken(self._epoch, tag))
            self._arrived.append(item)

    def fetch(self, *, limit: int) -> list[T]:
        """Return up to `limit` items, each once."""
        with self._lock:
            count = min(limit, len(self._arrived))
            return [self._arrived.popleft() for _ in range(count)]

    def acknowledge(self, keys: Iterable[str]) -> None:
        """Have these acknowledged. One from a connection that is gone comes again."""
        with self._lock:
            for key in keys:
                self._done.extend(self._taken.pop(key, ()))

    def settle(self, channel: Any) -> None:
        """Acknowledge to the broker what was handled."""
        while self._done:
            with self._lock:
                if not self._done:
                    return
                taken = self._done.popleft()
            if taken.epoch == self._epoch:
                channel.basic_ack(taken.tag)


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message that waits for its acknowledgement: which connection it came on, and its tag."""

    epoch: int
    tag: int


def body_of(message: Any) -> bytes:
    """Return the body of a message as it came."""
    body = message.body
    return body if isinstance(body, bytes) else str(body).encode()


class Consumer(threading.Thread):
    """Consumes on a thread of its own, and connects anew, resting longer each time, until stopped.

    begin  sets up queues and consumers on a fresh channel
    turn   is called between messages, on this thread, with the channel
    """

    def __init__(
        self,
        name: str,
        url: str,
        begin: Callable[[Any], None],
        turn: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._url, self._begin, self._turn = url, begin, turn
        self._stopped = threading.Event()
        self.ready = threading.Event()
        self.trouble = ""  # why there is no connection now

    def run(self) -> None:
        """Consume until stopped."""
        rest_s = FIRST_REST_S
        while not self._stopped.is_set():
            try:
                with connect(self._url) as connection:
                    self._consume(connection)
            except Exception as error:  # the thread must not end while it is said to run
                if not isinstance(error, FOREIGN):
                    LOG.exception("%s failed", self.name)
                rest_s = FIRST_REST_S if self.ready.is_set() else min(rest_s * 2, LONGEST_REST_S)
                self.ready.clear()
                self.trouble = f"{type(error).__name__}: {error}"
                LOG.error("%s: %s; tried again in %.0f s", self.name, self.trouble, rest_s)
                self._stopped.wait(rest_s)
        self.ready.clear()

    def _consume(self, connection: Any) -> None:
        channel = connection.channel()
        self._begin(channel)
        self.trouble = ""
        self.ready.set()
        while not self._stopped.is_set():
            if self._turn is not None:
                self._turn(channel)
            try:
                connection.drain_events(timeout=DRAIN_S)
            except TimeoutError:
                connection.heartbeat_check()

    def stop(self) -> None:
        """End the thread; what is not acknowledged goes back to the queue."""
        self._stopped.set()
        self.join(timeout=5)


def declare(
    channel: Any, queue: str, *, exchange: str, routing_key: str, kind: str, quorum: bool
) -> None:
    """Make exchange, queue and binding as oslo.messaging does, so that either may come first."""
    fanout = kind == "fanout"
    channel.exchange_declare(exchange, kind, durable=quorum and not fanout, auto_delete=fanout)
    arguments: Mapping[str, Any] = {"x-queue-type": "quorum"} if quorum and not fanout else {}
    channel.queue_declare(
        queue, durable=quorum and not fanout, auto_delete=fanout, arguments=dict(arguments)
    )
    channel.queue_bind(queue, exchange, routing_key)
