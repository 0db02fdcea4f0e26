"""Notifications of Nova and Keystone, from queues of Synergy's own.

Why: a queue that is shared with a meter would lose what the other one takes, so each topic has a
pool of ours. Bound and read with kombu as the relay is: what was fetched is acknowledged only once
its effect is committed, which the listener of oslo.messaging cannot do outside its own thread. Must
not know what follows from a notification.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from synergy.core.errors import InvalidInput, UpstreamUnavailable, in_words
from synergy.drivers import envelope, nova_message, reading
from synergy.drivers.complaints import Complaints
from synergy.drivers.nova_rpc.broker import Broker, Durability, body_of, declare
from synergy.drivers.nova_rpc.consumer import Consumer, Inbox, Unacknowledged
from synergy.drivers.reading import DATA, inside, read_fields, shown, storable
from synergy.ports import Notice, NoticeKind, Wake

LOG = logging.getLogger(__name__)
PRIORITIES: Final = ("info", "error")
_LONGEST_DETAIL: Final = 255
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
    """Return what a notification tells if it concerns us. Raises InvalidInput."""
    message = envelope.open_body(body).message
    event = message.get("event_type")
    if not isinstance(event, str):
        raise InvalidInput(f"a notification whose event_type is {shown(event)}")
    if event in _VERSIONED:
        payload = inside(message, "payload", DATA, of="notification")
        return _notice(_VERSIONED[event], message, payload)
    if event in _LEGACY:
        payload = inside(message, "payload", of="notification")
        return _notice(_LEGACY[event], message, payload)
    return None


def _notice(
    kind: NoticeKind, message: Mapping[str, object], payload: Mapping[str, object]
) -> Notice:
    outside = read_fields(reading.NOTIFICATION, message, "notification")
    server = read_fields(reading.NOTIFIED_SERVER, payload, "payload")
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
    """Return the host of who tells: a build that broke may belong to none any more.

    It is nova-compute:HOST in versioned notifications and compute.HOST in legacy ones.
    """
    if kind is not NoticeKind.ATTEMPT_FAILED:
        return None
    found = _PUBLISHER.fullmatch(publisher)
    return found.group(1) if found else None


def _detail(payload: Mapping[str, object]) -> str:
    """Return what a failure tells of itself; only people read it."""
    fault = payload.get("fault") or payload.get("reason") or payload.get("exception") or ""
    if isinstance(fault, Mapping):
        fault = fault.get(DATA, fault)
    if isinstance(fault, Mapping):
        fault = fault.get("exception_message") or fault.get("kwargs") or "a failure without words"
    told = fault or payload.get("message") or ""
    return storable(str(told), _LONGEST_DETAIL)


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
        self._unacknowledged = Unacknowledged()
        self._complaints = Complaints(LOG)
        self._consumer = Consumer("notifications", url, self._begin, self._turn)

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives; the first one who asks starts the listening."""
        self._wake = wake
        if not self._consumer.is_alive():
            self._consumer.start()

    def fetch(self, *, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications. Raises UpstreamUnavailable without a connection."""
        found = self._inbox.fetch(limit=limit)
        if not found and self._consumer.trouble:
            raise UpstreamUnavailable(f"the broker of notifications: {self._consumer.trouble}")
        return found

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """Let the broker forget these."""
        self._inbox.acknowledge(notice.message_id for notice in notices)

    def close(self) -> None:
        """Stop listening; what was not acknowledged stays in its queue."""
        if self._consumer.is_alive():
            self._consumer.stop()

    def _begin(self, channel: Any) -> None:
        self._unacknowledged.begin()
        self._inbox.begin()
        channel.basic_qos(0, 1000, False)
        for queue in listen(channel, self._exchange, self._topics, self._pool, self._durability):
            channel.basic_consume(queue, callback=self._on_message)

    def _turn(self, channel: object) -> None:
        self._inbox.settle(self._unacknowledged)
        self._unacknowledged.settle(channel)

    def _on_message(self, message: Any) -> None:
        tag = message.delivery_tag
        self._unacknowledged.came(tag)
        try:
            notice = read(body_of(message))
        except Exception as error:  # noqa: BLE001 - one message must not end the connection that all come on
            self._complaints.tell(
                "a notification that cannot be read is dropped: %s", in_words(error)
            )
            notice = None
        if notice is None:
            self._unacknowledged.handled(tag)
            return
        self._inbox.put(notice.message_id, notice, tag)
        self._wake()


class KeystoneNotices:
    """Tells that something changed in Keystone; who is told reads anew what it needs."""

    def __init__(
        self, url: str | Broker, *, exchange: str, topic: str, pool: str, durability: Durability
    ) -> None:
        self._exchange, self._topic, self._pool = exchange, topic, pool
        self._durability = durability
        self._wakes: list[Callable[[], None]] = []
        self._consumer = Consumer("keystone notifications", url, self._begin)

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when projects, users or roles changed."""
        self._wakes.append(wake)
        if not self._consumer.is_alive():
            self._consumer.start()

    def close(self) -> None:
        """Stop listening."""
        if self._consumer.is_alive():
            self._consumer.stop()

    def _begin(self, channel: Any) -> None:
        topics = (self._topic,)
        for queue in listen(channel, self._exchange, topics, self._pool, self._durability):
            channel.basic_consume(queue, callback=self._on_message)

    def _on_message(self, message: Any) -> None:
        message.channel.basic_ack(message.delivery_tag)
        if _tells_of_a_change(body_of(message)):
            for wake in self._wakes:
                wake()


def _tells_of_a_change(body: bytes) -> bool:
    """Tell whether a notification of Keystone is one of a change; what cannot be read is none."""
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
    channel: object, exchange: str, topics: Sequence[str], pool: str, durability: Durability
) -> list[str]:
    """Make a queue for each topic, bound to its priorities, and return their names."""
    queues = []
    for topic in topics:
        queue = f"{pool}_{exchange}_{topic}"
        for priority in PRIORITIES:
            key = f"{topic}.{priority}"
            declare(channel, queue, exchange=exchange, routing_key=key, durability=durability)
        queues.append(queue)
    return queues
