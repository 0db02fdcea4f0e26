"""Whatever others send, nothing stops: neither the relay, nor intake, a round or the notices; and a
good message behind each bad one goes its way."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synergy.drivers.message_schema import DATA
from synergy.drivers.nova_rpc.broker import Durability
from synergy.drivers.nova_rpc.relay import Relay
from synergy.drivers.nova_rpc.wire import Acknowledging
from synergy.drivers.openstack.notifications import KeystoneNotices, NovaNotices
from synergy.ports import Notice
from tests import messages
from tests.builders import World, rid, world
from tests.messages import ODD_VALUES, enveloped, paths, replaced, without

NOWHERE = "rabbit://u:p@127.0.0.1:9/v"
CASES, OFTEN = 10_000, 200
BASES = (
    messages.build_message(),
    messages.build_message([rid(1), rid(2)]),
    messages.build_message(context=messages.CONTEXT | {"project_id": "other"}),
    messages.change_message(),
    messages.change_message("unshelve_instance"),
    messages.change_message(project_id="other"),
    {"method": "attach_volume", "_msg_id": "1", "_reply_q": "reply_1", "args": {"x": [1]}},
)
TOLD = (
    messages.notification_message(),
    messages.notification_message("instance.delete.end"),
    messages.notification_message(
        "instance.create.error", fault=messages.primitive({"exception_message": "it burst"})
    ),
    messages.legacy_message(),
    messages.legacy_message("compute_task.build_instances"),
    {"event_type": "identity.project.updated", "message_id": "k", "payload": {"id": "1"}},
)
texts = st.text(st.characters(), max_size=6)  # lone surrogates and NUL among them
values = st.one_of(
    st.sampled_from(ODD_VALUES),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    st.integers(1, 80).map(lambda depth: json.loads("[" * depth + "]" * depth)),
)


@st.composite
def spoilt(draw: st.DrawFn, bases: Sequence[dict[str, Any]]) -> bytes:
    """Draw a real message with up to three of its nodes replaced or taken away, as bytes."""
    message = draw(st.sampled_from(bases))
    for _ in range(draw(st.integers(0, 3))):
        nodes = list(paths(message))
        if not nodes:
            break
        path = draw(st.sampled_from(nodes))
        message = without(message, path) if draw(st.booleans()) else replaced(
            message, path, draw(values)
        )  # fmt: skip
    body = enveloped(message)
    if draw(st.integers(0, 9)) == 0:  # the envelope itself is damaged
        place = draw(st.integers(0, len(body)))
        body = body[:place] + draw(st.binary(max_size=4)) + body[place + draw(st.integers(0, 9)) :]
    return body


class Arrived:
    """A message as amqp gives it, and what its broker hears of it."""

    def __init__(self, body: bytes, tag: int) -> None:
        self.body, self.delivery_tag = body, tag
        self.delivery_info = {"redelivered": tag % 2 == 0}
        self.channel: Acknowledging = self
        self.properties: dict[str, Any] = {}
        self.acknowledged = False

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        self.acknowledged = True


def fuzzed(**bounds: Any) -> settings:
    return settings(
        deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **bounds,
    )  # fmt: skip


def relayed_or_kept(bodies: list[bytes]) -> None:
    relay = Relay(NOWHERE, NOWHERE, still_waiting=lambda ids: ids, durability=Durability(),
                  prefetch=1000)  # fmt: skip
    relay._managed = frozenset({"project-A"})
    good = enveloped(messages.build_message([rid(7)]))
    for tag, body in enumerate((*bodies, good), start=1):
        relay._on_request(Arrived(body, 2 * tag + 1))
        relay._on_reply(answer := Arrived(body, tag))
        assert answer.acknowledged
    taken = relay.fetch(limit=1000) if relay._inbox._arrived else []
    kept = len(taken) + len(relay.fetch_changes(limit=1000)) + len(relay._stuck)
    assert kept == len(bodies) + 1
    assert taken[-1].requests[0].server_id == rid(7)


def told_or_dropped(bodies: list[bytes]) -> Sequence[Notice]:
    notices = NovaNotices(NOWHERE, exchange="nova", topics=["t"], pool="p", durability=Durability())
    keystone = KeystoneNotices(NOWHERE, exchange="k", topic="t", pool="p", durability=Durability())
    good = enveloped(messages.notification_message(server_id=rid(7)))
    for tag, body in enumerate((*bodies, good), start=1):
        notices._on_message(Arrived(body, tag))
        keystone._on_message(heard := Arrived(body, tag))
        assert heard.acknowledged
    found = notices.fetch(limit=1000)
    assert found[-1].server_id == rid(7)
    return found


class Cloud:
    """One world for all examples: what one leaves behind must not stop the next either."""

    def __init__(self, w: World) -> None:
        self.world = w
        w.add("A", default_quota="shared", ttl_s=36_000)
        w.add("B", default_quota="shared", ttl_s=36_000)
        w.run(1)
        self.sent = 0

    def take(self, bodies: list[bytes], notices: Sequence[Notice]) -> None:
        w = self.world
        for body in bodies:
            self.sent += 1
            w.nova.publish(f"m{self.sent}", body)
        w.nova.fleet.notices.extend(notices)
        (good,) = w.create("small", project="B")
        w.run(6)
        assert w.states([good]) == ["ACTIVE"]
        w.nova.delete_server_as_user(good)
        w.run(1)
        assert w.states([good]) == ["DELETED"]


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with world() as w:
        yield Cloud(w)


def nothing_stops(cloud: Cloud, requests: list[bytes], notifications: list[bytes]) -> None:
    relayed_or_kept(requests)
    cloud.take(requests, told_or_dropped(notifications))


many = st.lists(spoilt(BASES), min_size=5, max_size=10), st.lists(spoilt(TOLD), max_size=10)


@fuzzed(max_examples=OFTEN // 10)
@given(*many)
def test_no_message_stops_anything(
    cloud: Cloud, requests: list[bytes], notifications: list[bytes]
) -> None:
    nothing_stops(cloud, requests, notifications)


@pytest.mark.slow
@fuzzed(max_examples=CASES // 10)
@given(*many)
def test_no_message_of_many_stops_anything(
    cloud: Cloud, requests: list[bytes], notifications: list[bytes]
) -> None:
    nothing_stops(cloud, requests, notifications)


def test_a_message_that_nobody_spoilt_goes_its_way(cloud: Cloud) -> None:
    """The property above could hold for messages that are all refused."""
    assert DATA in json.dumps(BASES[0])
    relayed_or_kept([enveloped(message) for message in BASES])
    assert len(told_or_dropped([enveloped(message) for message in TOLD])) == len(TOLD)
