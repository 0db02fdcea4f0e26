"""The whole service beside a real cloud, driven by its users, and with parts of it away.

It stores in MariaDB, as it would in production; the tests of kills store in SQLite.
"""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lab.steps import Lab
from tests.contract.clouds import Connect, Connection
from tests.openstack.beside import BIN, Beside, until

pytestmark = pytest.mark.openstack
CROWD = {"cores": 0, "ram": 0, "instances": 10}


@pytest.fixture(scope="module")
def cloud(on_edge: Lab, connect: Connect) -> Iterator[Connection]:
    """The lab with nothing in it; every quota but the shared one is nothing."""
    admin = connect()
    left = list(admin.compute.servers(all_projects=True))  # of a run that was cut
    for server in left:
        admin.compute.delete_server(server, ignore_missing=True)
    for server in left:
        admin.compute.wait_for_delete(server, interval=0.5, wait=90)
    for project in admin.identity.projects():
        if project.name != "science":
            admin.compute.update_quota_set(project.id, **CROWD, force=True)
    yield admin
    for project in admin.identity.projects():
        admin.compute.revert_quota_set(project.id)


@pytest.fixture
def alice(cloud: Connection, connect: Connect) -> Iterator[Connection]:
    """alice in science, who leaves nothing behind."""
    made = connect("alice", "science")
    yield made
    left = list(made.compute.servers())
    for server in left:
        made.compute.delete_server(server, ignore_missing=True)
    for server in left:
        made.compute.wait_for_delete(server, interval=0.5, wait=90)


@pytest.fixture
def beside(
    on_edge: Lab, cloud: Connection, alice: Connection, tmp_path: Path
) -> Iterator[Callable[..., Beside]]:
    """Make services with these options; all are stopped, and science gets its quota back."""
    made, database = [], f"synergy_{uuid4().hex}"
    stored = {"connection": on_edge.add_database(database)}

    def making(**sections: Any) -> Beside:
        service = Beside(on_edge.settings, tmp_path, database=stored, **sections)
        made.append(service)
        return service

    yield making
    for service in made:
        service.stop()
    on_edge.remove_database(database)
    cloud.compute.revert_quota_set(alice.current_project_id)


@pytest.fixture
def science(beside: Callable[..., Beside], alice: Connection) -> Iterator[Beside]:
    service = beside(nova={"settle_s": 5}, expiry={"rate_s": 1}).start()
    service.ask("POST", "/v1/projects", {
        "project": "science", "default_quota": "shared", "ttl_s": 3600,
        "private": {"VCPU": 0, "MEMORY_MB": 0},
    })  # fmt: skip
    until(lambda: service.command("quota", "show")["shared"].get("VCPU") == 80, 30)
    yield service
    for request in service.requests():
        if request["state"] in ("QUEUED", "HELD"):
            service.ask("POST", f"/v1/requests/{request['id']}/cancel", {})
    service.ask("DELETE", "/v1/projects/science")


def create(user: Connection, flavor: str = "m1.tiny", **more: Any) -> Any:
    return user.compute.create_server(
        name="s", flavor_id=user.compute.find_flavor(flavor, ignore_missing=False).id,
        image_id=user.image.find_image("tiny", ignore_missing=False).id, networks="none", **more,
    )  # fmt: skip


def test_a_server_is_queued_built_and_expires(
    science: Beside, alice: Connection, cloud: Connection
) -> None:
    project = alice.current_project_id
    assert {cloud.compute.get_quota_set(project)[n] for n in ("cores", "ram")} == {-1}
    server = create(alice, metadata={"synergy:ttl_s": "5"})
    until(lambda: science.states(server.id) == ["ACTIVE"])
    assert alice.compute.get_server(server.id).status == "ACTIVE"
    assert science.command("quota", "show")["shared_used"] == {
        "VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1,
    }  # fmt: skip
    until(lambda: science.states(server.id) == ["DELETED"])
    assert alice.compute.find_server(server.id) is None
    assert not any(science.command("quota", "show")["shared_used"].values())


def test_each_server_of_a_multi_create_is_a_request(science: Beside, alice: Connection) -> None:
    create(alice, flavor="m1.big", min_count=2, max_count=5)  # each host has memory for one
    until(lambda: sorted(r["state"] for r in science.requests())[:2] == ["ACTIVE"] * 2)
    found = science.requests()
    assert len({one["batch_id"] for one in found}) == 1
    assert sorted(one["state"] for one in found) == ["ACTIVE"] * 2 + ["QUEUED"] * 3
    waiting = [one for one in found if one["state"] == "QUEUED"]
    assert {one["reason"] for one in waiting} == {"fragmented"}  # the sum has room for one more


