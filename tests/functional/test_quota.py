"""Who may use what: guarantees, shortfalls, hosts that fail, and requests for either quota."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from synergy.core.model import Resources
from synergy.core.reasons import Reason
from synergy.drivers.embedded.spec import CloudSpec, HostSpec
from synergy.sim.engine import Engine, temporary_store
from tests.builders import Fragile, World, project_spec, spec, world

LONG: dict[str, Any] = {"ttl_s": 36_000}


def cloud(*vcpus: int, **quotas: Any) -> CloudSpec:
    """A cloud of hosts with so many VCPU; A, B and C own so many of them."""
    users = {"A": {"ua": "alice", "ub": "anna"}, "B": {"uc": "bob"}, "C": {"ud": "carol"}}
    return spec(
        hosts=tuple(
            HostSpec(name=f"node{n}", inventory=Resources.of(VCPU=amount, MEMORY_MB=65_536))
            for n, amount in enumerate(vcpus, start=1)
        ),
        projects=tuple(
            project_spec(
                name,
                users=users[name],
                quota={"VCPU": quotas.get(name, 0), "MEMORY_MB": 16_384 if name in quotas else 0},
            )
            for name in users
        ),
    )


def shown(made: World, *names: str) -> dict[str, int]:
    quota = made.command("quota", "show")
    return {name: quota[name].get("VCPU", 0) for name in names}


def counts(made: World, ids: list[str]) -> dict[str, int]:
    return Counter(made.states(ids))


def test_a_quota_set_below_its_use_costs_nobody_elses_guarantee(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(cloud(8, 8, A=8, B=4)) as made:
        made.add("A", **LONG)
        made.add("B", **LONG)
        made.add("C", default_quota="shared", **LONG)
        made.run(2)
        own = made.create(count=8, quota="private")
        made.run(10)
        made.command("project", "set", project="A", private={"VCPU": 2, "MEMORY_MB": 16_384})
        made.run(2)
        assert shown(made, "shared", "shortfall") == {"shared": 4, "shortfall": 0}
        assert "project A uses 8 VCPU, and its private quota is 2" in caplog.text
        assert made.command("quota", "show")["warnings"] == [
            "project A uses 8 VCPU, and its private quota is 2: it counts with what it uses"
        ]
        guests = made.create(project="C", count=10)
        made.run(10)
        assert counts(made, guests) == {"ACTIVE": 4, "QUEUED": 6}
        idle = made.create(project="B", count=4, quota="private")
        made.run(10)
        assert counts(made, idle) == {"ACTIVE": 4}
        assert counts(made, own) == {"ACTIVE": 8}


def test_what_is_lent_covers_a_shortfall_before_it_is_borrowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world(cloud(10, A=8, B=4)) as made:
        made.add("A", lend_limit=None, **LONG)
        made.add("B", **LONG)
        made.add("C", default_quota="shared", **LONG)
        made.run(5)
        assert shown(made, "shared", "shortfall", "lent", "shared_free") == {
            "shared": 0, "shortfall": 2, "lent": 8, "shared_free": 6,
        }  # fmt: skip
        assert made.command("quota", "show")["shortfall_causes"] == {
            "VCPU": ["project A: VCPU 8", "project B: VCPU 4"]
        }
        borrowers = made.create(project="C", count=8)
        made.run(30)
        assert counts(made, borrowers) == {"ACTIVE": 6, "QUEUED": 2}
        own = made.create(project="B", count=4, quota="private")
        made.run(60)
        assert counts(made, own) == {"ACTIVE": 4}


def test_the_change_that_caused_a_shortfall_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with world(cloud(8, 8, A=4, B=4)) as made:
        made.add("A", **LONG)
        made.run(2)
        made.nova.set_quota("project-B", {"VCPU": 14})
        made.run(61)
        quota = made.command("quota", "show")
        assert quota["shortfall"] == {"VCPU": 2}
        assert quota["shortfall_causes"] == {"VCPU": ["project B: private quota VCPU 4 -> 14"]}
        assert "exceed the cloud by VCPU=2" in caplog.text
        made.run(61)  # it is no news any more, and is still shown
        assert caplog.text.count("exceed the cloud") == 1
        assert made.command("quota", "show")["shortfall_causes"] == quota["shortfall_causes"]
        raised = {"VCPU": 6, "MEMORY_MB": 16_384}
        made.command("project", "set", project="A", private=raised, force=True)
        made.run(2)
        assert "exceed the cloud by VCPU=4" in caplog.text
        assert "project A: private quota VCPU 4 -> 6" in caplog.text
        made.nova.set_quota("project-B", {"VCPU": 4})
        made.run(61)
        assert made.command("quota", "show")["shortfall_causes"] == {}


def test_quotas_of_others_are_asked_for_anew_as_long_as_there_is_a_shortfall() -> None:
    described = cloud(8, A=4, B=6)
    with temporary_store() as store:
        first = Engine(described, {}, store=store, seed=7)
        nova: Any = Fragile(first.nova)
        asked: list[tuple[str, bool]] = []

        def noted(real: Callable[[str], Any], project_id: str, fresh: bool = True) -> Any:
            asked.append((project_id, fresh))
            return real(project_id)

        nova.answer("quota", noted)
        made = World(
            Engine(
                described, {}, store=store, seed=7, clock=first.clock, cloud=(nova, first.identity)
            )
        )
        made.add("A", **LONG)
        made.run(130)
        assert ("project-B", True) in asked
        nova.set_quota("project-B", {"VCPU": 4})
        made.run(61)
        assert shown(made, "shortfall") == {"shortfall": 0}
        asked.clear()
        made.run(61)
        assert ("project-B", False) in asked
        assert ("project-B", True) not in asked


@pytest.mark.parametrize("lends", [False, True])
def test_servers_on_a_host_that_is_down_hold_quota_and_its_capacity_is_not_there(
    lends: bool,
) -> None:
    """A quota that is held there is still held: the servers come back with the host, or somewhere
    else. What a living host can hold of a private guarantee is kept."""
    with world(cloud(8, 8, C=4)) as made:
        made.add("A", default_quota="shared", **LONG)
        made.add("C", lend_limit=None if lends else {}, **LONG)
        made.run(2)
        borrowed = made.create(count=8)
        made.run(20)
        on = Counter(made.nova.show_server(one).host for one in borrowed)
        assert on == {"node1": 4, "node2": 4}
        made.nova.set_host_up("node1", up=False)
        made.run(61)
        more = made.create(count=2)
        own = made.create(project="C", count=4, quota="private")
        made.run(60)
        assert counts(made, more) == {"QUEUED": 2}
        assert counts(made, own) == {"ACTIVE": 4}
        assert {made.nova.show_server(one).host for one in own} == {"node2"}
        assert shown(made, "total", "shared", "shared_used", "shared_free") == {
            "total": 8, "shared": 4, "shared_used": 8, "shared_free": 0,
        }  # fmt: skip
        made.nova.set_host_up("node1", up=True)
        made.run(61)
        assert counts(made, more) == {"ACTIVE": 2}


def test_a_private_quota_in_use_on_a_dead_host_is_kept_for_its_servers() -> None:
    with world(cloud(8, 8, C=4)) as made:
        made.add("A", default_quota="shared", **LONG)
        made.add("C", default_quota="private")
        made.run(2)
        own = made.create("medium", project="C", count=1) + made.create("medium", project="C")
        made.run(20)
        for host in {made.nova.show_server(one).host for one in own}:
            made.nova.set_host_up(host, up=False)
        made.nova.set_host_up("node1", up=True)
        made.run(61)
        more = made.create(count=8)
        made.run(60)
        assert counts(made, more) == {"ACTIVE": 4, "QUEUED": 4}


@pytest.mark.parametrize("discipline", ["greedy", "fifo"])
def test_what_came_before_the_quota_was_known_is_rejected_once_it_is(discipline: str) -> None:
    settings = {"scheduler": {"discipline": discipline}}
    with temporary_store() as store:
        made = World(Engine(spec(), settings, store=store, seed=7))
        made.add("A", default_quota="shared", **LONG)
        made.add("B", default_quota="shared", **LONG)
        made.run(30)
        (giant,) = made.create("giant")  # nobody takes it in: Synergy is killed here
        again = World(
            Engine(
                spec(), settings, store=store, seed=7, clock=made.engine.clock,
                cloud=(made.nova, made.engine.identity),
            )
        )  # fmt: skip
        again.run(5)
        assert again.states([giant]) == ["REJECTED"]
        assert again.get(giant).why.startswith("never_fits: asks for ")
        assert again.get(giant).reason is Reason.NEVER_FITS
        assert "the largest host has" in again.nova.show_server(giant).fault
        others = again.create("small", project="B", count=3)
        again.run(10)
        assert counts(again, others) == {"ACTIVE": 3}


def test_what_waits_is_rejected_when_the_cloud_shrinks_and_not_when_hosts_are_down() -> None:
    described = cloud(8, 8)
    with world(described) as made:
        made.add("A", default_quota="shared", **LONG)
        made.run(2)
        running = made.create("medium", count=8)
        made.run(10)
        (large,) = made.create("large")
        for host in ("node1", "node2"):
            made.nova.set_host_up(host, up=False)
        made.run(200)
        assert made.states([large]) == ["QUEUED"]
        shrunk: Any = Fragile(made.nova)
        shrunk.answer("hosts", lambda real: [
            host for host in real() if host.name == "node2"
        ])  # fmt: skip
        again = World(
            Engine(
                described, {}, store=made.store, seed=7, clock=made.engine.clock,
                cloud=(shrunk, made.engine.identity),
            )
        )  # fmt: skip
        again.run(70)
        assert again.states([large]) == ["QUEUED"]  # one host of 8 is enough
        shrunk.answer("hosts", lambda real: [])
        again.run(70)
        assert again.states([large]) == ["QUEUED"]  # nobody tells of any host: nothing is known
        half = {"VCPU": 4, "MEMORY_MB": 65_536}
        shrunk.answer("hosts", lambda real: [
            type(host)(name=host.name, capacity=Resources.of(half), up=True) for host in real()
        ])  # fmt: skip
        again.run(70)
        assert again.states([large]) == ["REJECTED"]
        assert counts(again, running) == {"ACTIVE": 8}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"borrow_limit": {"VCPU": 1}}, "may borrow VCPU=1"),
        (
            {"private": {"VCPU": 15, "MEMORY_MB": 0}},
            "the whole shared quota is MEMORY_MB=131072, VCPU=1",
        ),
    ],
)
def test_what_waits_is_rejected_when_a_limit_is_set_below_it(
    changed: dict[str, dict[str, int]], why: str
) -> None:
    with world(cloud(8, 8)) as made:
        made.add("A", default_quota="shared", **LONG)
        made.run(2)
        made.create("large", count=2)
        made.run(10)
        (waiting,) = made.create("medium")
        made.run(2)
        assert made.states([waiting]) == ["QUEUED"]
        made.command("project", "set", project="A", **changed)
        made.run(2)
        assert made.states([waiting]) == ["REJECTED"]
        assert why in made.get(waiting).why


def test_a_quota_set_beyond_the_cloud_rejects_nothing_that_waits() -> None:
    with world(cloud(8, 8)) as made:
        made.add("A", default_quota="shared", **LONG)
        made.run(2)
        made.create("large", count=2)
        made.run(10)
        (waiting,) = made.create("medium")
        made.command("project", "set", project="A", private={"VCPU": 99_999}, force=True)
        made.run(120)
        assert made.states([waiting]) == ["QUEUED"]
        assert made.reason(waiting) == "shared_quota_disabled"


def test_what_may_use_either_quota_takes_its_private_one_as_soon_as_it_is_free() -> None:
    with world(cloud(8, A=1)) as made:
        made.add("A", default_quota="private_then_shared", ttl_s=36_000)
        made.run(2)
        first = made.create(count=8)
        made.run(10)
        assert counts(made, first) == {"ACTIVE": 8}
        waiting = made.create(count=3)
        made.run(10)
        assert {made.reason(one) for one in waiting} == {"no_free_quota"}
        (newcomer,) = made.create(user="anna")
        held = {one: made.get(one).quota.value for one in first}
        assert Counter(held.values()) == {"private": 1, "shared": 7}
        (owned,) = [one for one, quota in held.items() if quota == "private"]
        made.nova.delete_server_as_user(owned)
        made.run(10)
        assert counts(made, waiting) == {"ACTIVE": 1, "QUEUED": 2}
        assert made.states([newcomer]) == ["QUEUED"]
        (taken,) = [one for one in waiting if made.states([one]) == ["ACTIVE"]]
        assert taken == waiting[0]
        assert made.get(taken).quota.value == "private"
        assert made.get(taken).expires_at is None
        assert shown(made, "shared_used") == {"shared_used": 7}
        quota = made.command("quota", "show")["projects"][0]
        assert quota["private_used"]["VCPU"] == 1


def test_what_could_not_be_handed_over_may_use_either_quota_again() -> None:
    """It was to hold the shared quota; by the time it is tried again the private one is free."""
    with world(cloud(8, A=1)) as made:
        made.add("A", default_quota="private_then_shared", ttl_s=36_000)
        made.run(2)
        (own,) = made.create()
        made.run(10)
        made.nova.faults.hand_over = 1
        (again,) = made.create()
        made.run(2)
        assert made.reason(again) == "dispatch_retry"
        assert made.get(again).quota.value == "shared"
        made.nova.delete_server_as_user(own)
        made.run(70)
        assert made.states([again]) == ["ACTIVE"]
        assert made.get(again).quota.value == "private"


def test_what_if_says_where_it_would_wait_and_what_the_round_says() -> None:
    with world(cloud(8, A=1)) as made:
        made.add("A", default_quota="private_then_shared", ttl_s=36_000)
        made.run(2)

        def asked(**more: Any) -> Any:
            return made.command(
                "scheduler", "simulate", project_id="project-A", flavor="small", **more
            )

        assert (asked()["starts_now"], asked()["quota"]) == (1, "private")
        made.create()
        made.run(10)
        assert (asked()["starts_now"], asked()["quota"]) == (1, "shared")
        some = asked(count=9)
        assert (some["starts_now"], some["quota"], some["reason"]) == (7, "shared", "no_free_quota")
        made.create(count=7)
        made.run(10)
        (twin,) = made.create()
        made.run(2)
        answer, told = asked(), made.command("scheduler", "explain", request_id=twin)
        assert (answer["starts_now"], answer["quota"]) == (0, "shared")
        assert answer["reason"] == told["reason"] == "no_free_quota"
        assert answer["bounds"] == told["bounds"]
        assert [bound["scope"] for bound in told["bounds"]] == ["shared_quota"]
        private = asked(metadata={"quota": "private"})
        assert private["quota"] == "private"
        assert [bound["scope"] for bound in private["bounds"]] == ["private_quota"]
        assert "of the private quota" in private["text"]


def test_a_fragmented_request_and_its_twin_have_one_reason_and_no_numbers() -> None:
    with world(cloud(8, 8)) as made:
        made.add("A", default_quota="shared", **LONG)
        made.run(2)
        made.create(count=8)  # 4 on each host
        made.run(10)
        (large,) = made.create("large")
        made.run(2)
        told = made.command("scheduler", "explain", request_id=large)
        assert (told["reason"], told["bounds"]) == ("fragmented", [])
        asked = made.command("scheduler", "simulate", project_id="project-A", flavor="large")
        assert (asked["reason"], asked["starts_now"]) == ("fragmented", 0)


def test_every_class_is_shown_also_when_nothing_of_it_is_left() -> None:
    with world(cloud(8)) as made:
        made.add("A", default_quota="shared", **LONG)
        made.run(2)
        made.create(count=8)
        made.run(10)
        quota = made.command("quota", "show")
        assert quota["shared_free"]["VCPU"] == 0
        for name in ("total", "shared", "lent", "shared_used", "shared_free", "private_unmanaged"):
            assert set(quota[name]) == {"VCPU", "MEMORY_MB"}
        assert quota["projects"][0]["private"] == {"VCPU": 0, "MEMORY_MB": 0}


def test_150_blocked_classes_that_differ_in_lifetime_starve_nobody() -> None:
    with world(cloud(8), {"scheduler": {"discipline": "greedy"}}) as made:
        made.add("A", default_quota="shared", **LONG)
        made.add("B", default_quota="shared", **LONG)
        made.run(2)
        made.create(count=4)
        made.run(10)
        for ttl_s in range(1000, 1150):
            made.create("large", synergy__ttl_s=str(ttl_s))
        made.run(2)
        (small,) = made.create(project="B", synergy__nice="1000")
        made.run(10)
        assert made.states([small]) == ["ACTIVE"]


def test_what_may_use_either_quota_is_shown_with_both_until_it_is_dispatched() -> None:
    with world(cloud(8, A=1)) as made:
        made.add("A", default_quota="private_then_shared", ttl_s=36_000)
        made.run(2)
        made.create(count=8)
        made.run(10)
        either, shared = made.create()[0], made.create(quota="shared")[0]
        made.run(2)

        def shown(request_id: str) -> tuple[str, ...]:
            (listed,) = (r for r in made.command("queue", "list") if r["id"] == request_id)
            (ranked,) = [
                r for r in made.command("scheduler", "priorities") if r["id"] == request_id
            ] or [listed]
            found = (
                listed, ranked, made.command("queue", "show", request_id=request_id),
                made.command("scheduler", "explain", request_id=request_id),
            )  # fmt: skip
            (quotas,) = {tuple(one["quotas"]) for one in found}
            return quotas

        assert shown(either) == ("private", "shared")
        assert shown(shared) == ("shared",)
        made.command("queue", "hold", request_id=either)
        assert shown(either) == ("private", "shared")
        made.command("queue", "release", request_id=either)
        made.nova.delete_server_as_user(
            next(r["id"] for r in made.command("queue", "list") if r["quota"] == "private")
        )
        made.run(70)
        assert made.states([either]) == ["ACTIVE"]
        assert shown(either) == ("private",)
