"""The relay between two vhosts of a real RabbitMQ, with oslo.messaging on both sides as Nova has it.

A conductor and a nova-api of our own stand for Nova's, so that a test sees what each got.
"""

import json
import threading
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from kombu.connection import Connection
from kombu.entity import Exchange, Queue

from lab import configuration
from lab.steps import Lab
from synergy.core.errors import HandOverFailed, UpstreamUnavailable
from synergy.drivers import nova_message
from synergy.drivers.nova_rpc.broker import Durability
from synergy.drivers.nova_rpc.publisher import CONFIRM_S
from synergy.drivers.nova_rpc.relay import Relay
from synergy.ports import Delivery
from tests.builders import NOON, rid
from tests.messages import CONTEXT, SURROGATE, build_message, change_message, enveloped, replaced
from tests.openstack.gate import Gate
from tests.patience import until

if TYPE_CHECKING:
    from tests.openstack.peers import Sides

pytestmark = [pytest.mark.openstack, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def sides(lab: Lab) -> "Iterator[Sides]":
    from tests.openstack.peers import Sides

    made = Sides(lab)
    yield made
    made.close()


def fetched(relay: Relay, count: int = 1) -> list[Delivery]:
    found: list[Delivery] = []

    def enough() -> bool:
        found.extend(relay.fetch(limit=100))
        return len(found) >= count

    until(enough)
    return found


def next_of(queue: Any) -> Any:
    """The next message of a queue."""
    return until(lambda: queue.get(no_ack=True))


def test_requests_of_managed_projects_are_taken_and_all_others_pass(sides: "Sides") -> None:
    sides.serve()
    relay = sides.relay()
    relay.manage(frozenset({"managed"}))
    (other,) = sides.create("other")
    first, second = sides.create(servers=2)
    (delivery,) = fetched(relay)
    assert [build.server_id for build in delivery.requests] == [first, second]
    until(lambda: sides.built() == [other])
    relay.acknowledge([delivery])
    time.sleep(0.3)
    assert sides.built() == [other]
    assert relay.fetch(limit=10) == []


def test_no_odd_message_ends_a_connection_or_stops_those_behind_it(
    sides: "Sides", caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING")
    relay = sides.relay(prefetch=1000)
    relay.manage(frozenset({"managed"}))
    fields = ("_unique_id", "_msg_id", "_reply_q", "_context_project_id", "method", "args")
    odd = [
        replaced(message, (field,), value)
        for project in ("managed", "other")
        for message in (
            build_message(context=CONTEXT | {"project_id": project}),
            change_message(project_id=project),
        )
        for field in fields
        for value in ([1], {"a": [1]}, 5, SURROGATE, "x" * 5000)
    ]
    raw = [b"", b"\xff\xfe", b"[" * 100_000, b"null", b'{"oslo.message": "[1]"}']
    with sides.queue_on_core() as queue:
        for body in (*map(enveloped, odd), *raw):
            sides.publish(body)
        (other,) = sides.create("other")
        (mine,) = sides.create("managed")
        passed: list[bytes] = []
        while other.encode() not in b"".join(passed[-1:]):
            body = next_of(queue).body
            passed.append(body if isinstance(body, bytes) else body.encode())
        found: list[Delivery] = []

        def mine_came() -> bool:
            found.extend(relay.fetch(limit=1000))
            return any(one.server_id == mine for delivery in found for one in delivery.requests)

        until(mine_came)
    assert set(raw) <= set(passed)
    assert all(delivery.unreadable for delivery in found if len(delivery.requests) != 1)
    assert not [r for r in caplog.records if "reconnecting in" in r.getMessage()]
    assert len(caplog.records) < 20


def test_no_odd_answer_ends_the_connection_of_answers(
    sides: "Sides", caplog: pytest.LogCaptureFixture
) -> None:
    sides.serve()
    relay = sides.relay()
    api = sides.api(timeout=15)
    context = {"project_id": "other", "auth_token": "t"}
    with Connection(sides.core_url.replace("rabbit:", "pyamqp:")) as connection:
        for body in (b"", b"\xff", enveloped({"_msg_id": [1]}), enveloped({"_msg_id": {"a": 1}})):
            connection.Producer().publish(
                body, exchange="", routing_key=relay._reply_queue, content_type="a/b",
                content_encoding="utf-8",
            )  # fmt: skip
    assert api.call(context, "attach_volume", number=4) == 8
    assert not [r for r in caplog.records if "reconnecting in" in r.getMessage()]


def test_what_is_handed_over_reaches_the_conductor_as_it_is(sides: "Sides") -> None:
    sides.serve()
    relay = sides.relay()
    relay.manage(frozenset({"managed"}))
    first, second = sides.create(servers=2)
    (delivery,) = fetched(relay)
    relay.hand_over_one(delivery.requests[1].body)
    until(lambda: sides.built() == [second])
    relay.hand_over_one(delivery.requests[0].body)
    until(lambda: sides.built() == [second, first])
    assert {token for token, _ in sides.conductor.got} == {"a-token"}


def test_casts_and_calls_pass_with_answers_and_errors(sides: "Sides") -> None:
    sides.serve()
    relay = sides.relay()
    relay.manage(frozenset({"managed"}))
    api = sides.api(timeout=15)
    context = {"project_id": "other", "auth_token": "t"}
    api.cast(context, "migrate_server", instance="i")
    until(lambda: sides.conductor.got == [("migrate", {"instance": "i"})])
    assert api.call(context, "attach_volume", number=21) == 42
    newer = api.prepare(version="1.42")
    assert [newer.call(context, "attach_volume", number=n) for n in range(20)] == [
        2 * n for n in range(20)
    ]
    with pytest.raises(ValueError, match="the conductor's own fault"):
        api.call(context, "fail")


def test_calls_of_several_callers_at_once_get_their_own_answers(sides: "Sides") -> None:
    sides.serve()
    sides.relay()
    answers = {}

    def ask(number: int) -> None:
        answers[number] = sides.api(timeout=30).call({}, "attach_volume", number=number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert answers == {number: 2 * number for number in range(12)}


def test_what_was_not_acknowledged_comes_again_after_a_crash(sides: "Sides") -> None:
    relay = sides.relay()
    relay.manage(frozenset({"managed"}))
    (server,) = sides.create()
    (before,) = fetched(relay)
    relay.close()
    again = sides.relay()
    again.manage(frozenset({"managed"}))
    (after,) = fetched(again)
    assert (after.message_id, after.requests[0].server_id) == (before.message_id, server)
    relay.acknowledge([before])  # of a connection that is gone: nothing happens
    again.acknowledge([after])
    until(lambda: waiting(sides, "conductor") == 0)
    again.close()
    last = sides.relay()
    last.manage(frozenset({"managed"}))
    time.sleep(0.5)
    assert last.fetch(limit=10) == []


def waiting(sides: "Sides", queue: str, which: str = "messages") -> int:
    """Messages of a queue on the edge, unacknowledged ones included."""
    listed = sides.lab._rabbitmqctl("list_queues", "-p", sides.names[0], "name", which)
    return next(int(line.split()[1]) for line in listed.splitlines() if line.split()[0] == queue)


def test_a_request_waits_in_its_queue_while_the_relay_is_away(sides: "Sides") -> None:
    sides.relay().close()
    sides.serve()
    (server,) = sides.create("other")
    assert sides.built() == []
    sides.relay()
    until(lambda: sides.built() == [server])


def test_without_a_conductor_nothing_is_handed_over_and_nothing_relayed_is_lost(
    sides: "Sides",
) -> None:
    relay = sides.relay()
    relay.manage(frozenset({"managed"}))
    sides.create()
    (delivery,) = fetched(relay)
    with pytest.raises(HandOverFailed, match="the broker refuses 'conductor'"):
        relay.hand_over_one(delivery.requests[0].body)
    (other,) = sides.create("other")
    time.sleep(1.5)
    sides.serve()
    until(lambda: sides.built() == [other])
    relay.hand_over_one(delivery.requests[0].body)
    until(lambda: len(sides.built()) == 2)


def test_what_cannot_be_relayed_stays_with_the_relay_and_keeps_its_order(sides: "Sides") -> None:
    sides.relay()
    for number in range(5):
        sides.publish(str(number))
    until(lambda: waiting(sides, "conductor") == 5)
    for _ in range(3):
        time.sleep(1)
        assert waiting(sides, "conductor", "messages_ready") == 0
    with sides.queue_on_core() as bound:
        assert [next_of(bound).body for _ in range(5)] == ["0", "1", "2", "3", "4"]
        until(lambda: waiting(sides, "conductor") == 0)
        assert bound.get() is None


def test_a_build_request_delivered_again_is_relayed_if_nova_never_got_it(sides: "Sides") -> None:
    sides.relay().close()
    (server,) = sides.create("other")
    sides.crash_on()
    sides.serve()
    asked: list[set[str]] = []

    def still_waiting(ids: Collection[str]) -> Collection[str]:
        asked.append(set(ids))
        return ids

    sides.relay(still_waiting=still_waiting)
    until(lambda: sides.built() == [server])
    assert asked == [{server}]
    until(lambda: waiting(sides, "conductor") == 0)


def test_a_build_request_delivered_again_is_not_relayed_if_nova_got_it(sides: "Sides") -> None:
    sides.relay().close()
    sides.create("other")
    sides.crash_on()
    sides.serve()
    sides.relay(still_waiting=lambda ids: ())
    until(lambda: waiting(sides, "conductor") == 0)
    (later,) = sides.create("other")
    until(lambda: sides.built() == [later])


def test_a_build_request_delivered_again_waits_until_nova_answers(sides: "Sides") -> None:
    sides.relay().close()
    (server,) = sides.create("other")
    sides.crash_on()
    sides.serve()
    answers = [UpstreamUnavailable("Nova does not answer"), UpstreamUnavailable("still not"), None]

    def still_waiting(ids: Collection[str]) -> Collection[str]:
        if error := answers.pop(0):
            raise error
        return ids

    sides.relay(still_waiting=still_waiting)
    (later,) = sides.create("other")
    until(lambda: sides.built() == [later, server])  # others do not wait for it
    assert answers == []


def test_one_server_that_nova_cannot_show_keeps_no_other_redelivered_request_waiting(
    sides: "Sides",
) -> None:
    sides.relay().close()
    (odd,), (good,) = sides.create("other"), sides.create("other")
    sides.crash_on()
    sides.serve()
    shown: list[str] = []

    def still_waiting(ids: Collection[str]) -> Collection[str]:
        if odd in ids and not shown:
            raise UpstreamUnavailable("Nova answers 500")
        return ids

    sides.relay(still_waiting=still_waiting)
    until(lambda: sides.built() == [good])
    shown.append(odd)
    until(lambda: sides.built() == [good, odd])


def test_a_build_request_delivered_again_waits_while_a_copy_may_be_under_way(
    sides: "Sides",
) -> None:
    sides.relay().close()
    sides.create("other")
    sides.crash_on()
    with sides.queue_on_core() as bound:
        bound.channel.basic_publish(bound.channel.prepare_message(b"{}"), "nova", "conductor")
        asked: list[Collection[str]] = []

        def still_waiting(ids: Collection[str]) -> Collection[str]:
            asked.append(ids)
            return ids

        sides.relay(still_waiting=still_waiting)
        time.sleep(1.5)
        assert asked == []
        bound.purge()
        until(lambda: asked)


@pytest.fixture
def gate(sides: "Sides") -> Iterator[Gate]:
    """A gate before the core's broker."""
    made = Gate(sides.core_url)
    yield made
    made.close()


def relaying(sides: "Sides", gate: Gate, **options: Any) -> tuple[Any, Relay]:
    """Return nova-api and a relay that has its connection through the gate."""
    sides.serve()
    relay, api = sides.relay(core_url=gate.url, **options), sides.api()
    api.cast({}, "migrate_server", number=0)
    until(lambda: waiting(sides, "conductor") == 0)
    return api, relay


def test_what_is_relayed_waits_for_no_confirmation_and_is_acknowledged_after_it(
    sides: "Sides", gate: Gate
) -> None:
    api, _ = relaying(sides, gate)
    gate.from_broker.clear()
    for number in range(1, 30):
        api.cast({}, "migrate_server", number=number)
    until(lambda: len(sides.conductor.got) == 30)
    assert waiting(sides, "conductor") == 29
    gate.open()
    until(lambda: waiting(sides, "conductor") == 0)
    assert sorted(args["number"] for _, args in sides.conductor.got) == list(range(30))


def test_what_the_broker_never_confirms_is_relayed_again(sides: "Sides", gate: Gate) -> None:
    sides.relay(core_url=gate.url)
    with sides.queue_on_core() as bound:
        sides.publish("first")
        assert next_of(bound).body == "first"
        until(lambda: waiting(sides, "conductor") == 0)
        gate.from_broker.clear()
        sides.publish("second")
        assert next_of(bound).body == "second"
        time.sleep(CONFIRM_S + 1)
        gate.open()
        assert next_of(bound).body == "second"
    until(lambda: waiting(sides, "conductor") == 0)


def test_a_confirmation_of_before_a_lost_connection_acknowledges_nothing(
    sides: "Sides", gate: Gate
) -> None:
    api, relay = relaying(sides, gate, prefetch=3)
    relay.manage(frozenset({"managed"}))
    gate.from_broker.clear()
    for number in (1, 2):
        api.cast({}, "migrate_server", number=number)
    time.sleep(0.5)
    sides.lab._rabbitmqctl("close_all_connections", "--vhost", sides.names[0], "a test")
    until(lambda: relay._edge.connection_error)
    assert relay.wait_ready(15)
    sides.create()
    (before,) = fetched(relay)
    gate.open()
    until(lambda: waiting(sides, "conductor") == 1)  # the request, which nobody acknowledged
    relay.acknowledge([before])
    until(lambda: waiting(sides, "conductor") == 0)
    assert relay._edge.connection_error == ""


def test_no_more_are_taken_than_may_be_unacknowledged(sides: "Sides") -> None:
    relay = sides.relay(prefetch=5)
    relay.manage(frozenset({"managed"}))
    for _ in range(12):
        sides.create()
    taken = fetched(relay, 5)
    time.sleep(0.3)
    assert len(taken) == 5
    assert relay.fetch(limit=100) == []
    relay.acknowledge(taken)
    assert len(fetched(relay, 5)) == 5


@pytest.mark.parametrize("body", [b"nonsense", b"{}", b"[1]", b'{"oslo.message": "5"}'])
def test_a_message_that_is_no_request_is_passed_on_as_it_is(sides: "Sides", body: bytes) -> None:
    sides.relay()
    with sides.queue_on_core() as bound:
        sides.publish(body)
        found = next_of(bound)
        assert found.body == body.decode() or found.body == body


def test_a_call_keeps_its_expiration(sides: "Sides") -> None:
    sides.relay()
    message = {"method": "m", "_msg_id": "1", "_reply_q": "reply_x", "args": {}}
    with sides.queue_on_core() as bound:
        sides.publish(
            json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}), expiration=60
        )
        found = next_of(bound)
    assert found.properties["expiration"] == "60000"
    inner = json.loads(json.loads(found.body)["oslo.message"])
    assert inner["_reply_q"].startswith("reply_synergy_")


@pytest.mark.parametrize(("ballast", "fits"), [(8_000_000, True), (10_000_000, False)])
def test_a_message_of_8_mb_is_handed_over_whole_and_a_larger_one_is_set_aside(
    sides: "Sides", ballast: int, fits: bool
) -> None:
    relay = sides.relay()
    relay.manage(frozenset({"managed"}))
    context = {"user_id": "u", "user_name": "u", "project_id": "managed", "project_name": "p",
               "roles": [], "auth_token": "t"}  # fmt: skip
    envelope = json.loads(nova_message.compose(
        context=context, servers=[(rid(1), "s")], flavor={"name": "f", "vcpus": 1, "memory_mb": 1},
        metadata={}, created_at=NOON, unique_id="1" * 32,
    ))  # fmt: skip
    message = json.loads(envelope["oslo.message"])
    message["args"]["of_a_newer_nova"] = "x" * ballast
    body = json.dumps(envelope | {"oslo.message": json.dumps(message)}).encode()
    with sides.queue_on_core() as bound:
        sides.publish(body)
        (taken,) = fetched(relay)
        assert taken.body == body
        if not fits:
            assert "must have at most 8,388,608" in taken.unreadable
            return
        assert taken.requests[0].body == body
        relay.hand_over_one(taken.requests[0].body)
        assert next_of(bound).body.encode() == body


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"port": "9"}, "refused", id="nobody listens"),
        pytest.param({"password": "wrong"}, "ACCESS_REFUSED", id="wrong password"),
        pytest.param({"vhost": "nosuch"}, "vhost nosuch not found", id="no vhost"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_and_tried_again(
    lab: Lab, changes: Any, told: str
) -> None:
    usual = urlsplit(configuration.broker(lab.settings, "edge"))
    password, port = changes.get("password", usual.password), changes.get("port", usual.port)
    vhost = changes.get("vhost", usual.path[1:])
    nowhere = f"rabbit://{usual.username}:{password}@127.0.0.1:{port}/{vhost}"
    relay = Relay(
        nowhere, nowhere, still_waiting=lambda ids: ids, durability=Durability(), prefetch=10
    )
    relay.manage(frozenset())
    try:
        until(lambda: relay._edge.connection_error)
        with pytest.raises(UpstreamUnavailable, match=f"the broker of nova-api: .*{told}"):
            relay.fetch(limit=1)
        with pytest.raises(HandOverFailed, match=f"the broker does not answer: .*{told}"):
            relay.hand_over_one(b"{}")
    finally:
        relay.close()


def test_what_nova_api_tells_all_schedulers_while_synergy_is_away_comes_when_it_is_back(
    sides: "Sides",
) -> None:
    schedulers = Exchange("scheduler_fanout", "fanout", durable=False, auto_delete=True)
    sides.relay().close()
    with (
        Connection(sides.edge_url.replace("rabbit:", "pyamqp:")) as edge,
        Connection(sides.core_url.replace("rabbit:", "pyamqp:")) as core,
    ):
        scheduler = Queue("", schedulers, exclusive=True, auto_delete=True)(core.channel())
        scheduler.declare()
        for number in range(3):
            edge.Producer().publish(
                enveloped({"method": "update_aggregates", "args": {"n": number}}),
                exchange=schedulers, declare=[schedulers], delivery_mode=2,
                content_type="application/json", content_encoding="utf-8",
            )  # fmt: skip
        assert scheduler.get(no_ack=True) is None
        sides.relay()
        came = [json.loads(json.loads(next_of(scheduler).body)["oslo.message"]) for _ in range(3)]
    assert [one["args"]["n"] for one in came] == [0, 1, 2]
