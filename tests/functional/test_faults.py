"""What must never happen, whatever fails: requests lost, servers built twice, quota leaked."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synergy.core.errors import IllegalTransition, NotFound, UpstreamUnavailable
from synergy.core.events import RequestsQueued
from synergy.core.lifecycle import HOLDS_QUOTA, TERMINAL
from synergy.core.model import Resources, State
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.managers.base import Status
from synergy.managers.supervision.supervisor import LONGEST_INBOX
from synergy.ports import Delivery, Handed, Parcel, Receipt
from synergy.sim.clock import VirtualClock
from synergy.sim.engine import Engine, temporary_store
from tests.builders import Fragile, World, spec, world


class Killed(BaseException):
    """Stands for kill -9: no handler of ours may run on the way out."""


class Restarted(World):
    """A world whose Synergy can die and start anew beside the same cloud and store."""

    def restart(self) -> None:
        nova, identity, clock = self.nova, self.engine.identity, self.engine.clock
        nova.redeliver()  # what the dead consumer had not acknowledged
        self.engine = Engine(
            spec(), {}, store=self.store, seed=7, clock=clock, cloud=(nova, identity)
        )


@pytest.fixture
def made() -> Iterator[Restarted]:
    with temporary_store() as store:
        clock, rng = VirtualClock(), random.Random(7)
        identity: Any = Fragile(EmbeddedIdentity(spec(), clock, rng))
        nova: Any = Fragile(EmbeddedNova(spec(), clock, identity, rng))
        yield Restarted(
            Engine(spec(), {}, store=store, seed=7, clock=clock, cloud=(nova, identity))
        )


def dies_at(cloud: Any, name: str, *, after: bool) -> None:
    """Let the process die in the port's method `name`, before or after it did its work."""

    def dying(
        real: Callable[..., Any],
        *args: dict[str, Any] | list[Delivery | Parcel] | str,
        **kwargs: Any,
    ) -> None:
        if after:
            real(*args, **kwargs)
        cloud.mend()
        raise Killed

    cloud.answer(name, dying)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", ["fetch", "acknowledge", "build"])
def test_a_kill_at_the_edge_of_a_port_loses_nothing_and_builds_nothing_twice(
    made: Restarted, name: str, after: bool
) -> None:
    made.add(default_quota="shared")
    made.run(1)
    ids = made.create(count=3)
    dies_at(made.nova, name, after=after)
    with pytest.raises(Killed):
        made.run(1)
    made.restart()
    made.run(400)  # what may be on its way is not settled at once
    assert made.states(ids) == ["ACTIVE"] * 3
    assert made.nova.orphans == []
    assert made.nova.used_by("project-A")["VCPU"] == 3
    for server in ids:
        story = made.command("queue", "show", request_id=server)["history"]
        assert sum(step["to"] == "ACTIVE" for step in story) == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_while_a_trust_is_made_leaves_none_behind(made: Restarted, after: bool) -> None:
    made.add(default_quota="shared", suspended=True)
    made.run(1)
    identity = made.engine.identity
    token = identity.issue_token("anna", "project-A")
    another = identity.create_trust(token, project_id="project-A", roles=["member"])
    made.create()
    dies_at(identity, "create_trust", after=after)
    with pytest.raises(Killed):
        made.run(1)
    assert len(identity.trusts) == 1 + after
    made.restart()
    made.run(120)
    (stored,) = made.command("keystone", "trusts")
    assert stored["user_id"] == "ua"
    assert len(identity.trusts) == 2
    assert another in identity.trusts  # nobody knows what it is for