def test_servers_of_a_group_are_placed_apart_although_they_come_one_by_one(
    science: Beside, alice: Connection, cloud: Connection
) -> None:
    group = alice.compute.create_server_group(name="apart", policy="anti-affinity")
    try:
        create(alice, min_count=2, max_count=2, scheduler_hints={"group": group.id})
        until(lambda: [r["state"] for r in science.requests()] == ["ACTIVE"] * 2)
        servers = cloud.compute.servers(all_projects=True, project_id=alice.current_project_id)
        assert {one.compute_host for one in servers} == {"fake1", "fake2"}
        for one in science.requests():
            history = science.ask("GET", f"/v1/requests/{one['id']}")["request"]["history"]
            assert "ATTEMPT_FAILED" not in [step["event"] for step in history]
    finally:
        alice.compute.delete_server_group(group)


def test_a_user_who_deletes_a_waiting_server_cancels_its_request(
    science: Beside, alice: Connection, cloud: Connection
) -> None:
    ours = cloud.identity.find_user("synergy", domain_id="default").id

    def trusts() -> int:
        return len(list(cloud.identity.trusts(trustee_user_id=ours)))

    others = trusts()
    science.ask("PATCH", "/v1/projects/science", {"suspended": True})
    first, second = create(alice), create(alice)
    until(lambda: science.states(first.id, second.id) == ["QUEUED"] * 2)
    until(lambda: science.command("keystone", "trusts"))
    assert trusts() == others + 1
    alice.compute.delete_server(first)
    science.ask("PATCH", "/v1/projects/science", {"suspended": False})
    until(lambda: science.states(first.id, second.id) == ["CANCELLED", "ACTIVE"])
    science.ask("POST", "/v1/managers/keystone/stop")
    science.ask("POST", "/v1/managers/keystone/start")
    until(lambda: not science.command("keystone", "trusts"), 90)
    assert trusts() == others


def test_a_cancelled_and_a_hopeless_request_show_their_users_why(
    science: Beside, alice: Connection
) -> None:
    science.ask("PATCH", "/v1/projects/science", {"suspended": True})
    server = create(alice)
    until(lambda: science.states(server.id) == ["QUEUED"])
    science.ask("POST", f"/v1/requests/{server.id}/cancel", {})
    shown = until(lambda: (s := alice.compute.get_server(server.id)).fault and s)
    assert (
        "Synergy rejected this request: cancelled: cancelled by an operator"
        in shown.fault["message"]
    )
    wrong = create(alice, metadata={"synergy:ttl_s": "soon"})
    shown = until(lambda: (s := alice.compute.get_server(wrong.id)).fault and s)
    assert "Synergy rejected this request" in shown.fault["message"]
    assert "'soon'" in shown.fault["message"]


def test_servers_that_ran_before_are_adopted(
    beside: Callable[..., Beside], alice: Connection
) -> None:
    service = beside(nova={"reconcile_s": 2}).start()  # relays for unmanaged projects
    server = create(alice)
    alice.compute.wait_for_server(server, wait=90)
    before = dict(alice.compute.get_quota_set(alice.current_project_id).to_dict())
    service.ask("POST", "/v1/projects", {"project": "science"})
    until(lambda: service.states(server.id) == ["ACTIVE"])
    shown = service.ask("GET", "/v1/projects/science")["project"]
    assert shown["private"] == {"VCPU": 20, "MEMORY_MB": 51200}
    service.ask("DELETE", "/v1/projects/science")
    assert dict(alice.compute.get_quota_set(alice.current_project_id).to_dict()) == before


def test_a_quota_that_somebody_sets_in_nova_is_taken_over(
    science: Beside, cloud: Connection, alice: Connection
) -> None:
    project = alice.current_project_id
    science.configure(project={"rate_s": 1})
    cloud.compute.update_quota_set(project, cores=6)
    science.stop()
    science.start()

    def taken_over() -> bool:
        shown = science.ask("GET", "/v1/projects/science")["project"]
        return bool(shown["private"].get("VCPU") == 6 and shown["handover"] == "held")

    until(taken_over)
    until(lambda: cloud.compute.get_quota_set(project)["cores"] == -1)


