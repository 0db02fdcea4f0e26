"""Consumes from RabbitMQ on a thread of its own, and says what was handled when it was.

Must not know what a message means, nor who handles it.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from synergy.core.backoff import Backoff
from synergy.drivers.nova_rpc.broker import FOREIGN, Broker

LOG = logging.getLogger(__name__)
T = TypeVar("T")
LONGEST_REST_S: Final = 30.0
DRAIN_S: Final = 0.02  # how long a consumer waits for a message before it looks at what to do else


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


class Consumer(threading.Thread):
    """Consumes on a thread of its own, and connects anew, resting longer each time, until stopped.

    begin  sets up queues and consumers on a fresh channel
    turn   is called between messages, on this thread, with the channel
    end    is called with the channel before an orderly end
    """

    def __init__(
        self,
        name: str,
        url: str | Broker,
        begin: Callable[[Any], None],
        turn: Callable[[Any], None] | None = None,
        end: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._broker = Broker.of(url)
        self._begin, self._turn, self._end = begin, turn, end
        self._stopped = threading.Event()
        self.ready = threading.Event()
        self.trouble = ""  # why there is no connection now

    def run(self) -> None:
        """Consume until stopped."""
        first_s = self._broker.address.reconnect_s
        backoff = Backoff(initial_s=first_s, max_s=max(first_s, LONGEST_REST_S))
        rest_s = first_s
        while not self._stopped.is_set():
            try:
                with self._broker.connect() as connection:
                    self._consume(connection)
            except Exception as error:  # the thread must not end while it is said to run
                if not isinstance(error, FOREIGN):
                    LOG.exception("%s failed", self.name)
                rest_s = backoff.next_s(0.0 if self.ready.is_set() else rest_s)
                self.ready.clear()
                self.trouble = f"{type(error).__name__}: {error}"
                LOG.error("%s: %s; tried again in %.0f s", self.name, self.trouble, rest_s)
                self._stopped.wait(rest_s)
        self.ready.clear()

    def _consume(self, connection: Any) -> None:
        channel = connection.channel()
        channel.auto_decode = (
            False  # a body is passed on as it came, whatever its encoding is said to be
        )
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
        if self._end is not None:
            self._end(channel)

    def stop(self) -> None:
        """End the thread; what is not acknowledged goes back to the queue."""
        self._stopped.set()
        self.join(timeout=5)