@pytest.mark.parametrize("told", [True, False])
def test_no_round_after_a_restart_goes_without_factors(
    made: Restarted, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    made.add("A", default_quota="shared", ttl_s=3600)
    made.add("B", default_quota="shared", ttl_s=3600)
    made.run(1)
    made.create("large", project="A")
    made.create("medium", project="A")
    made.run(600)  # 2 of 12 VCPU are left
    waiting = made.create("medium", project="A") + made.create("medium", project="B")
    made.engine.supervisors["queue"].run()
    made.restart()
    supervisors = made.engine.supervisors
    for name in ("quota", "scheduler"):
        supervisors[name].run()
    assert made.states(waiting) == ["QUEUED"] * 2
    made.engine.clock.move_to(made.engine.clock.now() + timedelta(seconds=1 if told else 31))
    if told:
        for name in ("fairshare", "scheduler"):
            supervisors[name].run()
        assert made.states(waiting) == ["QUEUED", "BUILDING"]  # B used nothing yet
    else:
        supervisors["scheduler"].run()
        assert "no fair-share factors arrived" in caplog.text
        assert made.states(waiting) == ["BUILDING", "QUEUED"]  # by age


def test_where_factors_have_no_weight_nobody_waits_for_them() -> None:
    settings: dict[str, dict[str, Any]] = {
        "scheduler": {"weight_fairshare": 0},
        "fairshare": {"autostart": False},
    }
    with world(settings=settings) as made:
        made.add(default_quota="shared")
        made.run(1)
        server = made.create()
        made.run(1)
        assert made.states(server) == ["BUILDING"]


def test_a_restart_changes_no_digit(made: Restarted) -> None:
    made.add(default_quota="shared", ttl_s=30, raw_shares=3)
    made.add("B", default_quota="shared", ttl_s=30)
    for _ in range(5):
        made.create("medium", count=4)
        made.create("small", project="B", count=4)
        made.run(17)
    before = everything(made)
    made.restart()
    assert everything(made) == before
    made.run(1)
    twin = everything(made)
    assert twin["queue"] == before["queue"]


def everything(made: Restarted) -> dict[str, Any]:
    with made.store.reading() as uow:
        history = uow.usage.load()
        return {
            "queue": [
                (line.class_id, line.ids, list(line.queued_at_s)) for line in uow.requests.lines()
            ],
            "requests": uow.requests.search(limit=1000),
            "usage": {key: column.tobytes() for key, column in history.buckets.items()},
            "left": history.left.hex(),
            "charged_at": history.charged_at,
            "projects": uow.projects.all(),
            "users": uow.projects.associations(),
        }


def run_with_restarts(
    restarts: set[int],
) -> list[tuple[str, State, datetime, datetime | None, datetime | None]]:
    """A day of arrivals; return every request's start and end, restarting at the given steps."""
    with temporary_store() as store:
        made = Restarted(Engine(spec(), {}, store=store, seed=7))
        made.add(default_quota="shared", ttl_s=40, raw_shares=2)
        made.add("B", default_quota="shared", ttl_s=40)
        rng = random.Random(5)
        for step in range(20):
            made.create(rng.choice(["small", "medium", "large"]), project=rng.choice("AB"))
            made.run(7)
            if step in restarts:
                made.restart()
        made.run(600)
        with store.reading() as uow:
            return [
                (r.request_id, r.state, r.queued_at, r.held_from, r.released_at)
                for r in uow.requests.search(limit=1000)
            ]


def test_restarting_at_any_step_is_the_same_as_not_restarting() -> None:
    assert run_with_restarts({3, 4, 11}) == run_with_restarts(set())


def test_a_quota_move_that_a_crash_cut_is_finished_at_the_next_start(made: Restarted) -> None:
    before = dict(made.nova.quota("project-C"))
    dies_at(made.nova, "lift_quota", after=False)
    with pytest.raises(Killed):
        made.add("C")
    made.restart()
    made.run(1)
    assert made.command("project", "show", project="C")["handover"] == "held"
    assert set(made.nova.quota("project-C").values()) == {None}
    dies_at(made.nova, "restore_quota", after=False)
    with pytest.raises(Killed):
        made.command("project", "remove", project="C")
    made.restart()
    made.run(1)
    assert dict(made.nova.quota("project-C")) == before
    assert made.command("project", "list") == []


def status_of(made: Restarted, name: str) -> Status:
    return made.engine.supervisors[name].report.status


def test_a_manager_that_fails_is_degraded_and_the_others_go_on(
    made: Restarted, caplog: pytest.LogCaptureFixture
) -> None:
    made.add(default_quota="shared")
    made.run(1)
    quota = made.engine.supervisors["quota"]
    made.engine.tolerant = True
    (server,) = made.create()
    made.nova.faults.api_down = True
    made.run(100)
    assert status_of(made, "quota") is Status.DEGRADED
    assert "UpstreamUnavailable: Nova's API does not answer" in quota.report.last_error
    assert quota.report.failures > 1
    assert caplog.text.count("manager quota failed") == 1
    assert made.states([server]) == ["QUEUED"]
    made.nova.faults.api_down = False
    made.run(600)
    assert status_of(made, "scheduler") is status_of(made, "quota") is Status.RUNNING
    assert quota.report.last_error == ""
    assert made.states([server]) == ["ACTIVE"]


def test_what_waits_only_for_nova_says_so_and_what_waits_for_quota_goes_on_saying_that(
    made: Restarted,
) -> None:
    made.add("A", default_quota="shared")
    made.add("C", default_quota="private")
    made.run(2)
    (runs,) = made.create("large")
    made.run(10)
    assert made.states([runs]) == ["ACTIVE"]
    made.engine.tolerant = True
    (large,), (private,) = made.create("large"), made.create(project="C")
    made.nova.faults.api_down = True
    made.run(30)
    assert (made.reason(large), made.reason(private)) == ("no_free_quota", "nova_down")
    explained = made.command("scheduler", "explain", request_id=private)
    assert explained["text"] == "Nova does not answer."
    assert explained["bounds"] == []
    assert made.command("scheduler", "status")["reasons"] == {"no_free_quota": 1, "nova_down": 1}
    made.nova.faults.api_down = False
    made.run(60)
    assert made.states([large, private]) == ["QUEUED", "ACTIVE"]
    assert made.command("scheduler", "status")["reasons"] == {"no_free_quota": 1}


def test_nova_that_goes_away_between_the_decision_and_the_hand_over_is_told_too(
    made: Restarted,
) -> None:
    made.add(default_quota="shared")
    made.run(2)
    made.engine.tolerant = True

    def away(_real: Callable[..., Any], _ids: list[str]) -> None:
        raise UpstreamUnavailable("Nova does not answer")

    made.nova.answer("servers", away)
    (server,) = made.create()
    made.run(30)
    assert made.reason(server) == "nova_down"
    made.nova.mend()
    made.run(60)
    assert made.states([server]) == ["ACTIVE"]


def test_keystone_that_is_away_is_not_called_nova(made: Restarted) -> None:
    made.add(default_quota="shared")
    made.run(2)
    made.engine.tolerant = True

    def away(_real: Callable[..., Any], _owners: set[tuple[str, str]]) -> None:
        raise UpstreamUnavailable("Keystone does not answer")

    made.identity.answer("gone", away)
    (server,) = made.create()
    made.run(30)
    assert made.states([server]) == ["QUEUED"]
    assert made.reason(server) != "nova_down"


def test_a_manager_that_could_not_be_set_up_is_tried_again(made: Restarted) -> None:
    made.add(default_quota="shared")
    made.run(1)
    (server,) = made.create()
    refusals = 4

    def refused(real: Callable[..., Any], wake: Callable[..., Any]) -> Any:
        nonlocal refusals
        refusals -= 1
        if refusals < 0:
            return real(wake)
        raise UpstreamUnavailable("the broker of notifications does not answer")

    made.nova.answer("on_notice", refused)
    made.restart()
    made.engine.tolerant = True
    nova = made.engine.supervisors["nova"]
    assert status_of(made, "nova") is Status.ERROR
    assert "does not answer" in nova.report.last_error
    made.run(600)
    assert refusals < 0
    assert nova.report.failures > 2
    assert status_of(made, "nova") is Status.RUNNING
    assert made.states([server]) == ["ACTIVE"]
    assert made.nova.orphans == []


def test_a_manager_that_was_paused_for_long_reads_the_store_instead_of_its_events(
    made: Restarted,
) -> None:
    made.add(default_quota="shared")
    made.run(1)
    scheduler = made.engine.supervisors["scheduler"]
    scheduler.stop()
    first = made.create()
    made.run(1)
    for _ in range(LONGEST_INBOX):
        scheduler.deliver(RequestsQueued(()))
    second = made.create()
    made.run(1)
    assert made.states(first + second) == ["QUEUED"] * 2
    scheduler.start()
    made.run(120)
    assert made.states(first + second) == ["ACTIVE"] * 2


def test_what_passes_by_is_passed_once_even_when_its_batch_comes_again(made: Restarted) -> None:
    made.add(default_quota="shared")
    made.run(1)
    made.engine.tolerant = True
    made.nova.lift_quota("project-B")
    made.nova.manage(frozenset({"project-A", "project-B"}))
    waiting = made.create(project="B", count=2)  # intercepted, although B is not managed
    calls: list[Any] = []

    def failing_second(build: Callable[..., Any], parcels: list[Parcel]) -> list[Receipt]:
        receipts: list[Any] = []
        for parcel in parcels:
            calls.append(parcel)
            lost = len(calls) == 2
            receipts += [Receipt(Handed.NOT_SENT, "it is gone")] if lost else build([parcel])
        return receipts

    made.nova.answer("build", failing_second)
    made.run(120)
    assert len(calls) == 3
    assert [made.nova.show_server(one).status.value for one in waiting] == ["ACTIVE"] * 2
    assert made.nova.orphans == []


@pytest.mark.parametrize("sent", [False, True])
def test_a_hand_over_that_broke_off_is_settled_by_the_reconcile(
    made: Restarted, sent: bool
) -> None:
    made.add(default_quota="shared")
    made.run(1)
    made.engine.tolerant = True

    def breaking(build: Callable[..., Any], parcels: list[Parcel]) -> None:
        made.nova.mend()
        if sent:
            build(parcels)
        raise RuntimeError("a defect")

    made.nova.answer("build", breaking)
    made.nova.faults.lost_notice = 1
    (server,) = made.create()
    made.run(30)
    assert made.states([server]) == ["DISPATCHING"]
    made.run(600)
    assert made.states([server]) == ["ACTIVE"]
    assert made.nova.orphans == []
    assert made.command("quota", "show")["shared_used"]["VCPU"] == 1


@pytest.mark.parametrize("told", [False, True])
def test_what_the_broker_did_not_confirm_is_not_sent_twice(made: Restarted, told: bool) -> None:
    made.add(default_quota="shared")
    made.run(1)
    made.nova.faults.unconfirmed = 1
    made.nova.faults.lost_notice = 0 if told else 1
    (server,) = made.create()
    made.run(30)
    assert made.states([server]) == ["ACTIVE" if told else "DISPATCHING"]
    made.run(600)
    assert made.states([server]) == ["ACTIVE"]
    assert made.nova.orphans == []
    assert made.command("quota", "show")["shared_used"]["VCPU"] == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("a defect"), [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]),
        (UpstreamUnavailable("Nova does not answer"), [1, 2, 4, 8, 15, 15, 15]),
    ],
)
def test_back_off_doubles_up_to_five_minutes_and_less_where_somebody_comes_back(
    made: Restarted, error: RuntimeError | UpstreamUnavailable, expected: list[int]
) -> None:
    made.run(1)

    def failing(real: Callable[..., Any]) -> None:
        raise error

    made.nova.answer("hosts", failing)
    quota = made.engine.supervisors["quota"]
    assert [round(quota.run()) for _ in expected] == expected


