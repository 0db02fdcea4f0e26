"""Resize and unshelve of managed projects' servers: what fits passes, what does not is refused."""

from collections.abc import Iterator
from typing import Any

import pytest

from synergy.ports import ServerStatus
from tests.builders import World, world


@pytest.fixture
def made() -> Iterator[World]:
    with world() as found:
        yield found


def running(made: World, flavor: str = "small", **settings: Any) -> str:
    given: dict[str, Any] = {"default_quota": "shared", "ttl_s": 3600}
    made.add(**(given | settings))
    made.run(1)
    (server,) = made.create(flavor)
    made.run(20)
    assert made.states([server]) == ["ACTIVE"]
    return server


def shared_vcpus(made: World) -> int:
    return int(made.command("quota", "show")["shared_used"].get("VCPU", 0))


def story(made: World, server: str) -> list[str]:
    return [step["event"] for step in made.command("queue", "show", request_id=server)["history"]]


def test_a_resize_that_fits_is_accounted_at_once_and_ends_with_its_confirmation(
    made: World,
) -> None:
    server = running(made, "medium")
    made.nova.resize_server(server, "small")
    made.run(1)
    assert shared_vcpus(made) == 2  # it may be reverted
    made.nova.confirm_resize(server)
    made.run(2)
    assert shared_vcpus(made) == 1
    assert made.command("queue", "show", request_id=server)["flavor"] == "small"
    made.nova.resize_server(server, "large")
    made.run(1)
    assert shared_vcpus(made) == 8
    made.nova.revert_resize(server)
    made.run(2)
    assert shared_vcpus(made) == 1
    assert made.command("queue", "show", request_id=server)["flavor"] == "small"


def test_a_resize_that_does_not_fit_is_refused_and_changes_nothing(made: World) -> None:
    server = running(made, borrow_limit={"VCPU": 4})
    before = made.nova.show_server(server)
    made.nova.resize_server(server, "large")
    made.run(1)
    assert made.nova.show_server(server) == before
    assert "project_borrow_limit: to resize it needs" in made.nova.last_failure(server)
    assert "VCPU=7" in made.nova.last_failure(server)
    assert shared_vcpus(made) == 1
    assert story(made, server)[-1] == "CHANGE_REFUSED"
    assert made.states([server]) == ["ACTIVE"]


def test_a_private_server_grows_on_the_private_quota_only(made: World) -> None:
    server = running(made, default_quota="private", private={"VCPU": 4, "MEMORY_MB": 4096})
    made.nova.resize_server(server, "large")
    made.run(1)
    assert "no_free_quota" in made.nova.last_failure(server)
    made.nova.resize_server(server, "medium")
    made.run(1)
    shown = made.command("quota", "show")
    assert shown["projects"][0]["private_used"]["VCPU"] == 2
    assert shown["shared_used"].get("VCPU", 0) == 0


def test_shelving_gives_back_and_unshelving_takes_again(made: World) -> None:
    server = running(made, "large")
    ends_at = made.command("queue", "show", request_id=server)["expires_at"]
    made.nova.shelve_server(server)
    made.run(2)
    assert shared_vcpus(made) == 0
    (other,) = made.create("large")  # 12 of the 16 VCPU are shared
    made.run(20)
    assert made.states([other]) == ["ACTIVE"]
    made.nova.unshelve_server(server)
    made.run(1)
    assert made.nova.show_server(server).status is ServerStatus.SHELVED
    assert "no_free_quota: to unshelve it needs" in made.nova.last_failure(server)
    made.nova.delete_server_as_user(other)
    made.run(2)
    made.nova.unshelve_server(server)
    made.run(2)
    assert made.states([server]) == ["ACTIVE"]
    assert shared_vcpus(made) == 8
    assert made.command("queue", "show", request_id=server)["expires_at"] == ends_at


def test_an_unshelve_that_finds_no_host_gives_back_what_it_took(made: World) -> None:
    server = running(made)
    made.nova.shelve_server(server)
    made.run(2)
    for host in ("node1", "node2"):
        made.nova.set_host_up(host, False)
    made.nova.unshelve_server(server)
    made.run(700)
    assert made.nova.show_server(server).status is ServerStatus.SHELVED
    assert made.states([server]) == ["PARKED"]
    assert shared_vcpus(made) == 0


def test_what_no_notification_told_of_a_resize_is_found(made: World) -> None:
    server = running(made, "medium")
    made.nova.resize_server(server, "small")
    made.run(1)
    made.nova.faults.lost_notice = 1
    made.nova.confirm_resize(server)
    made.run(2)
    assert shared_vcpus(made) == 2
    made.run(700)
    assert shared_vcpus(made) == 1


def test_a_resize_of_a_server_that_is_not_ours_passes(made: World) -> None:
    (server,) = made.create("small", project="C", user="carol")
    made.run(20)
    made.add("C")
    made.nova.resize_server(server, "medium")  # before it is adopted
    made.run(1)
    assert made.nova.show_server(server).demand["VCPU"] == 2


@pytest.mark.parametrize("fault", ["change_hand_over", "change_unconfirmed"])
def test_a_change_that_cannot_be_sent_is_tried_again_unless_it_may_be_there(
    made: World, fault: str
) -> None:
    server = running(made)
    made.engine.tolerant = True
    setattr(made.nova.faults, fault, 1)
    made.nova.resize_server(server, "medium")
    made.run(60)
    assert made.nova.show_server(server).demand["VCPU"] == 2
    assert shared_vcpus(made) == 2
    assert made.command("scheduler", "status")["changes_passed"] == 1
    made.nova.confirm_resize(server)  # a second one would have begun from the first
    made.run(2)
    assert shared_vcpus(made) == 2


@pytest.mark.parametrize("flavor", ["medium", "large"])
def test_a_resize_before_the_boot_was_told_stops_nobody(made: World, flavor: str) -> None:
    made.add(default_quota="shared", ttl_s=3600, borrow_limit={"VCPU": 4})
    made.run(1)
    made.nova.faults.lost_notice = 1
    (server,) = made.create()
    made.run(20)
    assert made.states([server]) == ["BUILDING"]
    made.nova.resize_server(server, flavor)
    (other,) = made.create()
    made.run(20)
    assert made.nova.show_server(server).demand["VCPU"] == (2 if flavor == "medium" else 1)
    assert made.states([other]) == ["ACTIVE"]
    assert shared_vcpus(made) == (3 if flavor == "medium" else 2)


def test_a_server_that_is_unshelved_while_it_expires_stops_nobody(made: World) -> None:
    server = running(made, expiry_action="stop", ttl_s=30)
    made.run(31)
    assert made.states([server]) == ["EXPIRING"]
    made.nova.unshelve_server(server)  # Nova had shelved it without letting go of its host
    (other,) = made.create()
    made.run(5)
    assert made.states([other])[0] in ("BUILDING", "ACTIVE")
