"""Nova's notifications are read from a real RabbitMQ: acknowledged late, and one odd one stops no
other. The last tests show why that is not left to the listener of oslo.messaging."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from synergy.core.errors import UpstreamUnavailable
from synergy.drivers.nova_rpc.broker import Durability
from synergy.drivers.openstack.notifications import NovaNotices
from synergy.ports import Notice
from tests.builders import rid
from tests.functional.test_notifications import conf_of
from tests.messages import enveloped, legacy_message, notification_message, primitive
from tests.patience import until
from tests.rabbitmq import RabbitMQ, running

TOPIC = "versioned_notifications"
# Events of volumes that Nova sends, in the shape of its versioned and of its legacy notifications.
# Of a console it sends none.
OF_VOLUMES = [
    *(
        notification_message(f"instance.{action}.{phase}", volume_id=rid(9))
        for action in ("volume_attach", "volume_detach", "volume_swap")
        for phase in ("start", "end")
    ),
    notification_message("instance.volume_attach.error", volume_id=rid(9)),
    notification_message()
    | {
        "event_type": "volume.usage",
        "payload": primitive({"volume_id": rid(9), "instance_uuid": rid(1), "reads": 1}),
    },
    legacy_message("compute.instance.volume.attach"),
    legacy_message("compute.instance.volume.detach"),
    {"event_type": "volume.usage", "payload": {"volume_id": rid(9), "instance_id": rid(1)}},
]
ODD_MESSAGES: list[object] = [
    [], None, {}, {"event_type": ["instance.create.end"]},
    notification_message() | {"priority": None},
    notification_message() | {"payload": []},
    notification_message() | {"message_id": {"a": 1}},
    notification_message() | {"_unique_id": [1], "_context_project_id": [1]},
    notification_message(server_id="no uuid"),
]  # fmt: skip
ODD = [
    b"", b"{", b"\xff\xfe", b"[]", json.dumps({"oslo.message": 5}).encode(),
    *map(enveloped, ODD_MESSAGES),
]  # fmt: skip


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with running(tmp_path_factory.mktemp("rabbitmq")) as made:
        yield made


@contextmanager
def reading(broker: RabbitMQ, pool: str) -> Iterator[NovaNotices]:
    notices = NovaNotices(
        broker.url, exchange="nova", topics=[TOPIC], pool=pool, durability=Durability(durable=True)
    )
    try:
        notices.on_arrival(lambda: None)
        assert notices._consumer.ready.wait(15)
        yield notices
    finally:
        notices.close()


def tell(broker: RabbitMQ, *bodies: bytes, **properties: Any) -> None:
    broker.publish("nova", f"{TOPIC}.info", *bodies, **properties)


def booted(*numbers: int) -> list[bytes]:
    return [
        enveloped(notification_message(server_id=rid(one)) | {"message_id": f"m{one}"})
        for one in numbers
    ]


def fetched(notices: NovaNotices, count: int) -> list[Notice]:
    found: list[Notice] = []

    def look() -> bool:
        try:
            found.extend(notices.fetch(limit=100))
        except UpstreamUnavailable:
            return False
        return len(found) >= count

    until(look, 30)
    return found


def servers(notices: Sequence[Notice]) -> list[str]:
    return [one.server_id for one in notices]


def test_one_odd_notification_stops_no_other(rabbitmq: RabbitMQ) -> None:
    with reading(rabbitmq, "odd") as notices:
        for number, body in enumerate(ODD):
            tell(rabbitmq, body)
            tell(rabbitmq, *booted(100 + number))
        tell(rabbitmq, booted(1)[0], content_encoding="no-such-encoding", content_type="a/b")
        tell(rabbitmq, *booted(2))
        good = {*(rid(100 + number) for number in range(len(ODD))), rid(2)}
        found: list[Notice] = []

        def all_good_came() -> bool:
            found.extend(fetched(notices, 1))
            return good <= set(servers(found))

        until(all_good_came)
        notices.acknowledge(found)
    assert rabbitmq.waiting(f"odd_nova_{TOPIC}") == 0


def test_events_of_volumes_pass_and_do_nothing(rabbitmq: RabbitMQ) -> None:
    with reading(rabbitmq, "volumes") as notices:
        tell(rabbitmq, *(enveloped(message) for message in OF_VOLUMES), *booted(1))
        found = fetched(notices, 1)
        assert servers(found) == [rid(1)]
        notices.acknowledge(found)
    assert rabbitmq.waiting(f"volumes_nova_{TOPIC}") == 0


def test_what_was_not_committed_comes_again_also_after_a_restart_of_the_broker(
    rabbitmq: RabbitMQ,
) -> None:
    with reading(rabbitmq, "late") as notices:
        tell(rabbitmq, *booted(1, 2))
        notices.acknowledge(fetched(notices, 2)[:1])
    with reading(rabbitmq, "late") as notices:  # as after a crash before the commit
        before = fetched(notices, 1)
        assert servers(before) == [rid(2)]
        rabbitmq.stop()
        rabbitmq.start()
        again = fetched(notices, 1)
        assert servers(again) == [rid(2)]
        notices.acknowledge(before)  # the commit came while the broker was away
        notices.acknowledge(again)
        tell(rabbitmq, *booted(3))
        notices.acknowledge(fetched(notices, 1))
    assert rabbitmq.waiting(f"late_nova_{TOPIC}") == 0


def test_what_takes_longer_than_the_consumer_timeout_comes_again(tmp_path: Path) -> None:
    """The broker closes the channel of a consumer that acknowledges too late."""
    impatient = ("consumer_timeout 1500", "channel_tick_interval 300")
    with running(tmp_path, *impatient) as broker, reading(broker, "slow") as notices:
        tell(broker, *booted(1))
        first = fetched(notices, 1)
        again = fetched(notices, 1)
        assert servers(first) == servers(again) == [rid(1)]
        assert (broker.waiting(f"slow_nova_{TOPIC}"), notices._consumer.is_alive()) == (0, True)
        notices.acknowledge(again)
        tell(broker, *booted(2))
        last = fetched(notices, 1)
        assert rid(2) in servers(last)
        notices.acknowledge(last)


# --- why not the listener of oslo.messaging -------------------------------------------------------


class Endpoint:
    """Notes the servers that it is told of; `batch` says whether in one call for many."""

    def __init__(self, *, batch: bool) -> None:
        self.batch, self.told = batch, Counter[str]()

    def info(self, *given: Any) -> None:
        payloads = [one["payload"] for one in given[0]] if self.batch else [given[3]]
        self.told.update(payload["nova_object.data"]["uuid"] for payload in payloads)


@contextmanager
def oslo_listener(
    broker: RabbitMQ, pool: str, *, batch: bool
) -> Iterator[tuple[Endpoint, Callable[[], int]]]:
    """A listener with requeue; yields what it tells, and how often it was given something."""
    import oslo_messaging  # as the sink has prepared it

    transport = oslo_messaging.get_notification_transport(conf_of(transport_url=broker.url))
    endpoint, targets = Endpoint(batch=batch), [oslo_messaging.Target(topic="t", exchange="n")]
    options: dict[str, Any] = {"executor": "threading", "allow_requeue": True, "pool": pool}
    if batch:
        listener = oslo_messaging.get_batch_notification_listener(
            transport, targets, [endpoint], batch_size=50, batch_timeout=0.2, **options
        )
    else:
        listener = oslo_messaging.get_notification_listener(
            transport, targets, [endpoint], **options
        )
    dispatch, times = listener.dispatcher.dispatch, []

    def counted(incoming: Any) -> Any:
        times.append(1)
        return dispatch(incoming)

    listener.dispatcher.dispatch = counted
    listener.start()
    try:
        yield endpoint, lambda: len(times)
    finally:
        with broker.connect() as connection:
            connection.channel().queue_delete(pool)  # or it is requeued for ever
        listener.stop()
        listener.wait()
        transport.cleanup()


@pytest.mark.parametrize("batch", [False, True])
def test_the_listener_of_oslo_messaging_turns_round_an_odd_one_for_ever(
    rabbitmq: RabbitMQ, batch: bool
) -> None:
    """One whose priority is null is requeued without end and without delay; in a batch, with all
    that came with it. When this fails, it is mended there: look at the architecture page again."""
    odd = enveloped(notification_message() | {"priority": None})
    with oslo_listener(rabbitmq, f"turned_{batch}", batch=batch) as (endpoint, times):
        rabbitmq.publish("n", "t.info", odd, *booted(1, 2, 3))
        until(lambda: times() > (5 if batch else 50), 30)
        assert sum(endpoint.told.values()) == (0 if batch else 3)
