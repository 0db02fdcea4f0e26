"""Requests follow what Nova shows, whatever was told, or was not."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synergy.core.errors import UpstreamUnavailable
from synergy.core.lifecycle import Event, Move, Step, holds_quota
from synergy.core.model import ServerStatus, State
from synergy.core.reconcile import RUNNING, TABLE, Stay
from synergy.ports import Notice, NoticeKind
from synergy.sim.engine import temporary_store
from tests.builders import World, world
from tests.started import DAY_S, QUIET, Started

LIVING = (State.ACTIVE, State.EXPIRING, State.PARKED, State.ERROR, State.DELETED)
HOLDING = (State.DISPATCHING, State.BUILDING, State.ACTIVE, State.EXPIRING)


@pytest.fixture
def made() -> Iterator[Started]:
    """A world with a fragile cloud, in which managers may fail without ending it."""
    with temporary_store() as store:
        yield Started(store)


def put(one: World, server: str, **changes: Any) -> None:
    """Let something happen to a server in Nova that no notification tells."""
    one.nova.fleet.put(replace(one.nova.show_server(server), **changes))


def tell(one: World, kind: NoticeKind, server: str, off_s: float = 0.0, **more: Any) -> None:
    """Let a host tell something, whose clock may be off."""
    at = one.engine.clock.now() + timedelta(seconds=off_s)
    one.nova.fleet.notices.append(Notice(kind=kind, server_id=server, at=at, **more))
    one.engine._wake("nova")


def write(one: World, server: str, state: State) -> None:
    """Write a state as an older store, or a process that was killed, may have left it."""
    now = one.engine.clock.now()
    with one.store.writing() as uow:
        request = uow.requests.get(server)
        left = replace(
            request,
            state=state,
            host=request.host if state in LIVING else None,
            held_from=request.held_from or now,
            released_at=None if state in HOLDING else now,
            active_at=request.active_at if state in LIVING else None,
        )
        step = Step(
            request_id=server, at=now, from_state=request.state, to_state=state,
            event=Event.RELEASED,
        )  # fmt: skip
        uow.requests.save([Move(left, step)])
        uow.commit()


def show(one: World, server: str, status: ServerStatus) -> None:
    """Let Nova show a server as `status`, without a word."""
    if status is ServerStatus.DELETED:
        one.nova.fleet.drop(one.nova.show_server(server))
    else:
        put(one, server, status=status, host="node1" if status in RUNNING else None)


@pytest.mark.parametrize("status", ServerStatus, ids=lambda value: value.value)
def test_every_state_follows_what_nova_shows(status: ServerStatus) -> None:
    with world(settings=QUIET) as one:
        one.add(default_quota="shared", ttl_s=3600)
        one.run(2)
        states = list(State)
        servers = one.create(count=len(states))
        one.run(20)
        for name in ("scheduler", "expiry", "queue"):
            one.engine.supervisors[name].stop()
        for state, server in zip(states, servers, strict=True):
            write(one, server, state)
            show(one, server, status)
        for _ in range(2):
            one.command("nova", "reconcile")
        for state, server in zip(states, servers, strict=True):
            request = one.get(server)
            assert TABLE[request.state, status] in Stay, state
            if TABLE[state, status] in Stay:
                assert request.state is state
            if status in RUNNING:
                assert holds_quota(request), state
            elif status in (ServerStatus.DELETED, ServerStatus.SHELVED):
                assert not holds_quota(request), state


def test_a_project_that_nova_cannot_list_keeps_no_other_from_being_corrected() -> None:
    with temporary_store() as store:
        one = Started(store)
        _, (lost, more) = one.running(1), one.running(2, project="B")

        def as_nova(real: Any, project_id: str | None, **more: Any) -> Any:
            if project_id in (None, "project-A"):
                raise UpstreamUnavailable("Nova answers 500: a record is damaged")
            return real(project_id, **more)

        one.nova.answer("servers_of", as_nova)
        one.nova.fleet.drop(one.nova.show_server(lost))
        one.run(900)  # what changed
        assert one.states([lost]) == ["DELETED"]
        one.nova.fleet.drop(one.nova.show_server(more))
        one.command("nova", "reconcile")  # and all
        assert one.states([more]) == ["DELETED"]


# --- what no notification told --------------------------------------------------------------------


def one_running(one: World, **settings_of_project: Any) -> str:
    one.add("A", **{"default_quota": "shared", "ttl_s": 7200} | settings_of_project)
    one.run(2)
    (server,) = one.create()
    one.run(20)
    assert one.states([server]) == ["ACTIVE"]
    return server


def test_a_boot_that_got_lost_before_the_server_was_shelved(made: Started) -> None:
    made.add(default_quota="shared", ttl_s=3600)
    made.run(2)
    made.nova.faults.lost_notice = 2
    (server,) = made.create()
    made.run(6)
    made.nova.shelve_server(server)
    made.run(400)
    assert made.states([server]) == ["PARKED"]
    assert not any(made.command("quota", "show")["shared_used"].values())


def test_a_server_that_was_evacuated_counts_on_its_new_host_as_soon_as_it_is_told(
    made: Started,
) -> None:
    server = one_running(made)
    old = made.get(server).host
    new = "node2" if old == "node1" else "node1"
    put(made, server, host=new)
    tell(made, NoticeKind.CHANGED, server)
    made.run(1)
    assert made.get(server).host == new
    assert made.states([server]) == ["ACTIVE"]


@pytest.mark.parametrize("told", [True, False])
def test_a_server_that_is_deleted_by_force_on_a_dead_host_gives_its_quota_back(
    made: Started, told: bool
) -> None:
    server = one_running(made)
    made.nova.set_host_up(made.get(server).host, False)
    made.nova.faults.lost_notice = 0 if told else 1
    made.nova.delete_server(server)
    made.run(1 if told else 400)
    assert made.states([server]) == ["DELETED"]
    assert not any(made.command("quota", "show")["shared_used"].values())


def test_a_build_that_failed_while_its_compute_service_started_anew_is_seen_in_a_minute() -> None:
    with world(settings={"nova": {"rate_s": 3600.0}}) as one:
        one.add(default_quota="shared", ttl_s=3600)
        one.run(2)
        (server,) = one.create()
        one.run(2)
        put(one, server, status=ServerStatus.ERROR, host=None, fault="spawn was interrupted")
        one.nova._placement.release(server)
        one.run(70)
        assert one.states([server]) == ["ERROR"]
        assert not any(one.command("quota", "show")["shared_used"].values())


# --- what was told and is not so ------------------------------------------------------------------


def test_a_deletion_that_did_not_happen_is_not_believed(
    made: Started, caplog: pytest.LogCaptureFixture
) -> None:
    server = one_running(made)
    tell(made, NoticeKind.DELETED, server)
    made.run(90)
    assert made.states([server]) == ["ACTIVE"]
    assert "was reported as deleted, but Nova still has it" in caplog.text
    assert made.command("nova", "drift")["false_deletion"] == 1
    made.run(7300)
    assert made.states([server]) == ["DELETED"]


def test_a_deletion_that_is_told_before_nova_shows_it_is_seen_within_seconds(made: Started) -> None:
    server = one_running(made)
    tell(made, NoticeKind.DELETED, server)
    made.run(5)
    made.nova.faults.lost_notice = 1
    made.nova.delete_server(server)
    made.run(2)
    assert made.states([server]) == ["DELETED"]


def test_while_nova_does_not_answer_nothing_is_ended_and_boots_are_taken_in(made: Started) -> None:
    server = one_running(made)
    (second,) = made.create()
    made.run(3)
    made.nova.delete_server(server)

    def down(*_: Callable[..., Any] | list[str]) -> None:
        raise UpstreamUnavailable("Nova does not answer")

    made.nova.answer("servers", down)
    made.run(20)
    assert made.states([server, second]) == ["ACTIVE", "ACTIVE"]
    made.nova.mend()
    made.run(10)
    assert made.states([server, second]) == ["DELETED", "ACTIVE"]


def test_a_server_that_had_ended_here_and_runs_is_taken_back_and_charged_once(
    made: Started,
) -> None:
    server = one_running(made)
    ends_at = made.get(server).expires_at
    write(made, server, State.DELETED)
    made.run(400)
    request = made.get(server)
    assert request.state is State.ACTIVE
    assert request.expires_at == ends_at
    assert made.command("quota", "show")["shared_used"]["VCPU"] == 1
    assert request.held_from is not None
    ran_s = (made.engine.clock.now() - request.held_from).total_seconds()
    assert ran_s < 400  # what came before was charged then
    made.run(7200)
    assert made.states([server]) == ["DELETED"]


@pytest.mark.parametrize("off_s", [-DAY_S, -60.0, 60.0, 30 * DAY_S])
def test_a_host_whose_clock_is_wrong_changes_no_lifetime(made: Started, off_s: float) -> None:
    made.add(default_quota="shared", ttl_s=3600)
    made.run(2)
    made.nova.faults.lost_notice = 1
    (server,) = made.create()
    made.run(10)
    tell(made, NoticeKind.BOOTED, server, off_s, host="node1")
    made.run(1)
    request = made.get(server)
    assert request.state is State.ACTIVE
    assert request.expires_at is not None
    lives_s = (request.expires_at - made.engine.clock.now()).total_seconds()
    assert 3580 <= lives_s <= 3600
    made.run(3400)
    assert made.states([server]) == ["ACTIVE"]
    made.run(400)
    assert made.states([server]) == ["DELETED"]


NOTICES = st.lists(
    st.tuples(
        st.sampled_from(NoticeKind), st.floats(-1e7, 1e7), st.sampled_from([None, "node1", "x"])
    ),
    max_size=12,
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NOTICES)
def test_whatever_hosts_tell_instants_are_possible_and_what_runs_is_counted(
    told: list[tuple[NoticeKind, float, str | None]],
) -> None:
    with world(settings=QUIET) as one:
        server = one_running(one)
        for kind, off_s, host in told:
            tell(one, kind, server, off_s, host=host)
            one.run(1)
        one.run(400)
        request, now = one.get(server), one.engine.clock.now()
        assert request.state is State.ACTIVE
        assert request.held_from is not None
        assert request.active_at is not None
        assert request.expires_at is not None
        assert request.queued_at <= request.held_from <= now
        assert request.queued_at <= request.active_at <= now
        assert (request.expires_at - request.active_at).total_seconds() == 7200
        steps = one.command("queue", "show", request_id=server)["history"]
        assert all(step["at"] <= now.isoformat() for step in steps)


def test_ten_thousand_deletions_are_not_asked_for_one_by_one(made: Started) -> None:
    server = one_running(made)
    with made.store.reading() as uow:
        known = uow.requests.get(server)
    ids = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(2000)]
    with made.store.writing() as uow:
        uow.requests.add(
            [
                (
                    Move(
                        replace(known, request_id=one, generation=0),
                        Step(
                            request_id=one, at=known.changed_at, from_state=State.RECEIVED,
                            to_state=State.ACTIVE, event=Event.ADOPTED,
                        ),
                    ),
                    b"",
                )
                for one in ids
            ]
        )  # fmt: skip
        uow.commit()
    view = made.nova.show_server(server)
    for one in ids:
        made.nova.fleet.deleted[one] = replace(view, server_id=one, status=ServerStatus.DELETED)
        made.nova.fleet.changed_at[one] = made.engine.clock.now()
        made.nova.fleet.notices.append(
            Notice(kind=NoticeKind.DELETED, server_id=one, at=made.engine.clock.now())
        )
    asked: list[str] = []
    listed: list[Any] = []

    def noted(real: Callable[..., Any], some: Collection[str]) -> Any:
        asked.extend(list(some))
        return real(some)

    def noted_of(real: Callable[..., Any], *what: object, **more: object) -> Any:
        listed.append(what)
        return real(*what, **more)

    made.nova.answer("servers", noted)
    made.nova.answer("servers_of", noted_of)
    made.engine._wake("nova")
    made.run(2)
    assert set(made.states(ids)) == {"DELETED"}
    assert len(asked) <= 40
    assert len(listed) <= 10


def test_nova_is_asked_once_at_the_start_and_once_where_a_full_comparison_is_due() -> None:
    often = {"settle_s": 2400.0, "full_reconcile_s": 600.0, "reconcile_s": 600.0}
    with temporary_store() as store:
        made = Started(
            store,
            {**QUIET, "nova": {"rate_s": 10_000.0, **often}, "expiry": {"metadata_check_s": 0.0}},
        )
        server, stuck = made.running(2)
        made.nova.answer("backlog", lambda real: 1)  # so nobody can say whether it was sent
        show(made, stuck, ServerStatus.SCHEDULING)
        write(made, stuck, State.DISPATCHING)
        made.run(3000)
        asked: list[object] = []

        def noted(name: str, real: Callable[..., Any], what: object, **more: Any) -> Any:
            asked.append((name, what))
            return real(what, **more)

        for name in ("still_waiting", "servers_of"):
            made.nova.answer(name, partial(noted, name))
        at_once = [("still_waiting", [stuck]), ("servers_of", made.get(server).project_id)]
        made.restart()
        made.run(1)
        assert asked == at_once
        made.run(600)
        assert asked == at_once * 2


def test_one_server_of_which_nova_cannot_say_if_it_was_sent_keeps_no_other_waiting() -> None:
    with temporary_store() as store:
        made = Started(store, {**QUIET, "nova": {"settle_s": 60.0}})
        odd, good, third = made.running(3)
        for one in (odd, good, third):
            show(made, one, ServerStatus.SCHEDULING)
            write(made, one, State.DISPATCHING)

        def still_waiting(real: Callable[..., set[str]], ids: Collection[str]) -> set[str]:
            if odd in ids:
                raise UpstreamUnavailable("Nova answers 500")
            return real(ids)

        made.nova.answer("still_waiting", still_waiting)
        made.run(400)
        assert made.get(odd).state is State.DISPATCHING
        assert State.DISPATCHING not in {made.get(good).state, made.get(third).state}
        made.nova.answer("still_waiting", lambda real, ids: real(ids))
        made.run(400)
        assert made.get(odd).state is not State.DISPATCHING


def test_the_only_one_of_which_nova_cannot_say_if_it_was_sent_costs_no_full_comparison() -> None:
    with temporary_store() as store:
        made = Started(store, {**QUIET, "nova": {"settle_s": 60.0, "rate_s": 60.0}})
        (odd,) = made.running(1)
        (lost,) = made.running(1, project="B")
        show(made, odd, ServerStatus.SCHEDULING)
        write(made, odd, State.DISPATCHING)

        def still_waiting(real: Callable[..., set[str]], ids: Collection[str]) -> set[str]:
            if odd in ids:
                raise UpstreamUnavailable("Nova answers 500")
            return real(ids)

        made.nova.answer("still_waiting", still_waiting)
        made.run(400)
        assert made.engine.supervisors["nova"].report.last_error == ""
        made.nova.fleet.drop(made.nova.show_server(lost))
        made.run(3600)
        assert made.states([odd, lost]) == ["DISPATCHING", "DELETED"]
        assert made.engine.supervisors["nova"].report.last_error == ""


def test_a_project_that_nova_cannot_list_stops_no_look_at_what_changed() -> None:
    with temporary_store() as store:
        made = Started(store)
        made.running(1)
        (lost,) = made.running(1, project="B")
        made.run(400)

        def as_nova(real: Callable[..., Any], project_id: str | None, **more: Any) -> Any:
            if project_id == "project-A":  # the list of everybody's changes has an answer
                raise UpstreamUnavailable("Nova answers 500")
            return real(project_id, **more)

        made.nova.answer("servers_of", as_nova)
        made.command("nova", "reconcile")
        made.nova.fleet.drop(made.nova.show_server(lost))
        made.run(600)
        assert made.states([lost]) == ["DELETED"]
        assert made.engine.supervisors["nova"].report.last_error == ""
