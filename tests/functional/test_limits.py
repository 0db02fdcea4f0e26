"""How many requests may wait: counted from the store, and without those that were deleted."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synergy.core.errors import UpstreamUnavailable
from synergy.drivers.embedded.spec import CloudSpec
from synergy.managers.queue.limits import NEAR
from synergy.sim.engine import Engine, temporary_store
from tests.builders import Fragile, World, project_spec, spec, world


def crowded() -> CloudSpec:
    """A cloud on which nothing of the shared quota starts, since C owns it all."""
    return spec(
        projects=(
            project_spec("A", users={"ua": "alice", "ub": "anna"}),
            project_spec("B", users={"uc": "bob"}),
            project_spec("C", users={"ud": "carol"}, quota={"VCPU": 15, "MEMORY_MB": 1024}),
        )
    )


@pytest.fixture
def cloud() -> Iterator[World]:
    """A world, and the cloud between it and its users, that breaks where it is told to."""
    with temporary_store() as store:
        first = Engine(crowded(), {}, store=store, seed=7)
        nova: Any = Fragile(first.nova)
        made = World(
            Engine(
                crowded(), {}, store=store, seed=7, clock=first.clock, cloud=(nova, first.identity)
            )
        )
        for name in ("A", "B"):
            made.add(name, default_quota="shared", ttl_s=36_000)
        made.run(1)
        made.create(project="B")  # the one VCPU that is shared
        made.run(10)
        yield made


def waiting(made: World, ids: list[str]) -> list[str]:
    return [one for one, state in zip(ids, made.states(ids), strict=True) if state == "QUEUED"]


def test_holding_and_releasing_a_request_makes_no_room(cloud: World) -> None:
    cloud.command("project", "set", project="A", max_waiting=3)
    ids = cloud.create(count=3)
    cloud.run(1)
    for _ in range(20):
        cloud.command("queue", "hold", request_id=ids[0])
        cloud.command("queue", "release", request_id=ids[0])
        ids += cloud.create()
        cloud.run(1)
    assert Counter(cloud.states(ids)) == {"QUEUED": 3, "REJECTED": 20}
    assert cloud.get(ids[-1]).why == "project_waiting_limit: 3 requests of project A wait already"


def test_a_held_request_counts_and_a_cancelled_one_does_not(cloud: World) -> None:
    cloud.command("project", "set", project="A", max_waiting_per_user=2)
    first, second = cloud.create(count=2)
    cloud.run(1)
    cloud.command("queue", "hold", request_id=first)
    (refused,) = cloud.create()
    (other,) = cloud.create(user="anna")
    cloud.run(1)
    assert cloud.states([refused, other]) == ["REJECTED", "QUEUED"]
    assert cloud.get(refused).why == "user_waiting_limit: 2 requests of this user wait already"
    cloud.command("queue", "cancel", request_id=second)
    ids = cloud.create(count=2)
    cloud.run(1)
    assert sorted(cloud.states(ids)) == ["QUEUED", "REJECTED"]


def test_what_could_not_be_handed_over_counts_again(cloud: World) -> None:
    cloud.command("project", "set", project="A", max_waiting=1)
    (back,) = cloud.create()
    cloud.run(1)
    cloud.nova.faults.hand_over = 1
    running = next(view.server_id for view in cloud.nova.servers_of("project-B"))
    cloud.nova.delete_server_as_user(running)
    cloud.run(1)
    assert cloud.reason(back) == "dispatch_retry"
    (late,) = cloud.create()
    cloud.run(1)
    assert cloud.states([back, late]) == ["QUEUED", "REJECTED"]


@pytest.mark.parametrize("limit", [7, NEAR + 500])
def test_a_limit_holds_exactly_however_large_it_is(cloud: World, limit: int) -> None:
    cloud.command("project", "set", project="A", max_waiting=limit, max_waiting_per_user=limit - 3)
    ids: list[Any] = []
    for size in (limit // 2, limit // 3, limit // 4):
        ids += cloud.create(count=size)
        cloud.run(1)
    assert Counter(cloud.states(ids))["QUEUED"] == limit - 3
    others = cloud.create(user="anna", count=9)
    cloud.run(1)
    assert Counter(cloud.states(others)) == {"QUEUED": 3, "REJECTED": 6}


def test_what_its_user_deleted_counts_no_more(cloud: World) -> None:
    cloud.command("project", "set", project="A", max_waiting_per_user=4)
    ids = cloud.create(count=4)
    cloud.run(1)
    for server in ids:
        cloud.nova.delete_server_as_user(server)
    (another,) = cloud.create()
    cloud.run(1)
    assert cloud.states([*ids, another]) == ["CANCELLED"] * 4 + ["QUEUED"]
    assert cloud.get(ids[0]).why == "deleted by its user"


def test_nova_is_asked_only_before_somebody_is_refused(cloud: World) -> None:
    asked: list[str | None] = []

    def noted(real: Callable[..., Any], project_id: str | None = None) -> Any:
        asked.append(project_id)
        return real(project_id)

    cloud.nova.answer("unbuilt", noted)
    cloud.command("project", "set", project="A", max_waiting=4)
    cloud.create(count=4)
    cloud.create(project="B")
    cloud.run(1)
    assert "project-A" not in asked
    cloud.create()
    cloud.create(project="B")
    cloud.run(1)
    assert asked.count("project-A") == 1
    assert "project-B" not in asked


def test_who_is_refused_while_nova_is_silent_stops_nobody(cloud: World) -> None:
    def silent(real: Callable[..., Any], project_id: str | None = None) -> None:
        raise UpstreamUnavailable("Nova does not answer")

    cloud.nova.answer("unbuilt", silent)
    cloud.engine.tolerant = True
    cloud.command("project", "set", project="A", max_waiting=1)
    ids = cloud.create(count=2)
    (other,) = cloud.create(project="B")
    cloud.run(1)
    assert sorted(cloud.states(ids)) == ["QUEUED", "REJECTED"]
    assert cloud.states([other]) == ["QUEUED"]


def counting(cloud: World) -> dict[str, Any]:
    """Count the questions about waiting servers: pages, and servers that are asked about alone."""
    questions: Counter[str] = Counter()

    def pages(real: Callable[..., Any], project_id: None = None) -> Iterator[list[str]]:
        for page in real(project_id):
            questions["pages"] += 1
            yield page

    def servers(real: Callable[..., Any], server_ids: list[str]) -> Any:
        ids = list(server_ids)
        questions["alone"] += len(ids)
        return real(ids)

    cloud.nova.answer("unbuilt", pages)
    cloud.nova.answer("servers", servers)
    return questions


def test_deleted_requests_among_10_000_leave_within_a_minute_in_few_questions(cloud: World) -> None:
    ids = [one for _ in range(10) for one in cloud.create(count=1000)]
    cloud.run(5)
    assert cloud.command("queue", "counts")["QUEUED"] == 10_000
    held = ids[7]
    cloud.command("queue", "hold", request_id=held)
    deleted = [held, *ids[100:9000:20]]
    for server in deleted:
        cloud.nova.delete_server_as_user(server)
    questions = counting(cloud)
    cloud.run(60)
    assert set(cloud.states(deleted)) == {"CANCELLED"}
    assert cloud.command("queue", "counts")["QUEUED"] == 10_000 - len(deleted)
    assert questions["pages"] <= 4 * 10
    assert questions["alone"] <= len(deleted) + 20
    assert cloud.command("scheduler", "status")["waiting"] == 10_000 - len(deleted)


def test_all_of_a_thousand_deleted_requests_leave(cloud: World) -> None:
    ids = cloud.create(count=1000)
    cloud.run(1)
    for server in ids:
        cloud.nova.delete_server_as_user(server)
    cloud.run(60)
    assert set(cloud.states(ids)) == {"CANCELLED"}


def test_a_list_that_lacks_what_waits_cancels_nothing(
    cloud: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever Nova fails to list is asked about by itself, and not all of it at once."""
    ids = cloud.create(count=1200)
    cloud.run(1)
    cloud.nova.delete_server_as_user(ids[0])
    questions = counting(cloud)
    cloud.nova.answer("unbuilt", lambda real, project_id=None: iter([[]]))
    cloud.run(19)
    assert len(waiting(cloud, ids)) >= 1199
    assert 0 < questions["alone"] <= 500
    assert "Nova did not list" in caplog.text


def test_what_is_dispatched_while_nova_lists_is_not_cancelled(cloud: World) -> None:
    (server,) = cloud.create()
    cloud.run(1)
    running = next(view.server_id for view in cloud.nova.servers_of("project-B"))

    def late(real: Callable[..., Any], project_id: None = None) -> Iterator[list[Any]]:
        yield []  # before it was asked for
        cloud.nova.delete_server_as_user(running)

    cloud.nova.answer("unbuilt", late)
    cloud.run(60)
    assert cloud.states([server]) == ["ACTIVE"]


def test_a_deleted_request_that_nobody_can_cancel_stops_no_others() -> None:
    with world(crowded()) as made:
        made.add(default_quota="shared")
        made.run(1)
        ids = made.create(count=5)
        made.run(1)
        for server in ids[2:]:
            made.nova.delete_server_as_user(server)
        made.run(60)
        assert made.states(ids)[2:] == ["CANCELLED"] * 3
