"""Notifications of Nova and Keystone, from Synergy's own queues.

Why: on a queue shared with Ceilometer each would lose what the other takes, so each topic has a
pool of Synergy's own. It uses kombu, as the relay does: a notification is acknowledged only once
its effect is committed, and an odd one is dropped alone. The listener of oslo.messaging does not do
both; the architecture page says what it does. Must not know what follows from a notification.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from synergy.core.errors import InvalidInput, UpstreamUnavailable, error_line
from synergy.drivers import envelope, message_schema, nova_message
from synergy.drivers.message_schema import DATA, object_at, read_fields, shown, storable
from synergy.drivers.nova_rpc.broker import Broker, Durability, body_of, declare
from synergy.drivers.nova_rpc.consumer import Consumer, Inbox, PendingAcks
from synergy.drivers.nova_rpc.wire import Acknowledging, Consuming, Declaring, Received
from synergy.drivers.rate_limited_log import RateLimitedLog
from synergy.ports import Notice, NoticeKind, Wake

LOG = logging.getLogger(__name__)
PRIORITIES: Final = ("info", "error")
_MAX_DETAIL_CHARS: Final = 255
_VERSIONED: Final[Mapping[str, NoticeKind]] = {
    "instance.create.end": NoticeKind.BOOTED,
    "instance.create.error": NoticeKind.ATTEMPT_FAILED,
    "compute_task.build_instances.error": NoticeKind.FAILED,
    "instance.delete.end": NoticeKind.DELETED,
    "instance.shelve_offload.end": NoticeKind.SHELVED,
    "instance.unshelve.end": NoticeKind.UNSHELVED,
    "instance.resize_confirm.end": NoticeKind.RESIZED,
    "instance.resize_revert.end": NoticeKind.RESIZED,
    "instance.force_delete.end": NoticeKind.DELETED,
    "instance.evacuate": NoticeKind.CHANGED,
    "instance.rebuild.end": NoticeKind.CHANGED,
    "instance.rebuild.error": NoticeKind.CHANGED,
    "instance.live_migration_post_dest.end": NoticeKind.CHANGED,
    "instance.resize_finish.end": NoticeKind.CHANGED,
    "instance.restore.end": NoticeKind.CHANGED,
    "instance.soft_delete.end": NoticeKind.CHANGED,
}
_LEGACY: Final[Mapping[str, NoticeKind]] = {
    "compute.instance.create.end": NoticeKind.BOOTED,
    "compute.instance.create.error": NoticeKind.ATTEMPT_FAILED,
    "compute_task.build_instances": NoticeKind.FAILED,
    "compute.instance.delete.end": NoticeKind.DELETED,
    "compute.instance.shelve_offload.end": NoticeKind.SHELVED,
    "compute.instance.unshelve.end": NoticeKind.UNSHELVED,
    "compute.instance.resize.confirm.end": NoticeKind.RESIZED,
    "compute.instance.resize.revert.end": NoticeKind.RESIZED,
    "compute.instance.force_delete.end": NoticeKind.DELETED,
    "compute.instance.evacuate": NoticeKind.CHANGED,
    "compute.instance.rebuild.end": NoticeKind.CHANGED,
    "compute.instance.rebuild.error": NoticeKind.CHANGED,
    "compute.instance.live_migration.post.dest.end": NoticeKind.CHANGED,
    "compute.instance.finish_resize.end": NoticeKind.CHANGED,
    "compute.instance.restore.end": NoticeKind.CHANGED,
    "compute.instance.soft_delete.end": NoticeKind.CHANGED,
}
_PUBLISHER: Final = re.compile(r"(?:nova-compute:|compute\.)(.+)")
_FAILURES: Final = (NoticeKind.FAILED, NoticeKind.ATTEMPT_FAILED)


def read(body: bytes) -> Notice | None:
    """Return a notification if Synergy uses its event, else None. Raises InvalidInput."""
    message = envelope.open_body(body).message
    event = message.get("event_type")
    if not isinstance(event, str):
        raise InvalidInput(f"a notification whose event_type is {shown(event)}")
    if event in _VERSIONED:
        payload = object_at(message, "payload", DATA, of="notification")
        return _notice(_VERSIONED[event], message, payload)
    if event in _LEGACY:
        payload = object_at(message, "payload", of="notification")
        return _notice(_LEGACY[event], message, payload)
    return None


def _notice(
    kind: NoticeKind, message: Mapping[str, object], payload: Mapping[str, object]
) -> Notice:
    outside = read_fields(message_schema.NOTIFICATION, message, "notification")
    server = read_fields(message_schema.NOTIFIED_SERVER, payload, "payload")
    # Versioned payloads name the server `uuid` or `instance_uuid`, legacy ones `instance_id`.
    server_id = server["uuid"] or server["instance_uuid"] or server["instance_id"]
    if server_id is None:
        raise InvalidInput("payload: there is no 'uuid', 'instance_uuid' or 'instance_id'")
    detail = _detail(payload) if kind in _FAILURES else ""
    return Notice(
        kind=kind,
        server_id=server_id,
        at=outside["timestamp"],
        host=server["host"] or _publisher_host(outside["publisher_id"], kind),
        detail=detail,
        failure=nova_message.failure_of(detail) if kind is NoticeKind.FAILED else None,
        message_id=outside["message_id"],
    )


def _publisher_host(publisher: str, kind: NoticeKind) -> str | None:
    """Return the host of the publisher of a failed attempt: the server itself may no longer have
    one.

    It is nova-compute:HOST in versioned notifications and compute.HOST in legacy ones.
    """
    if kind is not NoticeKind.ATTEMPT_FAILED:
        return None
    found = _PUBLISHER.fullmatch(publisher)
    return found.group(1) if found else None


def _detail(payload: Mapping[str, object]) -> str:
    """Return the text of a failure, for people to read."""
    fault = payload.get("fault") or payload.get("reason") or payload.get("exception") or ""
    if isinstance(fault, Mapping):
        fault = fault.get(DATA, fault)
    if isinstance(fault, Mapping):
        fault = (
            fault.get("exception_message") or fault.get("kwargs") or "a failure without a message"
        )
    return storable(str(fault or payload.get("message") or ""), _MAX_DETAIL_CHARS)


class NovaNotices:
    """See `ports.Notices`: one queue for each topic, named after pool and topic."""

    def __init__(
        self,
        url: str | Broker,
        *,
        exchange: str,
        topics: Sequence[str],
        pool: str,
        durability: Durability,
    ) -> None:
        self._exchange, self._topics, self._pool = exchange, tuple(topics), pool
        self._durability = durability
        self._wake: Wake = lambda: None
        self._inbox: Inbox[Notice] = Inbox()
        self._acks = PendingAcks()
        self._warnings = RateLimitedLog(LOG)
        self._consumer = Consumer("notifications", url, self._setup, self._on_idle, self._on_idle)

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives. The first call starts the consumer."""
        self._wake = wake
        if not self._consumer.is_alive():
            self._consumer.start()

    def fetch(self, *, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications. Raises UpstreamUnavailable without a connection."""
        found = self._inbox.fetch(limit=limit)
        if not found and self._consumer.connection_error:
            raise UpstreamUnavailable(
                f"the broker of notifications: {self._consumer.connection_error}"
            )
        return found

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """Acknowledge these to the broker."""
        self._inbox.acknowledge(notice.message_id for notice in notices)

    def close(self) -> None:
        """Stop the consumer; what was not acknowledged stays in its queue."""
        if self._consumer.is_alive():
            self._consumer.stop()

    def _setup(self, channel: Consuming) -> None:
        self._acks.reset()
        self._inbox.reset()
        channel.basic_qos(0, 1000, False)
        for queue in listen(channel, self._exchange, self._topics, self._pool, self._durability):
            channel.basic_consume(queue, callback=self._on_message)

    def _on_idle(self, channel: Acknowledging) -> None:
        self._inbox.flush_to(self._acks)
        self._acks.flush(channel)

    def _on_message(self, message: Received) -> None:
        tag = message.delivery_tag
        self._acks.received(tag)
        try:
            notice = read(body_of(message))
        except Exception as error:  # noqa: BLE001 - a bad message must not end the connection of all others
            self._warnings.warning("dropping an unreadable notification: %s", error_line(error))
            notice = None
        if notice is None:
            self._acks.handled(tag)
            return
        self._inbox.put(notice.message_id, notice, tag)
        self._wake()


class KeystoneNotices:
    """Calls `wake` on a change in Keystone. Listeners then query Keystone for what they need."""

    def __init__(
        self, url: str | Broker, *, exchange: str, topic: str, pool: str, durability: Durability
    ) -> None:
        self._exchange, self._topic, self._pool = exchange, topic, pool
        self._durability = durability
        self._wakes: list[Callable[[], None]] = []
        self._consumer = Consumer("keystone notifications", url, self._setup)

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when projects, users or roles changed."""
        self._wakes.append(wake)
        if not self._consumer.is_alive():
            self._consumer.start()

    def close(self) -> None:
        """Stop the consumer."""
        if self._consumer.is_alive():
            self._consumer.stop()

    def _setup(self, channel: Consuming) -> None:
        topics = (self._topic,)
        for queue in listen(channel, self._exchange, topics, self._pool, self._durability):
            channel.basic_consume(queue, callback=self._on_message)

    def _on_message(self, message: Received) -> None:
        message.channel.basic_ack(message.delivery_tag)
        if _is_change(body_of(message)):
            for wake in self._wakes:
                wake()


def _is_change(body: bytes) -> bool:
    """Return whether a Keystone notification reports a change; an unreadable one does not."""
    try:
        event = envelope.open_body(body).message.get("event_type")
    except InvalidInput:
        return False
    return (
        isinstance(event, str)
        and event.startswith("identity.")
        and not event.startswith("identity.authenticate")
    )


def listen(
    channel: Declaring, exchange: str, topics: Sequence[str], pool: str, durability: Durability
) -> list[str]:
    """Declare a queue for each topic, bound to its priorities, and return the queues' names."""
    queues = []
    for topic in topics:
        queue = f"{pool}_{exchange}_{topic}"
        for priority in PRIORITIES:
            key = f"{topic}.{priority}"
            declare(channel, queue, exchange=exchange, routing_key=key, durability=durability)
        queues.append(queue)
    return queues
