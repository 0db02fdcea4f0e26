"""What keeps others off the database does little meanwhile, and asks nothing of the cloud."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from synergy.core.lifecycle import Event, transition
from synergy.core.model import DefaultQuota, Domain, Handover, Project
from synergy.sim.engine import Engine, temporary_store
from synergy.sim.guard import CalledWhileWriting
from tests.builders import NOON, World, kind, project_spec, request, rid, spec, world
from tests.write_lock import WriteLock


@pytest.mark.parametrize(
    ("port", "call"),
    [
        ("compute", lambda port: port.hosts()),
        ("identity", lambda port: port.projects()),
        ("conductor", lambda port: port.backlog()),
        ("intake", lambda port: port.fetch(limit=1)),
        ("changes", lambda port: port.fetch(limit=1)),
        ("notices", lambda port: port.fetch(limit=1)),
    ],
)
def test_every_functional_test_fails_when_a_port_is_called_inside_a_writer(
    port: str, call: Callable[[Any], object]
) -> None:
    with world() as made:
        needs = made.engine.needs_of("queue")
        call(needs[port])
        with made.store.reading():
            call(needs[port])
        with made.store.writing(), pytest.raises(CalledWhileWriting):
            call(needs[port])
        call(needs[port])


@contextmanager
def crowd(projects: int, waiting: int) -> Iterator[World]:
    """A cloud whose managed projects have so many waiting requests in total, and one user each."""
    names = [f"P{number}" for number in range(projects)]
    quota, users = {"VCPU": 1, "MEMORY_MB": 256}, {"old": "old", "new": "new"}
    described = spec(projects=tuple(project_spec(name, users=users, quota=quota) for name in names))
    with temporary_store() as store:
        with store.writing() as uow:
            uow.projects.save_domain(Domain(domain_id="default", name="Default"))
            for name in names:
                uow.projects.add(
                    Project(
                        project_id=f"project-{name}", name=name, domain_id="default",
                        default_quota=DefaultQuota.SHARED, handover=Handover.HELD,
                    )
                )  # fmt: skip
            uow.commit()
        for number, name in enumerate(names):
            mine = range(number, waiting, projects)
            with store.writing() as uow:
                association = uow.projects.association(f"project-{name}", "old", "old")
                one = kind(association=association.association_id)
                first = request(
                    request_class=one, class_id=uow.requests.class_id(one),
                    project_id=f"project-{name}", user_id="old",
                )  # fmt: skip
                moves = [
                    transition(replace(first, request_id=rid(n)), Event.ADMITTED, NOON)
                    for n in mine
                ]
                uow.requests.add([(move, b"") for move in moves])
                uow.commit()
        yield World(Engine(described, {}, store=store, seed=7))


def let_one_newcomer_in(projects: int, waiting: int) -> WriteLock:
    """Return what writers did from the message of a user that nobody knew to the last manager that
    has something to do with it."""
    with crowd(projects, waiting) as made:
        supervisors = [made.engine.supervisors[name] for name in ("queue", "fairshare")]
        for supervisor in supervisors:
            supervisor.run()
        (server,) = made.create(project="P0", user="new")
        made.engine.clock.move_to(made.engine.clock.now() + timedelta(seconds=2))
        lock = WriteLock(made.store)
        for supervisor in supervisors:
            supervisor.run()
        assert made.states([server]) == ["QUEUED"]
        assert made.command("queue", "counts") == {"QUEUED": waiting + 1}
    return lock


def test_a_new_user_among_40_000_waiting_requests_of_200_projects_holds_the_lock_as_if_alone() -> (
    None
):
    few, many = let_one_newcomer_in(2, 20), let_one_newcomer_in(200, 40_000)
    assert many.statements == few.statements
    assert few.steps > 0
    # The accounts and the waiting requests of one project are read; the queue is not.
    assert many.steps < 40_000