def test_a_user_who_loses_the_role_leaves_the_shares_at_once(
    science: Beside, cloud: Connection
) -> None:
    identity = cloud.identity

    def users() -> set[str]:
        rows = science.command("fairshare", "shares")["shares"]
        return {row["user"] for row in rows if row["user"]}

    until(lambda: "bob" in users())
    project = identity.find_project("science", domain_id="default")
    bob, member = identity.find_user("bob", domain_id="default"), identity.find_role("member")
    identity.unassign_project_role_from_user(project, bob, member)
    try:
        until(lambda: "bob" not in users(), 20)  # the next periodic run is a minute away
    finally:
        identity.assign_project_role_to_user(project, bob, member)
    until(lambda: "bob" in users(), 20)


def test_with_the_wrong_password_it_says_so_and_keeps_what_waits(
    science: Beside, alice: Connection
) -> None:
    science.ask("PATCH", "/v1/projects/science", {"suspended": True})
    server = create(alice)
    until(lambda: science.states(server.id) == ["QUEUED"])
    science.stop()
    science.configure(openstack={"password": "wrong"})
    science.start()
    told = until(lambda: science.ask("GET", "/v1/managers/quota")["manager"]["last_error"])
    assert "does not accept Synergy's credentials" in told
    assert science.states(server.id) == ["QUEUED"]
    science.stop()
    science.configure(openstack={"password": "secret"})
    science.start()
    science.ask("PATCH", "/v1/projects/science", {"suspended": False})
    until(lambda: science.states(server.id) == ["ACTIVE"])


@pytest.mark.parametrize("service", ["keystone", "placement", "nova-api"])
def test_while_a_service_is_away_it_waits_and_goes_on_after(
    science: Beside, alice: Connection, on_edge: Lab, service: str
) -> None:
    science.ask("PATCH", "/v1/projects/science", {"suspended": True})
    server = create(alice)
    until(lambda: science.states(server.id) == ["QUEUED"])
    on_edge.processes.stop([service])
    try:
        science.ask("PATCH", "/v1/projects/science", {"suspended": False})
        time.sleep(8)
        found = science.ask("GET", "/v1/managers")["managers"]
        assert any(one["status"] == "DEGRADED" for one in found) or service == "keystone"
        assert science.states(server.id) in (["QUEUED"], ["ACTIVE"])
    finally:
        on_edge.up()
    until(lambda: science.states(server.id) == ["ACTIVE"], 120)


def test_a_broker_that_restarts_loses_nothing(
    science: Beside, alice: Connection, on_edge: Lab
) -> None:
    science.ask("PATCH", "/v1/projects/science", {"suspended": True})
    first = create(alice)
    until(lambda: science.states(first.id) == ["QUEUED"])
    on_edge.processes.stop(["rabbitmq"])
    on_edge.up()
    second = create(alice)
    science.ask("PATCH", "/v1/projects/science", {"suspended": False})
    until(lambda: science.states(first.id, second.id) == ["ACTIVE"] * 2, 120)


def test_killed_again_and_again_it_builds_every_server_once(
    science: Beside, alice: Connection, cloud: Connection
) -> None:
    servers = [create(alice) for _ in range(20)]
    for pause_s in (0.3, 1.1, 0.7, 2.0):
        time.sleep(pause_s)
        science.kill()
        science.start()
    ids = [server.id for server in servers]
    until(lambda: science.states(*ids) == ["ACTIVE"] * 20, 180)
    for server_id in ids:
        assert alice.compute.get_server(server_id).status == "ACTIVE"
        held = cloud.placement.get(f"/allocations/{server_id}", microversion="1.28").json()
        assert len(held["allocations"]) == 1


def test_without_settings_it_lists_everything_that_is_missing(tmp_path: Path, on_edge: Lab) -> None:
    service = Beside(on_edge.settings, tmp_path)
    service.configure(openstack={"edge_url": "http://nowhere", "core_url": "", "auth_type": ""})
    done = subprocess.run(
        [BIN / "synergy-service", "--config-file", service.path], capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "[openstack] edge_url: it must look like rabbit://" in done.stderr
    assert "[openstack] core_url is not set" in done.stderr
    assert "Traceback" not in done.stderr
