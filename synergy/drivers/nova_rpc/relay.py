"""Takes build requests of managed projects off the edge, and relays everything else both ways.

Why: nova-api must not notice that Synergy is in between. Build requests that are taken stay
unacknowledged until their requests are committed. All other messages are relayed at once and
acknowledged when the broker of the other side has confirmed them, so after a crash in between they
are relayed twice.
For most methods that is harmless, but a second build request destroys the server of the first one.
So a redelivered build request is relayed only if, a while later, Nova still waits for it and the
conductor's queue is empty. Must not know what Synergy does with a request.
"""

import heapq
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from synergy.core.ask_each import Answers, ask_together
from synergy.core.backoff import Backoff
from synergy.core.errors import (
    HandOverFailed,
    HandOverUnknown,
    InvalidInput,
    UpstreamUnavailable,
    error_line,
)
from synergy.core.ids import NOBODY
from synergy.drivers import envelope, nova_message
from synergy.drivers.envelope import Envelope
from synergy.drivers.nova_rpc.broker import (
    Broker,
    Durability,
    body_of,
    declare,
    declare_fanout,
    declare_replies,
)
from synergy.drivers.nova_rpc.consumer import Consumer, Inbox, PendingAcks
from synergy.drivers.nova_rpc.publisher import (
    Outgoing,
    Publisher,
    PublishResult,
    PublishStatus,
    Stream,
)
from synergy.drivers.nova_rpc.wire import Acknowledging, Consuming, Received
from synergy.drivers.rate_limited_log import RateLimitedLog
from synergy.ports import Change, Delivery, Wake

