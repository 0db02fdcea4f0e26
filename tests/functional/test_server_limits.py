"""How many servers a private quota holds, whatever their size: what Nova calls instances."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import World, project_spec, spec, world

ROOMY: dict[str, Any] = {"VCPU": 8, "MEMORY_MB": 8192}


@pytest.fixture
def made() -> Iterator[World]:
    """A project whose private quota holds two servers, and has cores for eight."""
    limits = {**ROOMY, "servers": 2}
    projects = (project_spec("A", users={"ua": "alice"}, quota=limits), *spec().projects[1:2])
    with world(spec(projects=projects)) as found:
        found.add(default_quota="private")
        found.run(1)
        yield found


def test_the_limit_of_nova_is_kept_and_given_back(made: World) -> None:
    shown = made.command("project", "show", project="A")
    assert shown["max_private_servers"] == 2
    assert made.nova.server_limit("project-A") is None
    made.command("project", "remove", project="A")
    assert made.nova.server_limit("project-A") == 2


def test_the_third_server_waits_until_one_of_them_ends(made: World) -> None:
    ids = made.create(count=3)
    made.run(10)
    assert sorted(made.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]
    (waiting,) = [one for one in ids if made.states([one]) == ["QUEUED"]]
    shown = made.command("scheduler", "explain", request_id=waiting)
    assert shown["reason"] == "no_free_quota"
    assert (
        "It needs a server, and of the private quota of project A 0 of 2 are free." in shown["text"]
    )
    (bound,) = shown["bounds"]
    assert (bound["resource_class"], bound["limit"], bound["free"]) == ("servers", 2, 0)
    (row,) = [one for one in made.command("quota", "show")["projects"] if one["name"] == "A"]
    assert (row["private_servers"], row["max_private_servers"]) == (2, 2)
    made.nova.delete_server_as_user(next(one for one in ids if one != waiting))
    made.run(10)
    assert made.states([waiting]) == ["ACTIVE"]


def test_shared_servers_do_not_count(made: World) -> None:
    shared, private = made.create(count=2, quota="shared"), made.create(count=2)
    made.run(10)
    assert made.states(shared + private) == ["ACTIVE"] * 4


def test_a_full_private_quota_spills_over_where_the_project_wants_it(made: World) -> None:
    made.command("project", "set", project="A", on_private_full="shared")
    ids = made.create(count=3)
    made.run(10)
    assert made.states(ids) == ["ACTIVE"] * 3
    assert made.command("quota", "show")["shared_used"] == {"VCPU": 1, "MEMORY_MB": 256}


def test_a_resize_needs_no_further_server_and_an_unshelve_does(made: World) -> None:
    first, second = made.create(count=2)
    made.run(10)
    made.nova.resize_server(first, "medium")
    made.run(1)
    assert made.get(first).demand["VCPU"] == 2
    made.nova.confirm_resize(first)
    made.nova.shelve_server(second)
    made.run(5)
    third = made.create()
    made.run(10)
    assert made.states([second, *third]) == ["PARKED", "ACTIVE"]
    made.nova.unshelve_server(second)
    made.run(1)
    assert "no_free_quota" in made.nova.last_failure(second)
    made.command("project", "set", project="A", max_private_servers=None)
    made.nova.unshelve_server(second)
    made.run(1)
    assert made.states([second]) == ["ACTIVE"]


def test_a_limit_of_none_is_refused_at_once(made: World) -> None:
    made.command("project", "set", project="A", max_private_servers=0)
    made.run(1)
    (server,) = made.create()
    made.run(1)
    assert made.states([server]) == ["REJECTED"]
    assert "the private quota holds none" in made.get(server).why


def test_a_limit_that_somebody_sets_in_nova_is_taken_over(made: World) -> None:
    made.nova.set_quota("project-A", {"servers": 1})
    made.run(120)
    assert made.command("project", "show", project="A")["max_private_servers"] == 1
    assert made.nova.server_limit("project-A") is None
    made.command("project", "remove", project="A")
    assert made.nova.server_limit("project-A") == 1
