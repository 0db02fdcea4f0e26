"""Takes build requests of managed projects off the edge, and relays everything else both ways.

Why: nova-api must not notice that somebody stands in between. Build requests that are taken stay
unacknowledged until their requests are committed. Whatever is relayed goes out at once, and is
acknowledged once the broker of the other side has confirmed it, so after a crash in between it
would be relayed twice.
For most methods that is harmless, but a second build request destroys the server of the first: one
that the broker delivers again is relayed only if Nova still waits for it a while later, and nothing
is on its way. Must not know what Synergy does with a request.
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
from typing import Any, Final

from synergy.core.backoff import Backoff
from synergy.core.errors import (
    HandOverFailed,
    HandOverUnknown,
    InvalidInput,
    UpstreamUnavailable,
    in_words,
)
from synergy.drivers import envelope, nova_message
from synergy.drivers.complaints import Complaints
from synergy.drivers.envelope import Opened
from synergy.drivers.nova_rpc.broker import Broker, Durability, body_of, declare, declare_fanout
from synergy.drivers.nova_rpc.consumer import Consumer, Inbox, Unacknowledged
from synergy.drivers.nova_rpc.publisher import Fate, Outgoing, Published, Publisher, Stream
from synergy.ports import Change, Delivery, Wake

LOG = logging.getLogger(__name__)
EXCHANGE: Final = "nova"
TOPIC: Final = "conductor"
FANOUT: Final = "scheduler_fanout"
LONGEST_CALL_S: Final = 3600.0  # after that an answer is not waited for any longer
RETRY_S: Final = 1.0
SUSPECT_BREAKS: Final = 3  # of a connection with the same message
SUSPECT: Final = Backoff(initial_s=2 * RETRY_S, max_s=600.0)  # by how often the connection broke
DOUBT_S: Final = 60.0  # how long a build request delivered again leaves a copy to be seen
StillWaiting = Callable[[Collection[str]], Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubtful:
    """A message that must reach the conductor once, delivered again: what to do with it if Nova
    still waits for that."""

    message: Any
    server_ids: frozenset[str]
    proceed: Callable[[], None]
    since_s: float


class Relay:
    """The edge side and the core side, each with a thread of its own."""

    def __init__(
        self,
        edge_url: str | Broker,
        core_url: str | Broker,
        *,
        still_waiting: StillWaiting,
        durability: Durability,
        prefetch: int,
        doubt_s: float = DOUBT_S,
    ) -> None:
        """still_waiting asks Nova which of these servers wait for the conductor's first step;
        it raises UpstreamUnavailable when Nova does not answer."""
        self._durability, self._prefetch = durability, prefetch
        self._still_waiting, self._doubt_s = still_waiting, doubt_s
        self._doubtful: list[_Doubtful] = []
        self._managed: frozenset[str] = frozenset()
        self._wake: Wake = lambda: None
        self._lock = threading.Lock()
        self._unacknowledged = Unacknowledged()  # on the channel of the edge
        self._inbox: Inbox[Delivery] = Inbox()
        self._changes: Inbox[Change] = Inbox()
        self._wake_changes: Wake = lambda: None
        self._calls: dict[str, tuple[str, float]] = {}  # msg_id -> (reply queue, forgotten when)
        self._reply_queue = f"reply_synergy_{uuid.uuid4().hex}"
        self._to_core, self._to_edge = Publisher(core_url), Publisher(edge_url)
        # What the edge's thread relays waits neither for the broker nor for a dispatch.
        self._onward, self._fanned = Stream(core_url), Stream(core_url)
        self._stuck: list[tuple[Any, Fate]] = []  # messages that the other side did not take
        self._stuck_since_s = 0.0
        self._breaks: Counter[int] = Counter()  # of the connection to the core, by delivery tag
        self._suspects: list[tuple[float, int, Any]] = []  # heap of (due at, delivery tag, message)
        self._trouble: Fate | None = None  # what became of the last, if that was logged
        self._complaints = Complaints(LOG)
        self._edge = Consumer("edge", edge_url, self._begin_edge, self._turn_edge, self._end_edge)
        self._core = Consumer("core replies", core_url, self._begin_core)

    def close(self) -> None:
        """Stop; what was taken and not acknowledged goes back to the edge's queue."""
        for side in (self._edge, self._core):
            if side.is_alive():
                side.stop()
        for connection in (self._to_core, self._to_edge, self._onward, self._fanned):
            connection.close()

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until both sides are connected."""
        deadline_s = time.monotonic() + timeout_s
        sides = (self._core.ready, self._edge.ready)
        return all(side.wait(max(0.0, deadline_s - time.monotonic())) for side in sides)

    # --- what is taken ----------------------------------------------------------------------------

    def manage(self, project_ids: frozenset[str]) -> None:
        """Take build requests of these projects from now on, and relay everything else.

        The first call starts the relay: before, whose requests to take is not known.
        """
        self._managed = project_ids
        if not self._core.is_alive() and not self._edge.is_alive():
            self._core.start()  # first, or answers would have nowhere to go
            self._edge.start()

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a build request was taken."""
        self._wake = wake

    def fetch(self, *, limit: int) -> Sequence[Delivery]:
        """Return up to `limit` taken messages. Raises UpstreamUnavailable without a connection."""
        found = self._inbox.fetch(limit=limit)
        if not found and self._edge.trouble:
            raise UpstreamUnavailable(f"the broker of nova-api: {self._edge.trouble}")
        return found

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Let the broker forget these. One from a connection that is gone is delivered again."""
        self._inbox.acknowledge(delivery.message_id for delivery in deliveries)

    # --- changes of servers; see `ports.Changes` -------------------------------------------------

    def on_change(self, wake: Wake) -> None:
        """Call `wake` when a change of a managed project's server was taken."""
        self._wake_changes = wake

    def fetch_changes(self, *, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes; they stay unacknowledged."""
        return self._changes.fetch(limit=limit)

    def acknowledge_changes(self, changes: Sequence[Change]) -> None:
        """Let the broker forget these."""
        self._changes.acknowledge(change.message_id for change in changes)

    # --- the edge's thread ------------------------------------------------------------------------

    def _begin_edge(self, channel: Any) -> None:
        self._onward.forget()  # its messages belong to the last channel, and come again
        self._fanned.forget()
        self._stuck.clear()
        self._suspects.clear()
        self._breaks.clear()
        self._unacknowledged.begin()
        self._inbox.begin()
        self._changes.begin()
        self._doubtful.clear()
        channel.basic_qos(0, self._prefetch, False)
        declare(channel, TOPIC, exchange=EXCHANGE, routing_key=TOPIC, durability=self._durability)
        fanout = declare_fanout(channel, FANOUT, self._durability)
        channel.basic_consume(TOPIC, callback=self._on_request)
        channel.basic_consume(fanout, callback=self._on_fanout)

    def _turn_edge(self, channel: Any) -> None:
        self._onward.hear()
        self._fanned.hear()
        self._inbox.settle(self._unacknowledged)
        self._changes.settle(self._unacknowledged)
        self._unacknowledged.settle(channel)
        if self._stuck and time.monotonic() - self._stuck_since_s > RETRY_S:
            self._try_again()
        if self._suspects and not self._stuck and not len(self._onward):
            self._try_suspect()
        if self._doubtful and time.monotonic() - self._doubtful[0].since_s > self._doubt_s:
            self._settle_doubtful()

    def _end_edge(self, channel: Any) -> None:
        """Wait for the last confirmations: what was relayed must not come again."""
        self._onward.hear_all()
        self._fanned.hear_all()
        self._turn_edge(channel)

    def _on_request(self, message: Any) -> None:
        self._unacknowledged.came(message.delivery_tag)
        self._handle(message, again=bool(message.delivery_info.get("redelivered")))

    def _handle(self, message: Any, *, again: bool) -> None:
        """Take or relay a message; `again` when it may have been relayed before."""
        body = body_of(message)
        try:
            proceed = self._course(message, body, again=again)
        except Exception as error:  # noqa: BLE001 - one message must not end the connection that all come on
            self._complaints.tell(
                "a message that cannot be read is relayed as it is: %s", in_words(error)
            )
            proceed = partial(self._relay, message, body)
        proceed()

    def _course(self, message: Any, body: bytes, *, again: bool) -> Callable[[], None]:
        """Return what is to be done with a message; nothing is done yet."""
        opened = envelope.open_body(body)
        outline = envelope.outline_of(opened)
        if outline.method == nova_message.METHOD and outline.msg_id is None:
            if outline.project_id in self._managed:
                return partial(self._take, message, _delivery_of(opened, outline))
            # One that cannot be read is of no server that Nova could be asked about.
            if again and (servers := nova_message.servers_of(opened)):
                return partial(self._doubt, message, servers, partial(self._relay, message, body))
            return partial(self._relay, message, body)
        if outline.method in nova_message.CHANGES and outline.msg_id is None:
            return self._course_of_change(message, opened, outline, again=again)
        return partial(self._relay, message, self._answered_here(opened, outline))

    def _course_of_change(
        self, message: Any, opened: Opened, outline: envelope.Outline, *, again: bool
    ) -> Callable[[], None]:
        owner = nova_message.changed_project(opened) or outline.project_id
        if owner not in self._managed:
            return partial(self._relay, message, opened.body)
        try:
            change = nova_message.read_change(opened, outline.unique_id)
        except InvalidInput as error:
            message_id = nova_message.message_id_of(opened, outline.unique_id)
            why = f"{outline.method} is not what Nova sends: {error}"
            aside = nova_message.unreadable(message_id, opened.body, why)
            return partial(self._take, message, aside)
        take = partial(self._take_change, message, change)
        if again:
            return partial(self._doubt, message, frozenset((change.server_id,)), take)
        return take

    def _take_change(self, message: Any, change: Change) -> None:
        self._changes.put(change.message_id, change, message.delivery_tag)
        self._wake_changes()

    def _take(self, message: Any, delivery: Delivery) -> None:
        self._inbox.put(delivery.message_id, delivery, message.delivery_tag)
        self._wake()

    def _doubt(self, message: Any, server_ids: frozenset[str], proceed: Callable[[], None]) -> None:
        self._doubtful.append(
            _Doubtful(
                message=message,
                server_ids=server_ids,
                proceed=proceed,
                since_s=time.monotonic(),
            )
        )

    def _settle_doubtful(self) -> None:
        """Go on with those that Nova still waits for, and forget those that it got before."""
        due_s = time.monotonic() - self._doubt_s
        settling = [one for one in self._doubtful if one.since_s <= due_s]
        self._doubtful = [one for one in self._doubtful if one.since_s > due_s]
        ids = frozenset().union(*(one.server_ids for one in settling))
        try:
            waiting = set(self._still_waiting(ids)) if self._core_is_empty() else None
        except Exception as error:  # noqa: BLE001 - whatever Nova answers, what others send goes on
            LOG.error("%d message(s) delivered again wait: %s", len(settling), in_words(error))
            waiting = None
        if waiting is None:
            now_s = time.monotonic()
            self._doubtful += [replace(one, since_s=now_s) for one in settling]
            return
        for one in settling:
            if wanted := one.server_ids & waiting:
                LOG.warning("Nova never got what was asked of %s", sorted(wanted))
                one.proceed()
            else:
                LOG.warning("what Nova got before is not relayed again")
                self._unacknowledged.handled(one.message.delivery_tag)

    def _core_is_empty(self) -> bool:
        """Tell whether nothing waits for the conductor: no copy can be under way then."""
        return self.waiting() == 0

    def _answered_here(self, opened: Opened, outline: envelope.Outline) -> bytes:
        """Return the message; the answer to a call comes to us first."""
        if outline.msg_id is None or outline.reply_queue is None:
            return opened.body
        body = opened.closed(_reply_q=self._reply_queue)
        now_s = time.monotonic()
        with self._lock:
            self._calls = {k: v for k, v in self._calls.items() if v[1] > now_s}
            self._calls[outline.msg_id] = outline.reply_queue, now_s + LONGEST_CALL_S
        return body

    def _relay(self, message: Any, body: bytes) -> None:
        """Publish on the other side, behind what is stuck; acknowledged when that confirms."""
        if self._stuck:
            self._stuck.append((message, Fate.REFUSED))
            return
        outgoing = Outgoing(
            body=body,
            exchange=EXCHANGE,
            routing_key=TOPIC,
            expiration_ms=message.properties.get("expiration"),
        )
        self._onward.send(outgoing, partial(self._relayed, message))

    def _relayed(self, message: Any, done: Published) -> None:
        tag = message.delivery_tag
        if done.fate is Fate.CONFIRMED:
            self._unacknowledged.handled(tag)
            self._breaks.pop(tag, None)
            self._trouble = None
            return
        if done.fate is not self._trouble:
            LOG.error("what nova-api sends waits, and is tried every %.0f s: %s", RETRY_S, done.why)
            self._trouble = done.fate
        if done.fate is Fate.UNKNOWN:
            self._breaks[tag] += 1
            if self._breaks[tag] >= SUSPECT_BREAKS:
                self._suspect(message)
                return
        if not self._stuck:
            self._stuck_since_s = time.monotonic()
        self._stuck.append((message, done.fate))

    def _suspect(self, message: Any) -> None:
        """Let others pass a message that the connection broke with again and again: it is tried by
        itself, each time later, until it gets through."""
        tag = message.delivery_tag
        rest_s = SUSPECT.delay_s(self._breaks[tag])
        LOG.error(
            "message %d of this connection broke the one to the core %d times: it is tried by "
            "itself in %.0f s, and others pass it", tag, self._breaks[tag], rest_s,
        )  # fmt: skip
        heapq.heappush(self._suspects, (time.monotonic() + rest_s, tag, message))

    def _try_suspect(self) -> None:
        """Relay one suspect while nothing else is under way that it could break."""
        if self._suspects[0][0] <= time.monotonic():
            _, _, message = heapq.heappop(self._suspects)
            self._handle(message, again=True)
            self._onward.hear_all()

    def _try_again(self) -> None:
        """Relay what is stuck, in its order. It is not given back to its queue meanwhile, which may
        drop what comes back too often."""
        stuck, self._stuck = self._stuck, []
        for message, fate in stuck:
            self._handle(message, again=fate is Fate.UNKNOWN)

    def _on_fanout(self, message: Any) -> None:
        """Pass a cast for every scheduler on; nobody waits for it, so one that fails is dropped."""
        tag = message.delivery_tag
        self._unacknowledged.came(tag)
        outgoing = Outgoing(body=body_of(message), exchange=FANOUT, routing_key="", mandatory=False)
        self._fanned.send(outgoing, partial(self._fanout_done, tag))

    def _fanout_done(self, tag: int, done: Published) -> None:
        if done.fate is not Fate.CONFIRMED:
            self._complaints.tell("a message for all schedulers is dropped: %s", done.why)
        self._unacknowledged.handled(tag)

    # --- the thread of the core's replies ---------------------------------------------------------

    def _begin_core(self, channel: Any) -> None:
        channel.queue_declare(self._reply_queue, durable=False, auto_delete=True)
        channel.basic_consume(self._reply_queue, callback=self._on_reply)

    def _on_reply(self, message: Any) -> None:
        body = body_of(message)
        try:
            answer = envelope.answer_of(body)
        except Exception as error:  # noqa: BLE001 - one answer must not end the connection that all come on
            self._complaints.tell("an answer that cannot be read is dropped: %s", in_words(error))
            message.channel.basic_ack(message.delivery_tag)
            return
        with self._lock:
            waiting = self._calls.get(answer.msg_id)
            if answer.ending:
                self._calls.pop(answer.msg_id, None)
        if waiting is not None:
            try:
                self._to_edge.publish(Outgoing(body=body, exchange="", routing_key=waiting[0]))
            except (HandOverFailed, HandOverUnknown) as error:
                LOG.warning("the caller of %s is gone: %s", answer.msg_id, error)
        message.channel.basic_ack(message.delivery_tag)

    # --- what Synergy publishes itself ------------------------------------------------------------

    def waiting(self) -> int:
        """Return how many messages wait for the conductor. Raises UpstreamUnavailable."""
        return self._to_core.waiting(TOPIC)

    def hand_over(self, bodies: Sequence[bytes]) -> list[Published]:
        """Hand messages to the conductor, and return the fate of each."""
        return self._to_core.publish_all([_for_conductor(body) for body in bodies])

    def hand_over_one(self, body: bytes) -> None:
        """Hand a message to the conductor, confirmed. Raises HandOverFailed or HandOverUnknown."""
        self._to_core.publish(_for_conductor(body))


def _delivery_of(opened: Opened, outline: envelope.Outline) -> Delivery:
    """Return the requests of a managed project's message, or why it is set aside."""
    message_id = nova_message.message_id_of(opened, outline.unique_id)
    if outline.called:
        why = "its _msg_id is none of oslo.messaging: nobody could be answered"
        return nova_message.unreadable(message_id, opened.body, why)
    return nova_message.read_opened(message_id, opened)


def _for_conductor(body: bytes) -> Outgoing:
    return Outgoing(body=body, exchange=EXCHANGE, routing_key=TOPIC)
