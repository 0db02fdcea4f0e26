"""What happens is sent to others, once and in order, and nobody waits for them."""

import json
import logging
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from oslo_config import cfg

from synergy.api.metrics import Metrics
from synergy.api.services import Services
from synergy.core.declared.notifications import NOTIFICATIONS, Priority
from synergy.core.errors import UpstreamUnavailable
from synergy.core.model import Resources
from synergy.db.store import SqlStore
from synergy.drivers.notification_sink import GROUP, OsloSink, problems_of
from synergy.managers.notifier import NotifierManager
from synergy.service.options import new_conf
from synergy.sim.engine import Engine, Plugins, temporary_store
from tests.builders import World, spec
from tests.served import WorldServices

SCHEMAS = {one.name: one.schema() for one in NOTIFICATIONS}


class Bus:
    """The message bus: takes notifications, or is away, or chokes on one."""

    active = True
    dropped = 0

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.away = False
        self.chokes_on: str | None = None

    def send(self, name: str, priority: Priority, payload: dict[str, Any]) -> None:
        if self.away:
            raise UpstreamUnavailable("the bus is away")
        if payload.get("request_id") == self.chokes_on is not None:
            raise ValueError("cannot be encoded")
        Draft202012Validator(SCHEMAS[name]).validate(json.loads(json.dumps(payload)))
        self.taken.append((name.removeprefix("synergy."), payload))

    def names(self, request_id: str | None = None) -> list[str]:
        return [
            name for name, payload in self.taken if request_id in (None, payload.get("request_id"))
        ]

    def close(self) -> None:
        pass


def world_on(
    store: SqlStore, bus: Bus, settings: dict[str, dict[str, float]] | None = None, **more: Any
) -> World:
    needs = {"notification_sink": bus}
    engine = Engine(
        spec(), settings or {}, store=store, seed=7,
        plugins=Plugins(managers=(NotifierManager,), needs=needs), **more,
    )  # fmt: skip
    engine.tolerant = True
    return World(engine)


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with temporary_store() as store:
        yield store


@pytest.fixture
def made(store: SqlStore, bus: Bus) -> World:
    made = world_on(store, bus)
    made.add(default_quota="shared", ttl_s=600)
    made.run(2)
    return made


LIFE = [f"request.{name}" for name in ("queued", "dispatched", "started", "expired", "deleted")]


def test_a_whole_life_is_sent_in_order(made: World, bus: Bus) -> None:
    (one,) = made.create()
    made.run(700)
    assert bus.names(one) == LIFE
    numbers = [payload["number"] for _, payload in bus.taken]
    assert numbers == sorted(set(numbers))
    started = dict(bus.taken)["request.started"]
    expires_at = made.get(one).expires_at
    assert expires_at is not None
    assert started["expires_at"] == expires_at.isoformat()
    assert (started["state"], started["quota"], started["server_name"]) == ("ACTIVE", "shared", "s")


def test_why_a_request_is_rejected_is_sent_as_a_code(made: World, bus: Bus) -> None:
    (one,) = made.create("giant")
    made.run(5)
    (rejected,) = [payload for name, payload in bus.taken if name == "request.rejected"]
    assert (rejected["request_id"], rejected["reason"]) == (one, "never_fits")


def test_a_bus_that_is_away_holds_nobody_up_and_loses_nothing(made: World, bus: Bus) -> None:
    bus.away = True
    ids = made.create(count=3)
    made.run(60)
    assert made.states(ids) == ["ACTIVE"] * 3
    assert bus.taken == []
    shown = made.command("notifier", "show")
    assert shown["waiting"] == 12  # queued, selected, handed over, booted
    assert shown["lag_s"] > 50
    report = made.engine.supervisors["notifier"].report
    assert report.status == "DEGRADED"
    assert "12 entries of the ledger are not sent: the bus is away" in report.hindrance
    told = Metrics(Services(WorldServices(made))).text().decode()
    assert "synergy_notifications_waiting 12.0" in told
    bus.away = False
    made.run(20)
    assert [bus.names(one) for one in ids] == [LIFE[:3]] * 3
    assert made.command("notifier", "show")["waiting"] == 0
    assert made.engine.supervisors["notifier"].report.hindrance == ""


def test_after_a_restart_it_goes_on_where_it_was(store: SqlStore, made: World, bus: Bus) -> None:
    (one,) = made.create()
    made.run(30)
    bus.away = True
    (other,) = made.create()
    made.run(30)
    bus.away = False
    again = world_on(store, bus, clock=made.engine.clock, cloud=(made.nova, made.engine.identity))
    again.run(5)
    assert bus.names(one) == bus.names(other) == LIFE[:3]


def test_what_happened_before_anybody_listened_is_not_sent(store: SqlStore, bus: Bus) -> None:
    bus.active = False
    made = world_on(store, bus)
    made.add(default_quota="shared", ttl_s=600)
    made.run(2)
    made.create()
    made.run(30)
    bus.active = True
    made.run(10)
    made.create()
    made.run(30)
    assert bus.names() == LIFE[:3]


