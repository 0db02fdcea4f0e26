"""Publishes on RabbitMQ with the broker's confirmation: a stream that does not wait for it, and a
publisher that does.

Must not know what a message means. A foreign error becomes the fate of a message, or one of ours.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import takewhile
from typing import Any, Final

import amqp.basic_message
import amqp.exceptions

from synergy.core.errors import HandOverFailed, HandOverUnknown
from synergy.drivers.nova_rpc.broker import FOREIGN, Broker

LOG = logging.getLogger(__name__)
CONFIRM_S: Final = 10.0  # a broker that does not confirm within that is not waited for
IDLE_S: Final = 5.0
WINDOW: Final = 1000  # messages of a publisher that may be unconfirmed
NO_ANSWER: Final = "the broker does not answer"


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


Told = Callable[[Published], None]


@dataclass(frozen=True, slots=True)
class _Pending:
    """A message that the broker did not speak of yet; why it came back, if it did."""

    outgoing: Outgoing
    told: Told
    sent_s: float
    returned: str = ""


class Stream:
    """Publishes without waiting; for one thread at a time.

    The fate of every message is told once: in `send` when it cannot be sent, else in a later `send`
    or `hear`. Who is told must not send.

    trouble  why nothing can be sent now, "" while it can
    """

    def __init__(self, url: str | Broker) -> None:
        self._broker = Broker.of(url)
        self._connection: Any = None
        self._channel: Any = None
        self._last_tag = 0
        self._used_s = 0.0
        self._pending: dict[int, _Pending] = {}  # by delivery tag, ascending
        self.trouble = ""

    def __len__(self) -> int:
        """Return how many messages have no fate yet."""
        return len(self._pending)

    def send(self, outgoing: Outgoing, told: Told) -> None:
        """Publish a message. An idle connection may have died unseen, so it is tried first."""
        try:
            self._open()
        except FOREIGN as error:
            self._break(f"{NO_ANSWER}: {error}")
            told(Published(Fate.REFUSED, self.trouble))
            return
        self._last_tag += 1
        self._used_s = time.monotonic()
        self._pending[self._last_tag] = _Pending(outgoing, told, self._used_s)
        self._guard(lambda: self._publish(outgoing))

    def hear(self, wait_s: float = 0.0) -> None:
        """Take what the broker says; wait for its first word up to `wait_s`."""
        if self._pending:
            self._guard(lambda: self._drain(wait_s))

    def hear_all(self) -> None:
        """Wait until every message has its fate, for CONFIRM_S and a little at most."""
        while self._pending:
            self.hear(CONFIRM_S)

    def forget(self) -> None:
        """Tell nobody what becomes of those without a fate."""
        self._pending.clear()

    def waiting(self, queue: str) -> int:
        """Return how many messages a queue holds that no consumer was given, 0 without a queue.

        Only while nothing is pending. Raises HandOverFailed.
        """
        try:
            self._open()
            return int(self._channel.queue_declare(queue, passive=True).message_count)
        except amqp.exceptions.NotFound:
            self.close()
            return 0
        except FOREIGN as error:
            self._break(f"{NO_ANSWER}: {error}")
            raise HandOverFailed(self.trouble) from error

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            try:
                self._connection.close()
            except FOREIGN as error:
                LOG.debug("closing a broken connection: %s", error)
        self._connection = self._channel = None

    def _open(self) -> None:
        if self._channel is not None and self._connection.connected:
            if self._pending or time.monotonic() - self._used_s < IDLE_S:
                return
            try:
                self._channel.basic_qos(0, 1, False)  # any question that is answered
                return
            except FOREIGN as error:
                LOG.debug("an idle connection died: %s", error)
        self._break(f"{NO_ANSWER}: the connection is closed")
        self._connection = self._broker.connect(heartbeat_s=0)
        self._channel = self._connection.channel()
        self._channel.confirm_select()
        self._last_tag = 0
        self._channel.events["basic_ack"].add(self._on_ack)
        self._channel.events["basic_nack"].add(self._on_nack)
        self._channel.events["basic_return"].add(self._on_return)
        self.trouble = ""

    def _publish(self, outgoing: Outgoing) -> None:
        message = amqp.basic_message.Message(
            outgoing.body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=str(self._last_tag),
            **({"expiration": outgoing.expiration_ms} if outgoing.expiration_ms else {}),
        )
        self._channel.basic_publish(
            message,
            exchange=outgoing.exchange,
            routing_key=outgoing.routing_key,
            mandatory=outgoing.mandatory,
            timeout=CONFIRM_S,
        )

    def _drain(self, wait_s: float) -> None:
        """Take frames until none is left, or nothing is pending."""
        try:
            while self._pending:
                self._connection.drain_events(timeout=wait_s)
                wait_s = 0.0
        except TimeoutError:
            oldest = next(iter(self._pending.values()))
            if time.monotonic() - oldest.sent_s >= CONFIRM_S:
                raise TimeoutError("no confirmation") from None

    def _guard(self, act: Callable[[], None]) -> None:
        """Act on the open connection; when that breaks, so does the fate of all that is pending."""
        try:
            act()
        except amqp.exceptions.NotFound as error:  # there is no such exchange
            first = next(iter(self._pending.values()), None)
            self._break(_refused(error, first.outgoing) if first else NO_ANSWER, Fate.REFUSED)
        except FOREIGN as error:
            self._break(f"{NO_ANSWER}: {error}")

    def _break(self, why: str, fate: Fate = Fate.UNKNOWN) -> None:
        """Leave the connection without a farewell, which it may never answer."""
        if self._connection is not None:
            self._connection.collect()
        self._connection = self._channel = None
        self.trouble = why
        pending, self._pending = self._pending, {}
        for one in pending.values():
            one.told(Published(fate, why))

    def _settled(self, tag: int, multiple: bool) -> list[_Pending]:
        """Return the messages that the broker speaks of."""
        tags = [tag]
        if multiple:
            tags = list(takewhile(lambda one: one <= tag, self._pending))
        return [self._pending.pop(one) for one in tags if one in self._pending]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for one in self._settled(tag, multiple):
            refused = Published(Fate.REFUSED, one.returned)
            one.told(refused if one.returned else Published(Fate.CONFIRMED))

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for one in self._settled(tag, multiple):
            one.told(Published(Fate.UNKNOWN, "the broker failed to store the message"))

    def _on_return(self, error: object, exchange: str, routing_key: str, message: Any) -> None:
        """A message without a queue comes back, and is acknowledged after that."""
        tag = int(message.properties.get("message_id", 0))
        if (one := self._pending.get(tag)) is not None:
            self._pending[tag] = replace(one, returned=_refused(error, one.outgoing))


def _refused(error: Any, outgoing: Outgoing) -> str:
    return (
        f"the broker refuses {outgoing.routing_key!r} on exchange {outgoing.exchange!r}: "
        f"{error.reply_text}"
    )


class Publisher:
    """Publishes and waits for the confirmation; from any thread, one caller at a time."""

    def __init__(self, url: str | Broker) -> None:
        self._stream = Stream(url)
        self._lock = threading.Lock()

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

        A mandatory message without a queue to go to is refused. After the connection broke
        nothing more is sent.
        """
        with self._lock:
            fates: list[Published | None] = [None] * len(outgoing)
            for place, one in enumerate(outgoing):
                self._stream.send(one, partial(fates.__setitem__, place))
                while len(self._stream) >= WINDOW:
                    self._stream.hear(CONFIRM_S)
                if self._stream.trouble:
                    break
            self._stream.hear_all()
            return [done or Published(Fate.REFUSED, self._stream.trouble) for done in fates]

    def waiting(self, queue: str) -> int:
        """Return how many messages a queue holds that no consumer was given, 0 without a queue.

        Raises HandOverFailed.
        """
        with self._lock:
            return self._stream.waiting(queue)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._stream.close()
