"""No server is ended that should live, and none is kept that should end."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from synergy.api.metrics import Metrics
from synergy.api.services import Services
from synergy.core.errors import Conflict, InvalidInput, UpstreamUnavailable
from synergy.managers.expiry import MAX_RETRY_S
from synergy.ports import ServerStatus
from synergy.sim.clock import START, VirtualClock
from synergy.sim.engine import Machine, temporary_store
from tests.builders import World, world
from tests.served import Api, WorldServices
from tests.started import DAY_S, HOUR_S, QUIET, Started

STEPS_S = [2 * HOUR_S, 60 * DAY_S, -DAY_S]
BRAKED: dict[str, Any] = QUIET | {"expiry": {"most_per_pass": 4}}


@pytest.fixture
def made() -> Iterator[Started]:
    """A world with a fragile cloud, in which managers may fail without ending it."""
    with temporary_store() as store:
        yield Started(store)


# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_wall_clock_that_is_wrong_for_a_while_ends_nothing(
    made: Started, step_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    ids = made.running()
    made.set_clock(step_s)
    made.run(12)
    assert made.states(ids) == ["ACTIVE"] * 3
    shown = made.shown()
    assert (shown["suspended"], shown["reason"]) == (True, "clock")
    assert f"{step_s:+.0f} s off" in shown["text"]
    assert "it was set" in caplog.text
    made.set_clock(0)
    made.run(100)
    assert made.states(ids) == ["ACTIVE"] * 3
    assert not made.shown()["suspended"]
    made.run(7200)
    assert made.exist(ids) == [False] * 3


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_wall_clock_that_stays_wrong_ends_nothing_until_a_person_says_so(
    made: Started, step_s: float
) -> None:
    ids = made.running()
    made.set_clock(step_s)
    made.run(3 * HOUR_S)
    assert made.states(ids) == ["ACTIVE"] * 3  # also those that are due by now
    assert made.shown()["due"] == 3
    shown = made.command("expiry", "resume")
    assert not shown["suspended"]
    assert shown["clock"]["off_s"] == 0
    made.run(100)
    assert made.exist(ids) == [step_s < 0] * 3


@pytest.mark.parametrize("boot_id", ["virtual", "another"])
@pytest.mark.parametrize("step_s", [60 * DAY_S, -DAY_S])
def test_a_service_that_starts_with_a_wrong_clock_ends_nothing(
    made: Started, step_s: float, boot_id: str
) -> None:
    ids = made.running()
    made.run(46)  # it was stored a second ago what the time is
    made.restart(Machine(boot_id=boot_id, ahead=timedelta(seconds=step_s)))
    made.run(600)
    assert made.states(ids) == ["ACTIVE"] * 3
    assert made.shown()["reason"] == "clock"
    made.set_clock(0)
    made.run(600)
    assert not made.shown()["suspended"]
    assert made.states(ids) == ["ACTIVE"] * 3


def test_on_the_same_start_of_the_machine_two_hours_are_noticed_over_a_restart(
    made: Started,
) -> None:
    ids = made.running()
    made.run(100)
    made.restart(Machine(ahead=timedelta(hours=2)))
    made.run(600)
    assert made.states(ids) == ["ACTIVE"] * 3
    assert made.shown()["reason"] == "clock"


def test_a_service_that_was_away_for_an_hour_ends_what_ended_meanwhile(made: Started) -> None:
    ids = made.running(ttl_s=600)
    made.engine.clock.move_to(made.engine.clock.now() + timedelta(hours=1))
    made.restart(Machine(boot_id="another"))
    made.run(60)
    assert made.exist(ids) == [False] * 3


def test_a_clock_that_runs_fast_raises_no_alarm(
    made: Started, caplog: pytest.LogCaptureFixture
) -> None:
    ids = made.running()
    for minute in range(120):
        made.set_clock(minute * 60 * 0.01)  # 1 %: 72 s after two hours
        made.run(60)
        assert not made.shown()["suspended"]
    assert "it was set" not in caplog.text
    made.run(120)
    assert made.exist(ids) == [False] * 3


@pytest.mark.parametrize("step_s", [40 * DAY_S, -40 * DAY_S])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_wall_clock_that_was_set_clears_no_usage_and_charges_none(
    step_s: float, resumed: bool
) -> None:
    settings = QUIET | {"fairshare": {"usage_reset_period": "daily", "rate_s": 600.0}}
    evening = VirtualClock(START + timedelta(hours=20))
    with world(settings=settings, clock=evening) as one:
        one.add(default_quota="shared", ttl_s=60 * 86_400)
        one.run(2)
        one.create()
        one.run(HOUR_S)
        one.engine.host_clock.off = timedelta(seconds=step_s)
        one.run(HOUR_S)
        if resumed and step_s < 0:
            one.command("expiry", "resume")
        one.run(HOUR_S)
        used = one.shares()["alice"]["raw_usage"]
        assert 2.5 * HOUR_S < used <= 3 * HOUR_S  # decayed a little
        one.engine.host_clock.off = timedelta()
        if resumed and step_s < 0:
            one.command("expiry", "resume")
        one.run(2 * HOUR_S)  # over the next midnight
        assert one.shares()["alice"]["raw_usage"] <= 2 * HOUR_S


# --- the brake ------------------------------------------------------------------------------------


def many(**more: Any) -> AbstractContextManager[World]:
    return world(settings=QUIET | {"expiry": {"most_per_pass": 4, "warnings_s": [], **more}})


def test_more_than_expected_at_once_are_not_ended_until_a_person_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with many() as one:
        one.add(default_quota="shared", ttl_s=600)
        one.run(2)
        ids = one.create(count=11)
        one.run(700)
        left = [state for state in one.states(ids) if state == "ACTIVE"]
        assert len(left) == 7
        shown = one.command("expiry", "show")
        assert (shown["suspended"], shown["reason"], shown["due"]) == (True, "most_per_pass", 7)
        assert "no server is ended" in one.engine.supervisors["expiry"].report.hindrance
        assert "11 servers are due to end at once" in caplog.text
        numbers = Metrics(Services(WorldServices(one))).text().decode()
        assert 'synergy_expiry_suspended{reason="most_per_pass"} 1.0' in numbers
        assert 'synergy_expiry_suspended{reason="clock"} 0.0' in numbers
        assert "synergy_expiry_due 7.0" in numbers
        one.run(3600)
        assert len([state for state in one.states(ids) if state == "ACTIVE"]) == 7
        assert one.command("expiry", "resume")["due"] == 7
        one.run(60)
        assert one.states(ids) == ["DELETED"] * 11
        assert not one.command("expiry", "show")["suspended"]
        assert one.engine.supervisors["expiry"].report.hindrance == ""


def test_a_restart_releases_no_brake() -> None:
    with temporary_store() as store:
        made = Started(store, BRAKED)
        made.running(count=11, ttl_s=600)
        made.run(700)
        assert made.shown()["due"] == 7
        made.restart()
        made.run(600)
        assert made.shown()["due"] == 7


def test_servers_that_end_one_after_the_other_need_nobody() -> None:
    with many(rate_s=1.0) as one:
        one.add(default_quota="shared", ttl_s=100)
        one.run(2)
        ids: list[Any] = []
        for _ in range(4):
            ids += one.create(count=4)
            one.run(20)
        one.run(200)
        assert one.states(ids) == ["DELETED"] * 16


# --- what Nova refuses ----------------------------------------------------------------------------

REFUSALS = [
    Conflict("Nova: it is in vm_state resized (HTTP 409)"),
    InvalidInput("Nova: it is not ready (HTTP 400)"),
    UpstreamUnavailable("Nova forbids it: it is locked (HTTP 403)"),
    UpstreamUnavailable("Nova answers 500"),
    RuntimeError("a defect"),
]
METHODS: dict[str, Any] = {
    "shelve": "shelve_server",
    "stop": "stop_server",
    "snapshot_delete": "snapshot_server",
    "delete": "delete_server",
}


def refuses(made: Started, method: str, server: str, error: Any) -> None:
    def as_nova(real: Callable[..., Any], server_id: str, *rest: str) -> Any:
        if server_id == server:
            raise error
        return real(server_id, *rest)

    made.nova.answer(method, as_nova)


@pytest.mark.parametrize(
    ("action", "error"),
    [*(("delete", error) for error in REFUSALS), *((one, REFUSALS[0]) for one in METHODS)],
    ids=str,
)
def test_a_server_that_nova_refuses_to_end_keeps_no_other_from_ending(
    made: Started, action: str, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (bad,) = made.running(1, ttl_s=100, expiry_action=action)
    refuses(made, METHODS[action], bad, error)
    others = made.running(3, project="B", ttl_s=100)
    made.run(200)
    assert made.exist(others) == [False] * 3
    assert made.engine.supervisors["expiry"].report.failures == 0
    assert made.states([bad]) == ["EXPIRING"]
    assert made.get(bad).why == str(error)
    assert [one["id"] for one in made.shown()["refused"]] == [bad]
    told = [r for r in caplog.records if r.message.startswith(f"server {bad} cannot be ended")]
    assert len(told) == 1  # one line a cause
    made.nova.mend()
    made.run(400)
    found = made.nova.servers([bad])
    assert bad not in found or found[bad].status is not ServerStatus.ACTIVE
    assert made.shown()["refused"] == []


@pytest.mark.parametrize("on_keep", ["end", "keep"])
@pytest.mark.parametrize("error", REFUSALS, ids=str)
def test_a_server_that_nova_cannot_show_keeps_no_other_from_ending(
    made: Started, on_keep: str, error: Exception
) -> None:
    (bad,) = made.running(1, ttl_s=100, on_keep=on_keep)

    def as_nova(real: Callable[[Sequence[str]], Any], server_ids: Iterable[str]) -> Any:
        asked = list(server_ids)
        if bad in asked:
            raise error
        return real(asked)

    made.nova.answer("servers", as_nova)
    others = made.running(3, project="B", ttl_s=100, on_keep=on_keep)
    made.run(900)
    made.nova.mend()
    assert made.exist(others) == [False] * 3
    if on_keep == "keep":  # its user may have locked it
        assert made.exist([bad]) == [True]
        made.run(700)
    assert made.exist([bad]) == [False]


@pytest.mark.parametrize("action", list(METHODS))
def test_a_server_that_belongs_to_another_project_now_is_not_ended(
    made: Started, action: str
) -> None:
    moved, other = made.running(2, ttl_s=100, expiry_action=action)
    server = made.nova.show_server(moved)
    made.nova.fleet.put(replace(server, project_id="project-C", user_id="ud"))
    made.run(900)
    assert made.states([moved, other])[0] == "EXPIRING"
    assert made.nova.show_server(moved).status is ServerStatus.ACTIVE
    (refused,) = made.shown()["refused"]
    assert refused["id"] == moved
    assert "project-C, but project-A borrowed quota for it" in refused["why"]


def test_a_refused_server_is_tried_ever_more_seldom(made: Started) -> None:
    made.running(1, ttl_s=100)
    tries: list[Any] = []

    def as_nova(_real: Callable[..., Any], _server_id: str) -> None:
        tries.append(made.engine.clock.monotonic_s())
        raise Conflict("not now")

    made.nova.answer("delete_server", as_nova)
    span_s = 6 * HOUR_S
    made.run(span_s)
    gaps = [round(later - first) for first, later in pairwise(tries)]
    assert gaps[:6] == [30, 60, 120, 240, 480, 960]
    assert max(gaps) <= MAX_RETRY_S + 60
    assert tries[-1] > span_s - 2 * MAX_RETRY_S  # never given up


def test_a_resize_that_its_user_never_confirms_ends_all_the_same(made: Started) -> None:
    (server,) = made.running(1, ttl_s=100, expiry_action="shelve")

    def as_nova(real: Callable[..., Any], server_id: str) -> Any:
        if made.nova.cloud.servers([server_id])[server_id].in_task:
            raise Conflict("Nova: it is in vm_state resized (HTTP 409)")
        return real(server_id)

    made.nova.answer("shelve_server", as_nova)
    made.nova.resize_server(server, "medium")
    made.run(300)
    assert made.states([server]) == ["PARKED"]
    assert not any(made.command("quota", "show")["shared_used"].values())


def test_what_cannot_be_shelved_for_a_day_is_deleted(made: Started) -> None:
    (server,) = made.running(1, ttl_s=100, expiry_action="shelve")
    refuses(made, "shelve_server", server, Conflict("Nova: it is in vm_state error (HTTP 409)"))
    made.run(20 * HOUR_S)
    assert made.exist([server]) == [True]
    made.run(6 * HOUR_S)
    assert made.exist([server]) == [False]
    assert made.states([server]) == ["DELETED"]


def fail_in_nova(made: Started, server: str) -> None:
    nova = made.nova
    nova.fleet.put(
        replace(nova.show_server(server), status=ServerStatus.ERROR, fault="its reboot failed")
    )


def test_a_server_that_failed_once_ends_with_its_lifetime(made: Started) -> None:
    server, twin = made.running(2)
    fail_in_nova(made, server)
    made.run(1200)
    assert made.states([server]) == ["ERROR"]
    made.nova.fleet.put(
        replace(made.nova.show_server(server), status=ServerStatus.ACTIVE, fault="")
    )
    made.run(1200)
    assert made.states([server]) == ["ACTIVE"]
    made.run(7200)
    assert made.exist([server, twin]) == [False] * 2
    assert made.states([server, twin]) == ["DELETED"] * 2
    assert not any(made.command("quota", "show")["shared_used"].values())


def test_a_server_that_stays_failed_ends_with_its_lifetime(made: Started) -> None:
    (server,) = made.running(1)
    fail_in_nova(made, server)
    made.run(7200 + 700)
    assert made.exist([server]) == [False]
    assert made.states([server]) == ["DELETED"]
    assert not any(made.command("quota", "show")["shared_used"].values())


# --- what people read -----------------------------------------------------------------------------


def test_whether_servers_end_is_shown_and_resumed_through_the_api(made: Started) -> None:
    ids = made.running()
    made.set_clock(2 * HOUR_S)
    made.run(40)
    api = Api(made).as_admin()
    shown = api.get("/v1/expiry")["expiry"]
    assert (shown["suspended"], shown["reason"], shown["due_on_resume"]) == (True, "clock", 3)
    numbers = Metrics(Services(WorldServices(made))).text().decode()
    assert 'synergy_expiry_suspended{reason="clock"} 1.0' in numbers
    assert "synergy_clock_off_seconds 7200.0" in numbers
    status, answer, _ = api.ask("POST", "/v1/expiry/resume", {})
    assert (status, answer["expiry"]["suspended"]) == (200, False)
    made.run(60)
    assert made.exist(ids) == [False] * 3
