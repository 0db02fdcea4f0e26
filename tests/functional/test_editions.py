"""What was found out before a change is not acted on after it, where that cannot be undone."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synergy.db.projects import Edition
from synergy.sim.engine import Engine, temporary_store
from tests.builders import Fragile, World, project_spec, spec

OWNED: dict[str, Any] = {"VCPU": 4, "MEMORY_MB": 4096}
QUEUES: dict[str, Any] = {"default_quota": "private", "on_private_full": "queue"}


@pytest.fixture
def made() -> Iterator[World]:
    """A world, and between it and the cloud something that lets a test act in the middle of it."""
    with temporary_store() as store:
        first = Engine(spec(), {}, store=store, seed=7)
        nova: Any = Fragile(first.nova)
        yield World(
            Engine(spec(), {}, store=store, seed=7, clock=first.clock, cloud=(nova, first.identity))
        )


def meanwhile(made: World, call: str, act: Callable[[], object]) -> list[bool]:
    """Do something once, while the answer of the next such call is on its way."""
    done: list[bool] = []

    def late(real: Callable[..., Any], *args: Any, **more: Any) -> Any:
        found = real(*args, **more)
        if not done:
            done.append(True)
            act()
        return found

    made.nova.answer(call, late)
    return done


@pytest.mark.parametrize("arrives", ["before the change", "after it"])
def test_nothing_is_refused_by_quotas_of_which_a_pass_tells_late(made: World, arrives: str) -> None:
    """The pass looked at the projects before one was given a quota, and tells of it afterwards."""
    made.add("A", **QUEUES, private={"VCPU": 0, "MEMORY_MB": 0})
    made.run(2)
    ids: list[str] = []

    def change() -> None:
        if arrives == "before the change":
            ids.extend(made.create(count=2))
        made.command("project", "set", project="A", private=OWNED)
        if arrives == "after it":
            ids.extend(made.create(count=2))

    done = meanwhile(made, "hosts", change)
    made.engine.supervisors["quota"].run()
    assert done
    for name in ("queue", "scheduler"):
        made.engine.supervisors[name].run()
    assert set(made.states(ids)) == {"QUEUED"}
    made.run(30)
    assert made.states(ids) == ["ACTIVE"] * 2
    (large,) = made.create("large")
    made.run(10)
    assert made.states([large]) == ["REJECTED"]


def test_whoever_is_suspended_while_a_round_asks_the_cloud_gets_no_server(made: World) -> None:
    made.add("A", default_quota="shared")
    made.run(2)
    ids = made.create(count=2)
    done = meanwhile(
        made, "servers", lambda: made.command("project", "set", project="A", suspended=True)
    )
    made.run(30)
    assert done
    assert made.states(ids) == ["QUEUED"] * 2
    assert made.reason(ids[0]) == "project_suspended"
    made.command("project", "set", project="A", suspended=False)
    made.run(30)
    assert made.states(ids) == ["ACTIVE"] * 2


def test_projects_that_come_before_the_next_look_at_the_cloud_share_what_it_has() -> None:
    """Each fits the cloud by itself, and only one does."""
    described = spec(projects=tuple(project_spec(name) for name in ("A", "B")))
    rule = {
        "manage": "all", "exclude": ["A", "B"], "template_private": "VCPU:10,MEMORY_MB:1024"
    }  # fmt: skip
    with temporary_store() as store:
        made = World(Engine(described, {"project": rule}, store=store, seed=7))
        made.run(2)
        made.engine.supervisors["quota"].stop()
        for left in (["B"], []):
            made.engine._conf.set_override("exclude", left, group="project")
            made.engine._wake("project")
            made.run(5)
        assert [one["name"] for one in made.command("project", "list")] == ["A"]


def test_an_edition_is_none_while_it_is_written_and_another_one_after_it() -> None:
    edition = Edition()
    read: list[int | None] = []
    assert edition.now() == 0
    edition.begin()
    reader = threading.Thread(target=lambda: read.append(edition.now()))
    reader.start()
    reader.join()
    edition.end()
    assert (read, edition.now()) == ([None], 1)


def test_every_write_of_projects_and_domains_is_another_edition_and_no_other_is() -> None:
    with temporary_store() as store:
        made = World(Engine(spec(), {}, store=store, seed=7))

        def edition() -> int | None:
            with store.reading() as uow:
                return uow.projects.edition()

        def settled() -> int:
            found = edition()
            assert found is not None
            return found

        seen = [settled()]
        changes: tuple[Callable[[], Any], ...] = (
            lambda: made.add("A", default_quota="shared"),
            lambda: made.command("project", "set", project="A", raw_shares=3),
            lambda: made.command("project", "remove", project="A"),
        )
        for change in changes:
            change()
            seen.append(settled())
        assert seen == sorted(set(seen))
        made.add("A", default_quota="shared")
        known = edition()
        made.create(count=2)
        made.run(70)
        assert edition() == known
        with store.writing() as uow:
            uow.projects.save_domain(uow.projects.domains()[0])
            assert edition() is None
        assert edition() not in (None, known)
