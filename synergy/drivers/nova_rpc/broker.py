"""Connections to RabbitMQ: one that publishes with confirms, and threads that consume.

Must not know what a message means. A foreign error becomes one of ours here.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

import amqp.exceptions
import kombu.exceptions
from kombu.connection import Connection

from synergy.core.errors import HandOverFailed, HandOverUnknown

LOG = logging.getLogger(__name__)
T = TypeVar("T")
FIRST_REST_S: Final = 1.0
LONGEST_REST_S: Final = 30.0
HEARTBEAT_S: Final = 30.0
CONFIRM_S: Final = 10.0  # a broker that does not confirm within that is not waited for
IDLE_S: Final = 5.0
WINDOW: Final = 200  # messages that may be unconfirmed
NO_ANSWER: Final = "the broker does not answer"
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


class Fate(StrEnum):
    """What became of a message that was to be published."""

    CONFIRMED = "confirmed"  # the broker has it
    REFUSED = "refused"  # nothing was published
    UNKNOWN = "unknown"  # the connection broke before the broker said


@dataclass(frozen=True, slots=True)
class Published:
    """The fate of one message, and why it is not confirmed."""

    fate: Fate
    why: str = ""


def connect(url: str, *, heartbeat_s: float = HEARTBEAT_S) -> Any:
    """Return a connection, not opened yet."""
    return Connection(  # type: ignore[no-untyped-call]
        url.replace("rabbit://", "pyamqp://", 1), heartbeat=heartbeat_s, connect_timeout=10
    )


class Publisher:
    """Publishes with the broker's confirmation, from any thread, one caller at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Any = None
        self._channel: Any = None
        self._lock = threading.Lock()
        self._last_tag = 0
        self._used_s = 0.0
        self._open_tags: dict[int, int] = {}  # delivery tag -> place among the messages
        self._fates: list[Published] = []

    def publish(self, outgoing: Outgoing) -> None:
        """Return once the broker has the message.

        Raises HandOverFailed when it was not published, HandOverUnknown when it may have been.
        """
        (done,) = self.publish_all([outgoing])
        if done.fate is Fate.REFUSED:
            raise HandOverFailed(done.why)
        if done.fate is Fate.UNKNOWN:
            raise HandOverUnknown(done.why)

    def publish_all(self, outgoing: Sequence[Outgoing]) -> list[Published]:
        """Publish messages without waiting for each, and return the fate of every one.

        An idle connection may have died unseen, so it is tried first. A mandatory message without
        a queue to go to is refused.
        """
        with self._lock:
            self._fates = [Published(Fate.REFUSED, NO_ANSWER)] * len(outgoing)
            self._open_tags.clear()
            try:
                self._open()
                for start in range(0, len(outgoing), WINDOW):
                    for place in range(start, min(start + WINDOW, len(outgoing))):
                        self._send(place, outgoing[place])
                    self._await_confirms()
            except amqp.exceptions.NotFound as error:  # there is no such exchange
                self._drop()
                first = outgoing[min(self._open_tags.values(), default=0)]
                self._lost(
                    f"the broker refuses {first.routing_key!r} on exchange {first.exchange!r}: "
                    f"{error.reply_text}",
                    Fate.REFUSED,
                )
            except FOREIGN as error:
                self._drop()
                self._lost(f"{NO_ANSWER}: {error}")
            self._used_s = time.monotonic()
            return self._fates

    def _lost(self, why: str, fate: Fate | None = None) -> None:
        """Tell why those have no confirmation that were sent, and those that were not."""
        for place, done in enumerate(self._fates):
            if done.why == NO_ANSWER:
                self._fates[place] = Published(fate or done.fate, why)

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
                raise HandOverFailed(f"{NO_ANSWER}: {error}") from error

    def _open(self) -> None:
        if self._channel is not None and self._connection.connected:
            if time.monotonic() - self._used_s < IDLE_S:
                return
            try:
                self._channel.basic_qos(0, 1, False)  # any question that is answered
                return
            except FOREIGN as error:
                LOG.debug("an idle connection died: %s", error)
        self._drop()
        self._connection = connect(self._url, heartbeat_s=0)
        self._channel = self._connection.channel()
        self._channel.confirm_select()
        self._last_tag = 0
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)

    def _send(self, place: int, outgoing: Outgoing) -> None:
        self._last_tag += 1
        message = amqp.basic_message.Message(
            outgoing.body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=str(self._last_tag),
            **({"expiration": outgoing.expiration_ms} if outgoing.expiration_ms else {}),
        )
        self._open_tags[self._last_tag] = place
        self._fates[place] = Published(Fate.UNKNOWN, NO_ANSWER)
        self._channel.basic_publish(
            message,
            exchange=outgoing.exchange,
            routing_key=outgoing.routing_key,
            mandatory=outgoing.mandatory,
            timeout=CONFIRM_S,
        )

    def _await_confirms(self) -> None:
        deadline_s = time.monotonic() + CONFIRM_S
        while self._open_tags:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("no confirmation")
            self._connection.drain_events(timeout=left_s)

    def _settled(self, tag: int, multiple: bool) -> list[int]:
        """Return the places of the messages that the broker speaks of."""
        tags = [one for one in self._open_tags if one <= tag] if multiple else [tag]
        return [self._open_tags.pop(one) for one in tags if one in self._open_tags]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for place in self._settled(tag, multiple):
            if self._fates[place].fate is Fate.UNKNOWN:
                self._fates[place] = Published(Fate.CONFIRMED)

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for place in self._settled(tag, multiple):
            self._fates[place] = Published(Fate.UNKNOWN, "the broker failed to store the message")

    def _on_return(self, error: Any, exchange: str, routing_key: str, message: Any) -> None:
        """A message without a queue comes back, and is acknowledged after that."""
        place = self._open_tags.get(int(message.properties.get("message_id", 0)))
        if place is not None:
            why = f"the broker refuses {routing_key!r} on exchange {exchange!r}: {error.reply_text}"
            self._fates[place] = Published(Fate.REFUSED, why)

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


