"""Projects that are managed by rule: who comes, who leaves, and what keeps all from leaving."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from synergy.api.metrics import Metrics
from synergy.api.services import Services
from synergy.core.errors import Conflict, InvalidInput, NotFound, UpstreamUnavailable
from synergy.core.model import Resources
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import CloudSpec, HostSpec
from synergy.managers.project.by_rule import BATCH
from synergy.ports import ServerStatus
from synergy.sim.clock import VirtualClock
from tests.builders import Fragile, World, project_spec, spec, world
from tests.served import WorldServices

DEFAULT: dict[str, Any] = {
    "manage": "domains:Default",
    "template_default_quota": "shared",
    "template_ttl_s": "3600",
}


def numbers(made: World) -> str:
    return Metrics(Services(WorldServices(made))).text().decode()


def names(made: World, **wanted: Any) -> set[str]:
    found = made.command("project", "list")
    return {p["name"] for p in found if all(p[key] == one for key, one in wanted.items())}


def rule(made: World, **arguments: Any) -> Any:
    return made.command("project", "rule", **arguments)


def configure(made: World, **options: Any) -> None:
    """Change options and reload them, as SIGHUP does."""
    for name, value in options.items():
        made.engine._conf.set_override(name, value, group="project")
    made.engine._wake("project")


@pytest.fixture
def made() -> Iterator[World]:
    with world(settings={"project": DEFAULT}) as one:
        one.run(2)
        yield one


def test_the_projects_of_a_domain_are_taken_in_with_their_quota_and_users(made: World) -> None:
    assert names(made) == {"A", "C"}  # B is of another domain
    shown = made.command("project", "show", project="C")
    assert shown["private"] == {"VCPU": 4, "MEMORY_MB": 1024}
    assert (shown["managed_by"], shown["handover"]) == ("rule: domain Default", "held")
    assert [user["name"] for user in shown["users"]] == ["carol"]
    assert made.nova.quota("project-C") == {"VCPU": None, "MEMORY_MB": None}
    ids = made.create(project="A") + made.create(project="C")
    made.run(20)
    assert made.states(ids) == ["ACTIVE"] * 2


def test_a_project_that_keystone_tells_of_is_taken_in_at_once(made: World) -> None:
    made.nova.add_project(project_spec("N", quota={"VCPU": 1, "MEMORY_MB": 256}))
    made.run(1)
    assert names(made) == {"A", "C", "N"}
    assert made.command("project", "show", project="N")["private"]["VCPU"] == 1


def test_the_template_sets_what_a_project_comes_with() -> None:
    template = {
        "manage": "all",
        "template_raw_shares": "7",
        "template_ttl_s": "600",
        "template_on_private_full": "shared",
        "template_lend_limit": "none",
        "template_max_waiting": "3",
        "template_borrow_limit": "VCPU:2",
    }
    with world(settings={"project": template}) as made:
        made.run(2)
        for name in ("A", "B", "C"):
            shown = made.command("project", "show", project=name)
            assert (shown["raw_shares"], shown["ttl_s"], shown["max_waiting"]) == (7, 600, 3)
            assert (shown["on_private_full"], shown["lend_limit"]) == ("shared", None)
            assert shown["borrow_limit"] == {"VCPU": 2}


def test_private_quotas_of_the_template_that_exceed_the_cloud_are_given_to_as_many_as_fit(
    caplog: pytest.LogCaptureFixture,
) -> None:
    template = {"manage": "all", "template_private": "VCPU:7,MEMORY_MB:256"}  # the cloud has 16
    with world(settings={"project": template}) as made:
        made.run(70)
        assert len(names(made)) == 2
        assert made.command("quota", "show")["shortfall"] == {}
        (left,) = rule(made)["who_comes"]
        assert "the private quotas would exceed the cloud" in left["error"]
        assert caplog.text.count("cannot be taken in") == 1


@pytest.mark.parametrize("how", ["deleted", "disabled"])
def test_a_project_that_is_gone_leaves_with_its_requests_and_its_quota(
    made: World, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    running = made.create(project="C", flavor="large")
    made.run(20)
    waiting = made.create(project="C", count=3, flavor="large")
    made.run(2)
    assert made.states(running) == ["ACTIVE"]
    assert set(made.states(waiting)) <= {"QUEUED", "ACTIVE"}
    queued = [one for one in waiting if made.states([one]) == ["QUEUED"]]
    assert queued
    if how == "deleted":
        made.engine.identity.remove_project("project-C")
    else:
        made.engine.identity.enable_project("project-C", enabled=False)
    made.run(200)
    assert names(made) == {"A"}
    assert made.states(queued) == ["CANCELLED"] * len(queued)
    assert f"its project {'was ' if how == 'deleted' else 'is '}{how}" in made.get(queued[0]).why
    assert made.nova.show_server(queued[0]).status is ServerStatus.ERROR
    assert made.nova.quota("project-C")["VCPU"] == 4  # it was put back
    assert made.get(running[0]).expires_at is not None  # it ends as it would have
    assert made.engine.supervisors["project"].report.failures == 0
    made.run(4000)
    assert made.states(running) == ["DELETED"]


def test_a_disabled_project_that_is_enabled_again_comes_back(made: World) -> None:
    made.engine.identity.enable_project("project-C", enabled=False)
    made.run(5)
    assert names(made) == {"A"}
    made.engine.identity.enable_project("project-C", enabled=True)
    made.run(5)
    assert names(made) == {"A", "C"}
    assert made.command("project", "show", project="C")["private"]["VCPU"] == 4


def test_tags_let_a_project_in_and_out(made: World) -> None:
    made.engine.identity.set_tags("project-B", ["synergy:include"])
    made.engine.identity.set_tags("project-C", ["synergy:exclude"])
    made.run(5)
    assert names(made) == {"A", "B"}
    assert made.command("project", "show", project="B")["managed_by"] == "rule: tag synergy:include"
    assert rule(made)["who_is_excepted"] == [
        {"id": "project-C", "name": "C", "why": "it has the tag synergy:exclude"}
    ]
    made.engine.identity.set_tags("project-B", [])
    made.engine.identity.set_tags("project-C", [])
    made.run(5)
    assert names(made) == {"A", "C"}


def test_a_changed_rule_tells_in_numbers_what_it_does_and_does_it(
    made: World, caplog: pytest.LogCaptureFixture
) -> None:
    configure(made, manage="domains:Research")
    made.run(5)
    assert (
        "the rule of managed projects is domains:Research now: 1 project(s) come in, 2 leave, "
        "0 are excepted"
    ) in caplog.text
    assert names(made) == {"B"}
    configure(made, manage="all")
    made.run(5)
    assert names(made, managed_by="rule: all") == {"A", "B", "C"}
    configure(made, manage="domains:Default,Research")
    made.run(5)
    assert names(made, managed_by="rule: domain Default") == {"A", "C"}
    assert names(made, managed_by="rule: domain Research") == {"B"}


def test_a_rule_can_be_tried_before_it_is_used(made: World) -> None:
    tried = rule(made, manage="domains:d2")
    assert (tried["coming"], tried["leaving"], tried["dry_run"]) == (1, 2, True)
    assert [one["name"] for one in tried["who_comes"]] == ["B"]
    assert {one["name"] for one in tried["who_leaves"]} == {"A", "C"}
    made.run(200)
    assert names(made) == {"A", "C"}
    with pytest.raises(InvalidInput, match='manage is "some", but must be listed, all, or'):
        rule(made, manage="some")


def test_a_project_that_was_added_by_hand_stays_and_one_by_rule_can_become_one(made: World) -> None:
    made.add("B")
    with pytest.raises(Conflict, match="managed already"):
        made.add("B")
    made.add("C", raw_shares=5)
    assert made.command("project", "show", project="C")["raw_shares"] == 5
    configure(made, manage="listed")
    made.run(5)
    assert names(made, managed_by="hand") == names(made) == {"B", "C"}


def test_a_project_that_a_rule_manages_is_not_removed_by_hand_since_it_would_come_back(
    made: World,
) -> None:
    with pytest.raises(Conflict, match="is managed by rule .domain Default.: name it in"):
        made.command("project", "remove", project="A")
    configure(made, exclude=["A"])
    made.run(5)
    assert names(made) == {"C"}


@pytest.mark.parametrize("on_leaving", ["wait", "cancel"])
def test_what_waits_of_a_project_that_leaves_starts_first_or_is_cancelled(on_leaving: str) -> None:
    settings = DEFAULT | {"on_leaving": on_leaving, "template_suspended": "true"}
    with world(settings={"project": settings}) as made:
        made.run(2)
        ids = made.create(project="A", count=2)
        made.run(2)
        configure(made, exclude=["A"])
        made.run(200)
        if on_leaving == "wait":
            assert made.states(ids) == ["QUEUED"] * 2
            assert rule(made)["who_leaves"] == [
                {"id": "project-A", "name": "A", "why": "[project] exclude names it", "waiting": 2}
            ]
            made.command("project", "set", project="A", suspended=False)
            made.run(200)
            assert made.states(ids) == ["ACTIVE"] * 2
            assert made.get(ids[0]).expires_at is None  # it is no guest any more
        else:
            assert made.states(ids) == ["CANCELLED"] * 2
            assert "is no longer managed by Synergy" in made.get(ids[0]).why
        assert names(made) == {"C"}


def many(count: int, **more: Any) -> CloudSpec:
    """A cloud of many projects with a VCPU each."""
    return spec(
        hosts=(HostSpec(name="n", inventory=Resources.of(VCPU=4 * count, MEMORY_MB=10**7)),),
        projects=tuple(
            project_spec(f"p{number:05}", quota={"VCPU": 1, "MEMORY_MB": 256}, **more)
            for number in range(count)
        ),
    )


def fragile(described: CloudSpec, **settings: Any) -> AbstractContextManager[World]:
    clock = VirtualClock()
    identity: Any = Fragile(EmbeddedIdentity(described, clock, Random(7)))
    nova: Any = Fragile(EmbeddedNova(described, clock, identity, Random(7)))
    return world(
        described, {"project": {"manage": "all"} | settings}, clock=clock, cloud=(nova, identity)
    )


@pytest.mark.parametrize("left", [0, 1, 15])
def test_a_list_of_keystone_that_is_much_shorter_lets_nobody_go(
    left: int, caplog: pytest.LogCaptureFixture
) -> None:
    with fragile(many(30)) as made:
        made.run(2)
        assert len(names(made)) == 30
        made.engine.tolerant = True
        made.identity.answer("projects", lambda real: real()[:left])
        made.run(600)
        assert len(names(made)) == 30
        told = [r for r in caplog.records if "no project that is managed by rule" in r.message]
        assert len(told) == (1 if left else 0)  # an empty one is not believed at all
        ids = made.nova.create_server(
            project="p00020", user="p00020", flavor="small", name="s", metadata={}, count=1
        )
        made.run(10)
        assert made.states(ids) == ["ACTIVE"]
        made.identity.mend()
        made.run(120)
        assert not any(one["gone"] for one in made.command("project", "list"))


def test_a_project_that_keystone_has_and_does_not_list_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with fragile(many(30)) as made:
        made.run(2)
        made.identity.answer("projects", lambda real: real()[1:])
        made.run(600)
        assert len(names(made)) == 30
        assert caplog.text.count("Keystone has it, and does not list it") == 1


def test_a_person_lets_many_go_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with fragile(many(30)) as made:
        made.run(2)
        assert "synergy_project_rule_suspended 0.0" in numbers(made)
        configure(made, manage="listed")
        made.run(200)
        assert len(names(made)) == 30
        assert "synergy_project_rule_suspended 1.0" in numbers(made)
        shown = rule(made)
        assert (shown["suspended"], shown["leaving"]) == (True, 30)
        assert "30 of 30 projects would leave at once" in shown["text"]
        made.command("project", "resume_rule")
        made.run(5)
        assert names(made) == set()
        assert "synergy_project_rule_suspended 0.0" in numbers(made)
        assert made.nova.quota("project-p00007") == {"VCPU": 1, "MEMORY_MB": 256}


def test_one_bad_project_rests_and_keeps_no_other_out(caplog: pytest.LogCaptureFixture) -> None:
    with fragile(many(8)) as made:
        tries: list[Any] = []

        def refuse(real: Callable[..., Any], project_id: str, **more: Any) -> Any:
            if project_id == "project-p00003":
                tries.append(made.engine.clock.monotonic_s())
                raise UpstreamUnavailable("Nova answers 500")
            return real(project_id, **more)

        made.nova.answer("quota_record", lambda real, key: refuse(real, key))
        made.run(2)
        assert len(names(made)) == 7
        assert made.engine.supervisors["project"].report.failures == 0
        made.run(1000)
        waits = [round(b - a) for a, b in pairwise(tries)]
        assert waits[:3] == [60, 120, 240]
        assert caplog.text.count("cannot be taken in") == 1
        made.nova.mend()
        made.run(900)
        assert len(names(made)) == 8


def test_a_project_that_is_deleted_before_it_is_taken_in_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with fragile(many(8)) as made:

        def deleted(real: Callable[..., Any], project_id: str, **more: Any) -> Any:
            if project_id == "project-p00003":
                made.engine.identity.remove_project(project_id)
                raise NotFound(f"Nova: Project ID {project_id} is not a valid project.")
            return real(project_id, **more)

        made.nova.answer("quota", deleted)
        made.run(200)
        assert len(names(made)) == 7
        assert rule(made)["who_comes"] == []
        assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_nova_that_is_away_makes_nobody_a_bad_project() -> None:
    with fragile(many(10)) as made:
        made.engine.tolerant = True

        def away(real: Callable[..., Any], *args: str, **more: Any) -> None:
            raise UpstreamUnavailable("Nova does not answer")

        made.nova.answer("quota_record", away)
        made.run(100)
        assert names(made) == set()
        made.nova.mend()
        made.run(200)
        assert len(names(made)) == 10


def test_a_crash_between_taking_in_and_lifting_is_finished() -> None:
    with fragile(many(3)) as made:
        made.engine.tolerant = True

        def broken(real: Callable[..., Any], project_id: str) -> None:
            raise UpstreamUnavailable("Nova does not answer")

        made.nova.answer("lift_quota", broken)
        made.run(5)
        assert {p["handover"] for p in made.command("project", "list")} == {"taking"}
        made.nova.mend()
        made.run(200)
        assert {p["handover"] for p in made.command("project", "list")} == {"held"}
        assert made.nova.quota("project-p00001")["VCPU"] is None


def test_service_projects_and_own_projects_are_never_taken_in_by_rule() -> None:
    described = spec(projects=(project_spec("A"), project_spec("service"), project_spec("own")))
    with fragile(described) as made:
        made.identity.answer("own_project_id", lambda real: "project-own")
        made.run(5)
        assert names(made) == {"A"}
        made.add("service")  # by hand it may be
        assert names(made) == {"A", "service"}


def test_rounds_go_on_while_many_are_taken_in() -> None:
    with world(many(210), {"project": {"manage": "all"}}) as made:
        seen: list[Any] = []
        made.engine.listen(lambda fact: seen.append(type(fact).__name__))
        made.run(5)
        assert len(names(made)) == 210
        assert 2 <= seen.count("ProjectsChanged") <= 10  # a few batches: not one, nor each alone


@pytest.mark.slow
def test_ten_thousand_projects_are_taken_in_a_batch_at_a_time() -> None:
    with world(many(10_000), {"project": {"manage": "all"}}) as made:

        def progress() -> tuple[int, int]:
            with made.store.reading() as uow:
                count = len(uow.projects.all())
            return made.engine.supervisors["project"].report.runs, count

        seen = [progress()]
        while seen[-1][1] < 10_000 and len(seen) < 70:
            made.run(1)
            seen.append(progress())
        assert seen[-1][1] == 10_000
        for (runs, count), (more_runs, more) in pairwise(seen):
            assert more - count <= BATCH * (more_runs - runs)


def test_what_is_added_with_a_rule_survives_a_restart_of_everything() -> None:
    with world(settings={"project": DEFAULT}) as made:
        made.run(2)
        again = World(
            type(made.engine)(
                spec(), {"project": DEFAULT}, store=made.store, seed=7, clock=made.engine.clock,
                cloud=(made.nova, made.engine.identity),
            )
        )  # fmt: skip
        again.run(100)
        assert names(again, managed_by="rule: domain Default") == {"A", "C"}