actions = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.sampled_from(["small", "medium", "large"]), st.sampled_from("ABC")),
        st.tuples(st.just("delete"), st.integers(0, 30), st.just("")),
        st.tuples(st.just("run"), st.integers(1, 40), st.just("")),
        st.tuples(st.just("fault"), st.sampled_from(
            ["no_valid_host", "build_error", "lost_notice", "hand_over"]), st.just("")),
        st.tuples(st.just("host"), st.sampled_from(["node1", "node2"]), st.booleans()),
        st.tuples(st.just("command"), st.sampled_from(["hold", "release", "cancel"]), st.integers(0, 30)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions)
def test_whatever_happens_in_whatever_order_quota_is_conserved(actions: list[Any]) -> None:
    conserve_quota(actions)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions)
def test_whatever_happens_in_many_more_orders_quota_is_conserved(actions: list[Any]) -> None:
    conserve_quota(actions)


def conserve_quota(actions: list[Any]) -> None:
    with temporary_store() as store:
        made = Restarted(Engine(spec(), {}, store=store, seed=7))
        made.add(default_quota="shared", ttl_s=60)
        made.add("B", default_quota="shared", ttl_s=60)
        made.add("C", ttl_s=60)
        made.run(1)
        ids: list[Any] = []
        for what, first, second in actions:
            act(made, ids, what, first, second)
            check_quota(made)
        made.nova.set_host_up("node1", True)
        made.nova.set_host_up("node2", True)
        made.nova.faults.lost_notice = 0
        made.run(7200)
        made.command("nova", "reconcile")
        check_quota(made)
        check_end(made, ids)


