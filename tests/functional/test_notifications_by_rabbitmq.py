"""Notifications go through a real RabbitMQ to a real listener, also after it was away."""

import logging
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from synergy.core.declared.notifications import NOTIFICATIONS
from synergy.drivers.notification_sink import TOPIC, OsloSink
from synergy.managers.notifier import NotifierManager
from synergy.service.options import new_conf
from synergy.sim.engine import Engine, Plugins, temporary_store
from tests.builders import World, spec
from tests.functional.test_notifications import LIFE, conf_of
from tests.patience import until
from tests.rabbitmq import RabbitMQ, running

DECLARED = {one.name: one for one in NOTIFICATIONS}


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with running(tmp_path_factory.mktemp("rabbitmq")) as made:
        yield made


class Mailer:
    """Somebody else's program: a listener of oslo.messaging that judges what it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.wrong: list[str] = []

    def _take(
        self, priority: str, publisher: str, event_type: str, payload: dict[str, Any]
    ) -> None:
        declared = DECLARED[event_type]
        found = Draft202012Validator(declared.schema()).iter_errors(payload)
        self.wrong += [f"{event_type}: {error.message}" for error in found]
        if (priority, payload["version"]) != (declared.priority, declared.version):
            self.wrong.append(f"{event_type} came as {priority} {payload['version']}")
        if not publisher.startswith("synergy."):
            self.wrong.append(f"{event_type} came from {publisher}")
        self.got.append({"name": event_type.removeprefix("synergy."), **payload})

    def info(self, _: Any, publisher: str, event: str, payload: Any, __: Any) -> None:
        self._take("INFO", publisher, event, payload)

    def warn(self, _: Any, publisher: str, event: str, payload: Any, __: Any) -> None:
        self._take("WARN", publisher, event, payload)

    def error(self, _: Any, publisher: str, event: str, payload: Any, __: Any) -> None:
        self._take("ERROR", publisher, event, payload)

    def names(self, request_id: str) -> list[str]:
        return [one["name"] for one in self.got if one.get("request_id") == request_id]


@contextmanager
def listening(url: str) -> Iterator[Mailer]:
    import oslo_messaging  # as the sink has prepared it

    mailer = Mailer()
    transport = oslo_messaging.get_notification_transport(conf_of(transport_url=url))
    target = oslo_messaging.Target(topic=TOPIC, exchange="synergy")
    listener = oslo_messaging.get_notification_listener(
        transport, [target], [mailer], executor="threading"
    )
    listener.start()
    try:
        yield mailer
    finally:
        listener.stop()
        listener.wait()
        transport.cleanup()


@pytest.fixture
def made(rabbitmq: RabbitMQ) -> Iterator[World]:
    sink = OsloSink(conf_of("messagingv2", transport_url=rabbitmq.url))
    needs = {"notification_sink": sink}
    with temporary_store() as store:
        engine = Engine(
            spec(),
            {},
            store=store,
            seed=7,
            plugins=Plugins(managers=(NotifierManager,), needs=needs),
        )
        engine.tolerant = True
        world = World(engine)
        world.add(default_quota="shared", ttl_s=600)
        world.run(2)
        yield world
    sink.close()


def test_a_listener_reads_what_the_schema_promises(made: World, rabbitmq: RabbitMQ) -> None:
    with listening(rabbitmq.url) as mailer:
        (one,) = made.create()
        (giant,) = made.create("giant")
        made.run(700)
        until(lambda: mailer.names(one) == LIFE)
        assert "request.rejected" in mailer.names(giant)
    assert mailer.wrong == []
    numbers = [got["number"] for got in mailer.got]
    assert len(set(numbers)) == len(numbers)


def test_a_broker_that_is_away_costs_no_memory_and_gets_all_when_it_is_back(
    made: World, rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rabbitmq.stop()
    ids = made.create(count=20)
    made.run(30)
    few = held_for_notifications(lambda: made.run(30))
    ids += made.create(count=400)
    many = held_for_notifications(lambda: made.run(120))
    assert many < few + 50_000
    shown = made.command("notifier", "show")
    assert (shown["sent"], shown["dropped"]) == (0, 0)
    assert shown["waiting"] > 420
    report = made.engine.supervisors["notifier"].report
    assert report.status == "DEGRADED"
    assert "entries of the ledger are not sent: notifications cannot be sent" in report.hindrance
    told = [one for one in caplog.records if "manager notifier failed" in one.getMessage()]
    assert len(told) == 1, told
    assert "notifications cannot be sent: OperationalError: [Errno 111]" in caplog.text
    assert "secret" not in caplog.text

    rabbitmq.start()
    with listening(rabbitmq.url) as mailer:
        made.run(60)
        assert made.command("notifier", "show")["waiting"] == 0
        assert made.engine.supervisors["notifier"].report.hindrance == ""
        until(lambda: {got["request_id"] for got in mailer.got} >= set(ids))
        until(lambda: mailer.names(ids[0]) == LIFE[:3])
    assert mailer.wrong == []


def test_its_queues_are_as_durable_as_the_options_of_oslo_messaging_say(
    rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    given = tmp_path / "synergy.conf"
    given.write_text(
        "[DEFAULT]\ncontrol_exchange = lasting\n"
        "[oslo_messaging_rabbit]\nrabbit_quorum_queue = true\n"
        "[oslo_messaging_notifications]\ndriver = messagingv2\ntopics = lasting\n"
        f"transport_url = {rabbitmq.url}\n"
    )
    conf = new_conf()
    conf([], project="synergy", default_config_files=[str(given)], default_config_dirs=[])
    sink = OsloSink(conf)
    sink.send("synergy.request.queued", "INFO", {"version": "1.0"})
    sink.close()
    with rabbitmq.connect() as connection:
        # The broker refuses a declaration that differs from what is there.
        found = connection.channel().queue_declare(
            "lasting.info", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"}
        )
    assert found.message_count == 1


def held_for_notifications(work: Callable[[], None]) -> int:
    """Return how many bytes a piece of work leaves behind in what sends notifications."""
    there = ("*/managers/notifier/*", "*/notification_sink.py", "*/oslo_messaging/*", "*/kombu/*",
             "*/amqp/*")  # fmt: skip
    tracemalloc.start(10)
    try:
        work()
        taken = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    found = taken.filter_traces([tracemalloc.Filter(True, one, all_frames=True) for one in there])
    return sum(one.size for one in found.statistics("filename"))