class Unacknowledged:
    """The messages of one channel that the broker waits to hear of; for the consumer's thread.

    An acknowledgement is a frame and a system call, so that of everything up to a message is one
    wherever nothing before it is still open. Deliveries of a channel are numbered one after the
    other, whichever queue they come from, so all of them have to be told here.
    """

    def __init__(self) -> None:
        self._order: deque[int] = deque()  # delivery tags, ascending
        self._settled: set[int] = set()  # those of them that the broker heard of
        self._handled: list[int] = []  # of which it has to hear

    def begin(self) -> None:
        """Forget what came on the last channel."""
        self._order.clear()
        self._settled.clear()
        self._handled.clear()

    def came(self, tag: int) -> None:
        """Note a delivery."""
        self._order.append(tag)

    def handled(self, tag: int) -> None:
        """Have a delivery acknowledged."""
        self._handled.append(tag)

    def returned(self, tag: int) -> None:
        """Note that the broker was told to keep a delivery."""
        self._settled.add(tag)

    def settle(self, channel: Any) -> None:
        """Tell the broker what was handled."""
        if not self._handled:
            return
        handled, self._handled = set(self._handled), []
        last = 0
        while self._order and (self._order[0] in handled or self._order[0] in self._settled):
            tag = self._order.popleft()
            self._settled.discard(tag)
            if tag in handled:
                handled.discard(tag)
                last = tag
        if last:
            channel.basic_ack(last, multiple=True)
        for tag in sorted(handled):
            channel.basic_ack(tag)
            self._settled.add(tag)


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

    def settle(self, unacknowledged: Unacknowledged) -> None:
        """Pass on what was handled."""
        if not self._done:
            return
        with self._lock:
            done, self._done = self._done, deque()
        for taken in done:
            if taken.epoch == self._epoch:
                unacknowledged.handled(taken.tag)


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
        if self._turn is not None:
            self._turn(channel)  # what was relayed last must not come again

    def stop(self) -> None:
        """End the thread; what is not acknowledged goes back to the queue."""
        self._stopped.set()
        self.join(timeout=5)


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
