"""Publishes to RabbitMQ with publisher confirms: `Stream` does not wait for them, `Publisher` does.

Must not know what a message means. A broker's error becomes the result of a message, or an error of
Synergy.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from itertools import takewhile
from typing import Final

import amqp.basic_message
import amqp.exceptions
from kombu.connection import Connection

from synergy.core.errors import HandOverFailed, HandOverUnknown
from synergy.drivers.nova_rpc.broker import FOREIGN, Broker
from synergy.drivers.nova_rpc.wire import Channel, Received, Refusal

LOG = logging.getLogger(__name__)
CONFIRM_S: Final = 10.0  # how long to wait for a confirmation
IDLE_S: Final = 5.0
WINDOW: Final = 1000  # unconfirmed messages that a publisher may have in flight
NO_ANSWER: Final = "the broker does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish: its body, and the properties that must be kept."""

    body: bytes
    exchange: str
    routing_key: str
    expiration_ms: str | None = None
    mandatory: bool = True


class PublishStatus(StrEnum):
    """Whether the broker took a message."""

    CONFIRMED = "confirmed"  # the broker has it
    REFUSED = "refused"  # nothing was published
    UNKNOWN = "unknown"  # the connection broke before the broker confirmed


@dataclass(frozen=True, slots=True)
class PublishResult:
    """The result of publishing one message, and why it is not confirmed."""

    status: PublishStatus
    why: str = ""


OnResult = Callable[[PublishResult], None]


@dataclass(frozen=True, slots=True)
class _Pending:
    """A message without a confirmation yet. `returned` says why the broker returned it, if so."""

    outgoing: Outgoing
    on_result: OnResult
    sent_s: float
    returned: str = ""


class Stream:
    """Publishes without waiting for confirmations. Use it from one thread at a time.

    `on_result` is called once for every message: in `send` when it cannot be sent, else in a later
    `send` or `poll`. It must not call `send`.

    connection_error  why nothing can be sent now, "" while it can
    """

    def __init__(self, url: str | Broker) -> None:
        self._broker = Broker.of(url)
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._last_tag = 0
        self._used_s = 0.0
        self._pending: dict[int, _Pending] = {}  # by delivery tag, ascending
        self.connection_error = ""

    def __len__(self) -> int:
        """Return how many messages have no result yet."""
        return len(self._pending)

    def send(self, outgoing: Outgoing, on_result: OnResult) -> None:
        """Publish a message. An idle connection may have died unnoticed, so it is tested first."""
        try:
            channel = self._open()
        except FOREIGN as error:
            self._break(f"{NO_ANSWER}: {error}")
            on_result(PublishResult(PublishStatus.REFUSED, self.connection_error))
            return
        self._last_tag += 1
        self._used_s = time.monotonic()
        self._pending[self._last_tag] = _Pending(outgoing, on_result, self._used_s)
        self._guard(lambda: self._publish(channel, outgoing))

    def poll(self, wait_s: float = 0.0) -> None:
        """Process what the broker sent; wait up to `wait_s` for its first frame."""
        if self._pending:
            self._guard(lambda: self._drain(wait_s))

    def wait_for_confirms(self) -> None:
        """Wait until every message has its result, for little more than CONFIRM_S."""
        while self._pending:
            self.poll(CONFIRM_S)

    def forget(self) -> None:
        """Drop the messages without a result; their `on_result` is never called."""
        self._pending.clear()

    def waiting(self, queue: str) -> int:
        """Return how many messages of a queue no consumer has received, 0 without a queue.

        Only while nothing is pending. Raises HandOverFailed.
        """
        try:
            return int(self._open().queue_declare(queue, passive=True).message_count)
        except amqp.exceptions.NotFound:
            self.close()
            return 0
        except FOREIGN as error:
            self._break(f"{NO_ANSWER}: {error}")
            raise HandOverFailed(self.connection_error) from error

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            try:
                self._connection.close()
            except FOREIGN as error:
                LOG.debug("closing a broken connection: %s", error)
        self._connection = self._channel = None

    def _open(self) -> Channel:
        used = self._channel
        if used is not None and self._connection is not None and self._connection.connected:
            if self._pending or time.monotonic() - self._used_s < IDLE_S:
                return used
            try:
                used.basic_qos(0, 1, False)  # any request that gets a response
                return used
            except FOREIGN as error:
                LOG.debug("an idle connection died: %s", error)
        self._break(f"{NO_ANSWER}: the connection is closed")
        self._connection = self._broker.connect(heartbeat_s=0)
        channel: Channel = self._connection.channel()
        self._channel = channel
        channel.confirm_select()
        self._last_tag = 0
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)
        self.connection_error = ""
        return channel

    def _publish(self, channel: Channel, outgoing: Outgoing) -> None:
        message = amqp.basic_message.Message(
            outgoing.body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=str(self._last_tag),
            **({"expiration": outgoing.expiration_ms} if outgoing.expiration_ms else {}),
        )
        channel.basic_publish(
            message,
            exchange=outgoing.exchange,
            routing_key=outgoing.routing_key,
            mandatory=outgoing.mandatory,
            timeout=CONFIRM_S,
        )

    def _drain(self, wait_s: float) -> None:
        """Process frames until none is left, or nothing is pending."""
        try:
            while self._pending and self._connection is not None:
                self._connection.drain_events(timeout=wait_s)
                wait_s = 0.0
        except TimeoutError:
            oldest = next(iter(self._pending.values()))
            if time.monotonic() - oldest.sent_s >= CONFIRM_S:
                raise TimeoutError("no confirmation") from None

    def _guard(self, act: Callable[[], None]) -> None:
        """Act on the open connection; if that breaks, all pending messages get their result."""
        try:
            act()
        except amqp.exceptions.NotFound as error:
            # The exchange does not exist, so nothing was published.
            first = next(iter(self._pending.values()), None)
            self._break(
                _refused(error, first.outgoing) if first else NO_ANSWER, PublishStatus.REFUSED
            )
        except FOREIGN as error:
            self._break(f"{NO_ANSWER}: {error}")

    def _break(self, why: str, status: PublishStatus = PublishStatus.UNKNOWN) -> None:
        """Drop the connection, and give every pending message `status` as its result.

        It is not closed properly, because a dead peer would never answer that.
        """
        if self._connection is not None:
            self._connection.collect()
        self._connection = self._channel = None
        self.connection_error = why
        pending, self._pending = self._pending, {}
        for message in pending.values():
            message.on_result(PublishResult(status, why))

    def _settled(self, tag: int, multiple: bool) -> list[_Pending]:
        """Take the messages that a confirmation covers off the pending ones, and return them."""
        tags = [tag]
        if multiple:
            tags = list(takewhile(lambda one: one <= tag, self._pending))
        return [self._pending.pop(one) for one in tags if one in self._pending]

    def _on_ack(self, tag: int, multiple: bool) -> None:
        for one in self._settled(tag, multiple):
            refused = PublishResult(PublishStatus.REFUSED, one.returned)
            one.on_result(refused if one.returned else PublishResult(PublishStatus.CONFIRMED))

    def _on_nack(self, tag: int, multiple: bool) -> None:
        for one in self._settled(tag, multiple):
            one.on_result(
                PublishResult(PublishStatus.UNKNOWN, "the broker failed to store the message")
            )

    def _on_return(
        self, error: Refusal, exchange: str, routing_key: str, message: Received
    ) -> None:
        """Remember why: the broker returns an unroutable message first, and confirms it
        afterwards."""
        tag = int(message.properties.get("message_id") or 0)
        if (one := self._pending.get(tag)) is not None:
            self._pending[tag] = replace(one, returned=_refused(error, one.outgoing))