def act(made: Restarted, ids: list[str], what: str, first: Any, second: Any) -> None:
    if what == "create":
        ids += made.create(first, project=second)
    elif what == "run":
        made.run(first)
    elif what == "fault":
        setattr(made.nova.faults, first, getattr(made.nova.faults, first) + 1)
    elif what == "host":
        made.nova.set_host_up(first, second)
    elif what == "restart":
        made.restart()
    elif what == "delete" and ids:
        made.nova.delete_server(ids[first % len(ids)])
    elif what == "command" and ids:
        with suppress(IllegalTransition, NotFound):
            made.command("queue", first, request_id=ids[second % len(ids)])


def check_quota(made: Restarted) -> None:
    """Private and shared use stay within what there was when each began, and hosts never overflow."""
    with made.store.reading() as uow:
        rows = uow.requests.search(limit=1000)
    holding = [r for r in rows if r.state in HOLDS_QUOTA]
    for quota, project, limit in (("private", "project-C", 4), ("shared", None, 12)):
        used = sum(
            r.demand["VCPU"]
            for r in holding
            if r.quota == quota and project in (None, r.project_id)
        )
        assert used <= limit
    for host in made.nova.hosts():
        assert made.nova.used_on(host.name).fits_in(host.capacity)
    assert made.nova.orphans == []


def check_end(made: Restarted, ids: list[str]) -> None:
    """Every request is stored, and Nova and Synergy agree about it."""
    for server in ids:
        found = made.get(server)
        view = made.nova.servers([server]).get(server)
        if view is None:
            assert found.state in TERMINAL
        if found.state is State.ACTIVE:
            assert view is not None
    holding = sum(
        (made.get(s).demand for s in ids if made.get(s).state in HOLDS_QUOTA), Resources()
    )
    assert holding == sum((made.nova.used_on(host.name) for host in made.nova.hosts()), Resources())


def test_a_database_that_is_locked_stops_intake_but_loses_nothing() -> None:
    with world() as made:
        made.add(default_quota="shared")
        made.run(1)
        (server,) = made.create()
        made.engine.tolerant = True
        with made.store._engine.connect() as blocking:
            blocking.exec_driver_sql("SELECT 1")  # holds the write lock
            queue = made.engine.supervisors["queue"]
            made.store._engine.dispose(close=False)
            queue.run()
            assert queue.report.status is Status.DEGRADED
            assert "locked by another process" in queue.report.last_error
        made.run(60)
        assert made.states([server]) == ["ACTIVE"]
