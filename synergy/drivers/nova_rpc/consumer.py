"""Consumes from RabbitMQ on its own thread, and acknowledges messages once they were handled.

Must not know what a message means, nor who handles it.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from kombu.connection import Connection

from synergy.core.backoff import Backoff
from synergy.drivers.nova_rpc.broker import FOREIGN, Broker
from synergy.drivers.nova_rpc.wire import Acknowledging, Channel

LOG = logging.getLogger(__name__)
T = TypeVar("T")
MAX_RECONNECT_S: Final = 30.0
DRAIN_S: Final = 0.02  # how long a consumer waits for a message before it calls on_idle


class PendingAcks:
    """Acknowledgements that one channel still has to send. Only for the consumer's thread.

    Each acknowledgement is a frame and a system call, so messages are acknowledged together
    (multiple=True) wherever no earlier one is still open. That flag covers every delivery tag up to
    the given one, and tags are numbered per channel across all its queues: every delivery of the
    channel must be passed to `received`, or it would be acknowledged before it was handled.
    """

    def __init__(self) -> None:
        self._order: deque[int] = deque()  # delivery tags, ascending
        self._settled: set[int] = set()  # those in _order that are acknowledged
        self._handled: list[int] = []  # those to acknowledge at the next flush

    def reset(self) -> None:
        """Forget the deliveries of the last channel: their tags mean nothing on a new one."""
        self._order.clear()
        self._settled.clear()
        self._handled.clear()

    def received(self, tag: int) -> None:
        """Record a delivery."""
        self._order.append(tag)

    def handled(self, tag: int) -> None:
        """Have a delivery acknowledged at the next flush."""
        self._handled.append(tag)

    def flush(self, channel: Acknowledging) -> None:
        """Acknowledge all handled messages, with as few frames as possible."""
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
    """Passes messages from a consumer to another thread, and their acknowledgements back.

    `put` and `flush_to` are for the consumer's thread, `fetch` and `acknowledge` for any other. A
    message belongs to the connection that it came on: when that ends, the broker redelivers what
    was not acknowledged, so a late acknowledgement is dropped (its epoch is over).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived: deque[T] = deque()
        self._deliveries: dict[str, list[_DeliveryTag]] = {}
        self._acknowledged: deque[_DeliveryTag] = deque()
        self._epoch = 0

    def reset(self) -> None:
        """Forget the messages of the last connection."""
        with self._lock:
            self._epoch += 1
            self._arrived.clear()
            self._deliveries.clear()
            self._acknowledged.clear()

    def put(self, key: str, item: T, tag: int) -> None:
        """Add a message; `key` is the same when the broker redelivers it."""
        with self._lock:
            self._deliveries.setdefault(key, []).append(_DeliveryTag(self._epoch, tag))
            self._arrived.append(item)

    def fetch(self, *, limit: int) -> list[T]:
        """Return up to `limit` items, each once."""
        with self._lock:
            count = min(limit, len(self._arrived))
            return [self._arrived.popleft() for _ in range(count)]

    def acknowledge(self, keys: Iterable[str]) -> None:
        """Have these acknowledged. The broker redelivers those of a connection that is gone."""
        with self._lock:
            for key in keys:
                self._acknowledged.extend(self._deliveries.pop(key, ()))

    def flush_to(self, acks: PendingAcks) -> None:
        """Pass the acknowledgements on to the channel's."""
        if not self._acknowledged:
            return
        with self._lock:
            done, self._acknowledged = self._acknowledged, deque()
        for taken in done:
            if taken.epoch == self._epoch:
                acks.handled(taken.tag)


@dataclass(frozen=True, slots=True)
class _DeliveryTag:
    """A message that waits for its acknowledgement: its connection, and its tag on that."""

    epoch: int
    tag: int


class Consumer(threading.Thread):
    """Consumes on its own thread until stopped; reconnects with growing delays.

    setup    declares queues and starts consumers on a fresh channel
    on_idle  is called between messages, on this thread, with the channel
    on_stop  is called with the channel before an orderly stop
    """

    def __init__(
        self,
        name: str,
        url: str | Broker,
        setup: Callable[[Channel], None],
        on_idle: Callable[[Channel], None] | None = None,
        on_stop: Callable[[Channel], None] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._broker = Broker.of(url)
        self._setup, self._on_idle, self._on_stop = setup, on_idle, on_stop
        self._stopped = threading.Event()
        self.ready = threading.Event()
        self.connection_error = ""  # why there is no connection now, "" while there is one

    def run(self) -> None:
        """Consume until stopped."""
        first_s = self._broker.address.reconnect_s
        backoff = Backoff(initial_s=first_s, max_s=max(first_s, MAX_RECONNECT_S))
        rest_s = first_s
        while not self._stopped.is_set():
            try:
                with self._broker.connect() as connection:
                    self._consume(connection)
            except Exception as error:  # an error must not end the thread unnoticed
                if not isinstance(error, FOREIGN):
                    LOG.exception("%s failed", self.name)
                rest_s = backoff.next_s(0.0 if self.ready.is_set() else rest_s)
                self.ready.clear()
                self.connection_error = f"{type(error).__name__}: {error}"
                LOG.error(
                    "%s: %s; reconnecting in %.0f s", self.name, self.connection_error, rest_s
                )
                self._stopped.wait(rest_s)
        self.ready.clear()

    def _consume(self, connection: Connection) -> None:
        channel: Channel = connection.channel()
        channel.auto_decode = False  # pass a body on as bytes, whatever encoding its header names
        self._setup(channel)
        self.connection_error = ""
        self.ready.set()
        while not self._stopped.is_set():
            if self._on_idle is not None:
                self._on_idle(channel)
            try:
                connection.drain_events(timeout=DRAIN_S)
            except TimeoutError:
                connection.heartbeat_check()
        if self._on_stop is not None:
            self._on_stop(channel)

    def stop(self) -> None:
        """End the thread; what is not acknowledged goes back to the queue."""
        self._stopped.set()
        self.join(timeout=5)