LOG = logging.getLogger(__name__)
EXCHANGE: Final = "nova"
TOPIC: Final = "conductor"
FANOUT: Final = "scheduler_fanout"
FANOUT_QUEUE: Final = "scheduler_fanout_synergy"  # of all processes of Synergy together
MAX_CALL_S: Final = 3600.0  # the reply to a call is forwarded for this long
RETRY_S: Final = 1.0
SUSPECT_BREAKS: Final = 3  # connections that one message broke before it is suspected
SUSPECT: Final = Backoff(initial_s=2 * RETRY_S, max_s=600.0)  # by how often the connection broke
RECHECK_S: Final = 60.0  # by then, what became of an earlier copy of a redelivered message shows
StillWaiting = Callable[[Collection[str]], Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Redelivered:
    """A redelivered message that must reach the conductor only once. `proceed` is what to do with
    it if Nova still waits for it."""

    message: Received
    server_ids: frozenset[str]
    proceed: Callable[[], None]
    since_s: float


class Relay:
    """The edge side and the core side, each with its own thread."""

    def __init__(
        self,
        edge_url: str | Broker,
        core_url: str | Broker,
        *,
        still_waiting: StillWaiting,
        durability: Durability,
        prefetch: int,
        recheck_s: float = RECHECK_S,
    ) -> None:
        """still_waiting asks Nova which of these servers wait for the conductor's first step; it
        raises UpstreamUnavailable when Nova does not answer."""
        self._durability, self._prefetch = durability, prefetch
        self._still_waiting, self._recheck_s = still_waiting, recheck_s
        self._redelivered: list[_Redelivered] = []
        self._managed: frozenset[str] = frozenset()
        self._wake: Wake = lambda: None
        self._lock = threading.Lock()
        self._acks = PendingAcks()  # on the channel of the edge
        self._inbox: Inbox[Delivery] = Inbox()
        self._changes: Inbox[Change] = Inbox()
        self._wake_changes: Wake = lambda: None
        self._calls: dict[str, tuple[str, float]] = {}  # msg_id -> (reply queue, expiry)
        self._reply_queue = f"reply_synergy_{uuid.uuid4().hex}"
        self._to_core, self._to_edge = Publisher(core_url), Publisher(edge_url)
        # Connections of their own, so that the edge's thread waits neither for confirmations nor
        # for a dispatch that publishes at the same time.
        self._to_conductor, self._to_schedulers = Stream(core_url), Stream(core_url)
        # Messages that the other side did not take, oldest first.
        self._stuck: list[tuple[Received, PublishStatus]] = []
        self._stuck_since_s = 0.0
        self._breaks: Counter[int] = Counter()  # broken connections to the core, by delivery tag
        self._suspects: list[tuple[float, int, Received]] = []  # heap of (due at, tag, message)
        # The status of the last relayed message, if that was logged.
        self._logged_status: PublishStatus | None = None
        self._warnings = RateLimitedLog(LOG)
        self._edge = Consumer(
            "edge", edge_url, self._setup_edge, self._on_edge_idle, self._drain_edge
        )
        self._core = Consumer("core replies", core_url, self._setup_core)

    def close(self) -> None:
        """Stop; messages that were taken and not acknowledged go back to the edge's queue."""
        for side in (self._edge, self._core):
            if side.is_alive():
                side.stop()
        for connection in (self._to_core, self._to_edge, self._to_conductor, self._to_schedulers):
            connection.close()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until both sides are connected."""
        deadline_s = time.monotonic() + timeout_s
        sides = (self._core.ready, self._edge.ready)
        return all(side.wait(max(0.0, deadline_s - time.monotonic())) for side in sides)

    # --- intake -----------------------------------------------------------------------------------

    def manage(self, project_ids: frozenset[str]) -> None:
        """Take build requests of these projects from now on, and relay everything else.

        The first call starts the relay: before it, the relay does not know whose requests to take.
        """
        self._managed = project_ids
        if not self._core.is_alive() and not self._edge.is_alive():
            self._core.start()  # before the edge, or replies would have no queue to go to
            self._edge.start()

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a build request was taken."""
        self._wake = wake

    def fetch(self, *, limit: int) -> Sequence[Delivery]:
        """Return up to `limit` taken messages. Raises UpstreamUnavailable without a connection."""
        found = self._inbox.fetch(limit=limit)
        if not found and self._edge.connection_error:
            raise UpstreamUnavailable(f"the broker of nova-api: {self._edge.connection_error}")
        return found

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge these. The broker redelivers those of a connection that is gone."""
        self._inbox.acknowledge(delivery.message_id for delivery in deliveries)

    # --- changes of servers; see `ports.Changes` -------------------------------------------------

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when a change of a managed project's server was taken."""
        self._wake_changes = wake

    def fetch_changes(self, *, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes; they stay unacknowledged."""
        return self._changes.fetch(limit=limit)

    def acknowledge_changes(self, changes: Sequence[Change]) -> None:
        """Acknowledge these to the broker."""
        self._changes.acknowledge(change.message_id for change in changes)

    # --- the edge's thread ------------------------------------------------------------------------

    def _setup_edge(self, channel: Consuming) -> None:
        self._to_conductor.forget()  # its messages belong to the last channel, and are redelivered
        self._to_schedulers.forget()
        self._stuck.clear()
        self._suspects.clear()
        self._breaks.clear()
        self._acks.reset()
        self._inbox.reset()
        self._changes.reset()
        self._redelivered.clear()
        channel.basic_qos(0, self._prefetch, False)
        declare(channel, TOPIC, exchange=EXCHANGE, routing_key=TOPIC, durability=self._durability)
        declare_fanout(channel, FANOUT, FANOUT_QUEUE, self._durability)
        channel.basic_consume(TOPIC, callback=self._on_request)
        channel.basic_consume(FANOUT_QUEUE, callback=self._on_fanout)

    def _on_edge_idle(self, channel: Acknowledging) -> None:
        self._to_conductor.poll()
        self._to_schedulers.poll()
        self._inbox.flush_to(self._acks)
        self._changes.flush_to(self._acks)
        self._acks.flush(channel)
        if self._stuck and time.monotonic() - self._stuck_since_s > RETRY_S:
            self._retry_stuck()
        if self._suspects and not self._stuck and not len(self._to_conductor):
            self._try_suspect()
        if self._redelivered and time.monotonic() - self._redelivered[0].since_s > self._recheck_s:
            self._recheck_redelivered()

    def _drain_edge(self, channel: Acknowledging) -> None:
        """Wait for the last confirmations, or what was relayed would be redelivered."""
        self._to_conductor.wait_for_confirms()
        self._to_schedulers.wait_for_confirms()
        self._on_edge_idle(channel)

    def _on_request(self, message: Received) -> None:
        self._acks.received(message.delivery_tag)
        self._handle(message, redelivered=bool(message.delivery_info.get("redelivered")))

    def _handle(self, message: Received, *, redelivered: bool) -> None:
        """Take or relay a message; `redelivered` when it may have been relayed before."""
        body = body_of(message)
        try:
            proceed = self._route(message, body, redelivered=redelivered)
        except Exception as error:  # noqa: BLE001 - a bad message must not end the connection of all others
            self._warnings.warning(
                "relaying an unreadable message unchanged: %s", error_line(error)
            )
            proceed = partial(self._relay, message, body)
        proceed()

    def _route(self, message: Received, body: bytes, *, redelivered: bool) -> Callable[[], None]:
        """Return what to do with a message, without doing it."""
        opened = envelope.open_body(body)
        header = envelope.read_header(opened)
        if header.method == nova_message.METHOD and header.msg_id is None:
            if header.project_id in self._managed:
                return partial(self._take, message, _delivery_of(opened, header))
            # A message without readable servers gives nothing to ask Nova about: it is relayed.
            if redelivered and (servers := nova_message.servers_of(opened)):
                return partial(
                    self._recheck_later, message, servers, partial(self._relay, message, body)
                )
            return partial(self._relay, message, body)
        if header.method in nova_message.CHANGES and header.msg_id is None:
            return self._route_change(message, opened, header, redelivered=redelivered)
        return partial(self._relay, message, self._redirect_reply(opened, header))

    def _route_change(
        self,
        message: Received,
        opened: Envelope,
        header: envelope.MessageHeader,
        *,
        redelivered: bool,
    ) -> Callable[[], None]:
        owner = nova_message.changed_project(opened) or header.project_id
        if owner not in self._managed:
            return partial(self._relay, message, opened.body)
        try:
            change = nova_message.read_change(opened, header.unique_id)
        except InvalidInput as error:
            message_id = nova_message.message_id_of(opened, header.unique_id)
            why = f"{header.method} is not what Nova sends: {error}"
            aside = nova_message.unreadable(message_id, opened.body, why)
            return partial(self._take, message, aside)
        take = partial(self._take_change, message, change)
        if redelivered:
            return partial(self._recheck_later, message, frozenset((change.server_id,)), take)
        return take

    def _take_change(self, message: Received, change: Change) -> None:
        self._changes.put(change.message_id, change, message.delivery_tag)
        self._wake_changes()

    def _take(self, message: Received, delivery: Delivery) -> None:
        self._inbox.put(delivery.message_id, delivery, message.delivery_tag)
        self._wake()

    def _recheck_later(
        self, message: Received, server_ids: frozenset[str], proceed: Callable[[], None]
    ) -> None:
        self._redelivered.append(
            _Redelivered(
                message=message,
                server_ids=server_ids,
                proceed=proceed,
                since_s=time.monotonic(),
            )
        )

    def _recheck_redelivered(self) -> None:
        """Proceed with messages that Nova still waits for, and drop those that it already got."""
        due_s = time.monotonic() - self._recheck_s
        due = [one for one in self._redelivered if one.since_s <= due_s]
        self._redelivered = [one for one in self._redelivered if one.since_s > due_s]
        ids = frozenset().union(*(one.server_ids for one in due))
        try:
            asked = self._ask_nova(sorted(ids)) if self._core_is_empty() else None
        except Exception as error:  # noqa: BLE001 - an error of Nova must not stop the relay
            LOG.error("%d redelivered message(s) wait for Nova: %s", len(due), error_line(error))
            asked = None
        now_s = time.monotonic()
        if asked is None:
            self._redelivered += [replace(one, since_s=now_s) for one in due]
            return
        for one in due:
            if wanted := one.server_ids & asked.known.keys():
                LOG.warning(
                    "relaying a redelivered message: Nova never got it for %s", sorted(wanted)
                )
                one.proceed()
            elif silent := sorted(one.server_ids & asked.unknown.keys()):
                why = error_line(asked.unknown[silent[0]])
                self._warnings.warning(
                    "a redelivered message waits for Nova: %s", f"server {silent[0]}: {why}"
                )
                self._redelivered.append(replace(one, since_s=now_s))
            else:
                LOG.warning("dropping a redelivered message that Nova already got")
                self._acks.handled(one.message.delivery_tag)

    def _ask_nova(self, server_ids: Sequence[str]) -> Answers[str, None]:
        """Return which servers Nova still waits for, and about which it cannot say."""
        return ask_together(
            server_ids, lambda some: dict.fromkeys(self._still_waiting(some)), nothing=NOBODY
        )

    def _core_is_empty(self) -> bool:
        """Return whether the conductor's queue is empty, so that no earlier copy is in it."""
        return self.waiting() == 0

    def _redirect_reply(self, opened: Envelope, header: envelope.MessageHeader) -> bytes:
        """Return the message; a call gets our own reply queue, and the caller's is remembered."""
        if header.msg_id is None or header.reply_queue is None:
            return opened.body
        body = opened.with_changes(_reply_q=self._reply_queue)
        now_s = time.monotonic()
        with self._lock:
            self._calls = {k: v for k, v in self._calls.items() if v[1] > now_s}
            self._calls[header.msg_id] = header.reply_queue, now_s + MAX_CALL_S
        return body

    def _relay(self, message: Received, body: bytes) -> None:
        """Publish to the core, after the stuck messages; acknowledged once the core confirms it."""
        if self._stuck:
            self._stuck.append((message, PublishStatus.REFUSED))
            return
        outgoing = Outgoing(
            body=body,
            exchange=EXCHANGE,
            routing_key=TOPIC,
            expiration_ms=message.properties.get("expiration"),
        )
        self._to_conductor.send(outgoing, partial(self._on_relay_result, message))

    def _on_relay_result(self, message: Received, done: PublishResult) -> None:
        tag = message.delivery_tag
        if done.status is PublishStatus.CONFIRMED:
            self._acks.handled(tag)
            self._breaks.pop(tag, None)
            self._logged_status = None
            return
        if done.status is not self._logged_status:
            LOG.error("cannot relay from nova-api, retrying every %.0f s: %s", RETRY_S, done.why)
            self._logged_status = done.status
        if done.status is PublishStatus.UNKNOWN:
            self._breaks[tag] += 1
            if self._breaks[tag] >= SUSPECT_BREAKS:
                self._suspect(message)
                return
        if not self._stuck:
            self._stuck_since_s = time.monotonic()
        self._stuck.append((message, done.status))

    def _suspect(self, message: Received) -> None:
        """Set aside a message that breaks the connection again and again, so that others pass it.
        It is retried by itself, with growing delays, until it gets through."""
        tag = message.delivery_tag
        rest_s = SUSPECT.delay_s(self._breaks[tag])
        LOG.error(
            "message %d broke the connection to the core %d times: others pass it, and it is "
            "retried by itself in %.0f s", tag, self._breaks[tag], rest_s,
        )  # fmt: skip
        heapq.heappush(self._suspects, (time.monotonic() + rest_s, tag, message))

    def _try_suspect(self) -> None:
        """Relay one suspect while no other message is in flight on the connection."""
        if self._suspects[0][0] <= time.monotonic():
            _, _, message = heapq.heappop(self._suspects)
            self._handle(message, redelivered=True)
            self._to_conductor.wait_for_confirms()

    def _retry_stuck(self) -> None:
        """Relay the stuck messages, in their order. They are not requeued meanwhile, because a
        quorum queue may drop a message that comes back too often."""
        stuck, self._stuck = self._stuck, []
        for message, status in stuck:
            self._handle(message, redelivered=status is PublishStatus.UNKNOWN)

    def _on_fanout(self, message: Received) -> None:
        """Relay a cast to all schedulers; nobody waits for it, so one that fails is dropped."""
        tag = message.delivery_tag
        self._acks.received(tag)
        outgoing = Outgoing(body=body_of(message), exchange=FANOUT, routing_key="", mandatory=False)
        self._to_schedulers.send(outgoing, partial(self._on_fanout_result, tag))

    def _on_fanout_result(self, tag: int, done: PublishResult) -> None:
        if done.status is not PublishStatus.CONFIRMED:
            self._warnings.warning("dropping a message to all schedulers: %s", done.why)
        self._acks.handled(tag)

    # --- the core's thread: replies ---------------------------------------------------------------

    def _setup_core(self, channel: Consuming) -> None:
        declare_replies(channel, self._reply_queue)
        channel.basic_consume(self._reply_queue, callback=self._on_reply)

    def _on_reply(self, message: Received) -> None:
        body = body_of(message)
        try:
            reply = envelope.read_reply_header(body)
        except Exception as error:  # noqa: BLE001 - a bad reply must not end the connection of all others
            self._warnings.warning("dropping an unreadable reply: %s", error_line(error))
            message.channel.basic_ack(message.delivery_tag)
            return
        with self._lock:
            waiting = self._calls.get(reply.msg_id)
            if reply.ending:
                self._calls.pop(reply.msg_id, None)
        if waiting is not None:
            try:
                self._to_edge.publish(Outgoing(body=body, exchange="", routing_key=waiting[0]))
            except (HandOverFailed, HandOverUnknown) as error:
                LOG.warning("cannot deliver the reply to call %s: %s", reply.msg_id, error)
        message.channel.basic_ack(message.delivery_tag)

    # --- what Synergy itself sends to the conductor -----------------------------------------------

    def waiting(self) -> int:
        """Return how many messages wait for the conductor. Raises UpstreamUnavailable."""
        return self._to_core.waiting(TOPIC)

    def hand_over(self, bodies: Sequence[bytes]) -> list[PublishResult]:
        """Publish messages to the conductor, and return the result of each."""
        return self._to_core.publish_all([_for_conductor(body) for body in bodies])

    def hand_over_one(self, body: bytes) -> None:
        """Publish a message to the conductor. Raises HandOverFailed or HandOverUnknown."""
        self._to_core.publish(_for_conductor(body))


def _delivery_of(opened: Envelope, header: envelope.MessageHeader) -> Delivery:
    """Return the requests in a managed project's message, or why it is set aside."""
    message_id = nova_message.message_id_of(opened, header.unique_id)
    if header.called:
        why = "its _msg_id is not one of oslo.messaging, so no reply could reach the caller"
        return nova_message.unreadable(message_id, opened.body, why)
    return nova_message.read_opened(message_id, opened)


def _for_conductor(body: bytes) -> Outgoing:
    return Outgoing(body=body, exchange=EXCHANGE, routing_key=TOPIC)
