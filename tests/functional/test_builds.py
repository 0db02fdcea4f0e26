"""Builds that fail after the hand-over: told apart, accounted, and what their project wants."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from synergy.core.errors import Conflict
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.ports import ServerStatus, ServerView
from synergy.sim.clock import VirtualClock
from tests.builders import Fragile, World, spec, world

SHARED: dict[str, Any] = {"default_quota": "shared", "ttl_s": 3600}


@pytest.fixture
def made() -> Iterator[World]:
    clock, rng = VirtualClock(), Random(7)
    identity = EmbeddedIdentity(spec(), clock, rng)
    nova: Any = Fragile(EmbeddedNova(spec(), clock, identity, rng))
    with world(clock=clock, cloud=(nova, identity)) as found:
        yield found


def steps(made: World, server: str) -> list[tuple[str, str]]:
    history = made.command("queue", "show", request_id=server)["history"]
    return [(step["event"], step["why"]) for step in history]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("no_valid_host", "no_valid_host: No valid host was found. "),
        ("build_error", "build_error: Build of instance aborted."),
    ],
)
def test_the_ledger_tells_failures_apart(made: World, fault: str, why: str) -> None:
    made.add(**SHARED)
    setattr(made.nova.faults, fault, 1)
    (server,) = made.create()
    made.run(10)
    assert steps(made, server)[-1] == ("BUILD_FAILED", why)
    assert made.command("nova", "drift") == {}  # nobody failed to tell it


def test_a_build_that_nova_tries_elsewhere_holds_its_quota_all_the_while(made: World) -> None:
    made.add(**SHARED)
    made.nova.faults.reschedule = 1
    (server,) = made.create("medium")
    used = set()
    for _ in range(14):
        made.run(1)
        used.add(made.command("quota", "show")["shared_used"].get("VCPU"))
    assert made.states([server]) == ["ACTIVE"]
    assert made.nova.show_server(server).fault == ""
    assert used == {2}
    assert [event for event, _ in steps(made, server)] == [
        "ADMITTED", "SELECTED", "HANDED_OVER", "ATTEMPT_FAILED", "BOOTED",
    ]  # fmt: skip
    assert steps(made, server)[3][1] == "node2: Build of instance aborted."


def test_nova_is_asked_until_it_is_known_what_it_does_after_a_broken_attempt(made: World) -> None:
    made.add(**SHARED)
    made.nova.faults.build_error = 1
    (server,) = made.create()
    asked: list[Any] = []

    def undecided(real: Callable[..., Any], ids: list[str]) -> Any:
        """Nova tells that a build broke before it decides what to do about it."""
        views = real(ids)
        if ServerStatus.ERROR not in {view.status for view in views.values()} or len(asked) == 3:
            return views
        asked.append(ids)
        building = {"status": ServerStatus.BUILDING, "host": "node2", "failure": None}
        return {key: replace(view, **building) for key, view in views.items()}

    made.nova.answer("servers", undecided)
    made.run(7)
    assert made.states([server]) == ["BUILDING"]
    made.run(5)
    assert made.states([server]) == ["ERROR"]


@pytest.mark.parametrize(("late", "why"), [
    (1, "build_error: Build of instance aborted."), (99, "seen in Nova"),
])  # fmt: skip
def test_the_fault_that_nova_writes_after_the_status_is_waited_for_once(
    made: World, late: int, why: str
) -> None:
    made.add(**SHARED)
    made.nova.faults.build_error = 1
    (server,) = made.create()
    asked: list[Any] = []

    def early(real: Callable[..., Any], ids: list[str]) -> Any:
        views = real(ids)
        if ServerStatus.ERROR not in {view.status for view in views.values()} or len(asked) == late:
            return views
        asked.append(ids)
        return {key: replace(view, fault="", failure=None) for key, view in views.items()}

    made.nova.answer("servers", early)
    made.run(10)
    assert asked
    assert steps(made, server)[-1] == ("BUILD_FAILED", why)


def test_the_second_format_of_a_notification_is_no_second_attempt(made: World) -> None:
    made.add(**SHARED)
    made.nova.faults.build_error = 1
    made.nova.answer("take_notices", lambda real, limit: [n for n in real(limit) for _ in "12"])
    (server,) = made.create()
    made.run(10)
    events = [event for event, _ in steps(made, server)]
    assert events.count("ATTEMPT_FAILED") == events.count("BUILD_FAILED") == 1


def test_a_failed_server_stays_for_its_user_to_read_or_goes_as_its_project_wants(
    made: World,
) -> None:
    made.add("A", **SHARED)
    made.add("B", on_build_failure="delete", **SHARED)
    made.nova.faults.build_error = 2
    kept, deleted = *made.create(project="A"), *made.create(project="B")
    made.run(300)
    assert made.states([kept, deleted]) == ["ERROR", "DELETED"]
    assert set(made.nova.servers([kept, deleted])) == {kept}


def test_a_failed_server_is_deleted_although_nova_did_not_answer_at_first(made: World) -> None:
    made.add(on_build_failure="delete", **SHARED)
    made.nova.faults.build_error = 1
    (server,) = made.create()
    made.run(1)
    made.engine.tolerant = True
    made.nova.faults.api_down = True
    made.run(30)
    assert made.states([server]) == ["BUILDING"]
    assert steps(made, server)[-1][0] == "ATTEMPT_FAILED"
    made.nova.faults.api_down = False
    made.run(300)
    assert made.states([server]) == ["DELETED"]


def test_one_failed_server_that_cannot_be_deleted_keeps_none_of_the_others(made: World) -> None:
    made.add(on_build_failure="delete", **SHARED)
    made.nova.faults.build_error = 2
    locked, other = made.create(count=2)

    def refusing(real: Callable[..., Any], server: str) -> None:
        if server == locked:
            raise Conflict(f"server {server} is locked")
        real(server)

    made.nova.answer("delete_server", refusing)
    made.run(60)
    assert made.states([locked, other]) == ["ERROR", "DELETED"]
    made.nova.mend()
    made.run(60)
    assert made.states([locked]) == ["DELETED"]


def test_a_server_that_ran_and_then_failed_is_never_deleted(made: World) -> None:
    made.add(on_build_failure="delete", **SHARED)
    (server,) = made.create()
    made.run(20)

    def in_error(real: Callable[..., Any], *args: str, **more: Any) -> Iterator[ServerView]:
        for view in real(*args, **more):
            yield replace(view, status=ServerStatus.ERROR, fault="its host burned down")

    made.nova.answer("servers_of", in_error)
    made.command("nova", "reconcile")
    assert made.states([server]) == ["ERROR"]
    made.nova.mend()
    made.run(600)
    assert set(made.nova.servers([server])) == {server}


def test_after_no_valid_host_the_like_of_it_waits_and_others_do_not(made: World) -> None:
    made.add(**SHARED)
    made.nova.faults.no_valid_host = 3
    (first,) = made.create(user="alice")
    made.run(1)
    (second,) = made.create(user="alice")
    made.run(30)
    assert made.states([first, second]) == ["ERROR", "QUEUED"]
    assert made.reason(second) == "fragmented"
    made.nova.faults.no_valid_host = 0
    others = made.create(user="anna") + made.create("medium", user="alice")
    made.run(20)
    assert made.states(others) == ["ACTIVE", "ACTIVE"]
    made.run(20)
    assert made.states([second]) == ["ACTIVE"]  # a minute after the first


def test_what_may_use_either_quota_rests_too(made: World) -> None:
    """It changes its class when it is dispatched: what rests is what its user asks of a host."""
    made.add(default_quota="private_then_shared", ttl_s=3600)
    made.nova.faults.no_valid_host = 100
    ids = [made.create()[0]]
    for _ in range(7):
        made.run(1)
        ids += made.create()
    made.run(20)
    assert made.states(ids) == ["ERROR"] + ["QUEUED"] * 7


def test_what_finds_no_host_again_and_again_rests_longer(made: World) -> None:
    made.add(**SHARED)
    made.nova.faults.no_valid_host = 100
    ids = [made.create()[0]]
    for _ in range(8):
        made.run(1)
        ids += made.create()
    failed_after_s: list[Any] = []
    for second in range(1000):
        made.run(1)
        count = made.states(ids).count("ERROR")
        if count > 1 + len(failed_after_s):
            failed_after_s.append(second)
    assert len(failed_after_s) == 4  # about 60, 180, 420 and 900 s after the first
    assert failed_after_s[3] - failed_after_s[2] > 1.9 * (failed_after_s[2] - failed_after_s[1])