def test_what_is_too_old_is_dropped_and_said(
    store: SqlStore, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    made = world_on(store, bus, {"notifier": {"max_age_s": 60.0}})
    made.add(default_quota="shared", ttl_s=600)
    made.run(2)
    bus.away = True
    made.create()
    made.run(120)
    bus.away = False
    (new,) = made.create()
    made.run(30)
    assert bus.names() == bus.names(new) == LIFE[:3]
    assert made.command("notifier", "show")["dropped"] == 3
    assert "notification(s) up to entry" in caplog.text
    assert "[notifier] max_age_s=60" in caplog.text


def test_one_that_cannot_be_sent_keeps_no_other(
    made: World, bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    ids = made.create(count=3)
    bus.chokes_on = ids[1]
    made.run(30)
    assert [bus.names(one) for one in ids] == [LIFE[:3], [], LIFE[:3]]
    assert made.command("notifier", "show")["dropped"] == 3
    assert "cannot be encoded" in caplog.text


def test_a_shortfall_and_its_end_are_sent(made: World, bus: Bus) -> None:
    made.command("project", "set", project="A", private={"VCPU": 12})
    made.run(61)
    assert bus.taken == []
    made.nova.set_host_up("node2", False)
    made.run(61)
    made.nova.set_host_up("node2", True)
    made.run(61)
    assert [(name, payload["shortfall"], payload["before"]) for name, payload in bus.taken] == [
        ("quota.shortfall", {"VCPU": 8}, {}),
        ("quota.recovered", {}, {"VCPU": 8}),
    ]


# --- oslo.messaging -------------------------------------------------------------------------------


def conf_of(*drivers: str, **options: Any) -> cfg.ConfigOpts:
    conf = new_conf()
    conf([], project="synergy", default_config_files=[], default_config_dirs=[])
    for name, value in {"driver": list(drivers), **options}.items():
        conf.set_override(name, value, group=GROUP)
    return conf


def test_the_drivers_of_oslo_messaging_get_it(caplog: pytest.LogCaptureFixture) -> None:
    memory = import_module("oslo_messaging.notify._impl_test")
    memory.reset()
    caplog.set_level(logging.INFO)
    sink = OsloSink(conf_of("test", "log", "noop"))
    assert sink.active
    sink.send("synergy.request.queued", "INFO", {"version": "1.0"})
    ((_, message, priority, _),) = memory.NOTIFICATIONS
    assert (message["event_type"], priority) == ("synergy.request.queued", "INFO")
    assert message["publisher_id"].startswith("synergy.")
    assert '"event_type": "synergy.request.queued"' in caplog.text
    sink.close()


def test_a_listener_of_oslo_messaging_gets_it_from_the_topic() -> None:
    import oslo_messaging  # as the sink has prepared it

    conf = conf_of("messagingv2", transport_url="fake://")
    sink, got = OsloSink(conf), []

    class Endpoint:
        def warn(
            self,
            _context: dict[str, Any],
            publisher: str,
            event_type: str,
            payload: dict[str, str],
            _metadata: dict[str, str],
        ) -> None:
            got.append((publisher, event_type, payload))
            listener.stop()

    target = oslo_messaging.Target(topic="synergy_notifications")
    listener = oslo_messaging.get_notification_listener(
        oslo_messaging.get_notification_transport(conf), [target], [Endpoint()],
        executor="threading",
    )  # fmt: skip
    listener.start()
    sink.send("synergy.request.rejected", "WARN", {"reason": "never_fits"})
    listener.wait(timeout=30)
    sink.close()
    assert [one[1:] for one in got] == [("synergy.request.rejected", {"reason": "never_fits"})]


def test_a_broker_that_is_away_is_noticed_at_once_and_no_secret_is_told() -> None:
    url = "rabbit://synergy:hidden@127.0.0.1:9/"  # the discard service: nobody answers there
    sink = OsloSink(conf_of("messagingv2", transport_url=url))
    with pytest.raises(UpstreamUnavailable, match="notifications cannot be sent") as raised:
        sink.send("synergy.request.queued", "INFO", {"version": "1.0"})
    assert "hidden" not in str(raised.value)
    sink.close()


def test_without_a_driver_nothing_is_active_and_an_unknown_one_is_refused() -> None:
    assert not OsloSink(conf_of()).active
    (problem,) = problems_of(conf_of("messagingv3"))
    assert problem.startswith(f"[{GROUP}] driver: 'messagingv3' is not installed; there are log")


def test_what_the_sink_is_given_is_plain(made: World, bus: Bus) -> None:
    made.create()
    made.run(10)
    assert all(type(payload["demand"]) is dict for _, payload in bus.taken)
    assert bus.taken[0][1]["demand"] == dict(Resources.of(VCPU=1, MEMORY_MB=256))