def _refused(error: Refusal, outgoing: Outgoing) -> str:
    return (
        f"the broker refuses {outgoing.routing_key!r} on exchange {outgoing.exchange!r}: "
        f"{error.reply_text}"
    )


class Publisher:
    """Publishes and waits for the confirmation. For any thread; a lock admits one caller at a
    time."""

    def __init__(self, url: str | Broker) -> None:
        self._stream = Stream(url)
        self._lock = threading.Lock()

    def publish(self, outgoing: Outgoing) -> None:
        """Return once the broker has the message.

        Raises HandOverFailed when it was not published, HandOverUnknown when it may have been.
        """
        (done,) = self.publish_all([outgoing])
        if done.status is PublishStatus.REFUSED:
            raise HandOverFailed(done.why)
        if done.status is PublishStatus.UNKNOWN:
            raise HandOverUnknown(done.why)

    def publish_all(self, outgoing: Sequence[Outgoing]) -> list[PublishResult]:
        """Publish messages without waiting for each, and return the result of every one.

        A mandatory message that no queue receives is refused. Once the connection broke, nothing
        more is sent.
        """
        with self._lock:
            results: list[PublishResult | None] = [None] * len(outgoing)
            for place, one in enumerate(outgoing):
                self._stream.send(one, partial(results.__setitem__, place))
                while len(self._stream) >= WINDOW:
                    self._stream.poll(CONFIRM_S)
                if self._stream.connection_error:
                    break
            self._stream.wait_for_confirms()
            return [
                done or PublishResult(PublishStatus.REFUSED, self._stream.connection_error)
                for done in results
            ]

    def waiting(self, queue: str) -> int:
        """Return how many messages of a queue no consumer has received, 0 without a queue.

        Raises HandOverFailed.
        """
        with self._lock:
            return self._stream.waiting(queue)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._stream.close()
