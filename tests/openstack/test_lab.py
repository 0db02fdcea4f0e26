"""The lab is an OpenStack as operators run it, without Synergy in between."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from lab.settings import ROOT
from lab.steps import Lab
from tests.contract.clouds import Connect

pytestmark = pytest.mark.openstack


@pytest.fixture
def server(connect: Connect) -> Iterator[Any]:
    """A server of alice in science, gone afterwards."""
    alice = connect("alice", "science")
    made = alice.compute.create_server(
        name="smoke",
        flavor_id=alice.compute.find_flavor("m1.tiny", ignore_missing=False).id,
        image_id=alice.image.find_image("tiny", ignore_missing=False).id,
        networks="none",
    )
    yield made
    alice.compute.delete_server(made, ignore_missing=True)
    alice.compute.wait_for_delete(made, wait=60)


def allocations(connect: Connect, server_id: str) -> dict[str, int]:
    """What Placement holds for a server, by resource class."""
    admin = connect()
    answer = admin.placement.get(f"/allocations/{server_id}", microversion="1.28")
    held = answer.json()["allocations"].values()
    return {name: amount for one in held for name, amount in one["resources"].items()}


def test_a_users_server_becomes_active_on_a_host_and_holds_what_its_flavor_says(
    connect: Connect, server: Any
) -> None:
    alice = connect("alice", "science")
    active = alice.compute.wait_for_server(server, wait=90)
    assert active.status == "ACTIVE"
    assert connect().compute.get_server(server.id).compute_host in ("fake1", "fake2")
    assert allocations(connect, server.id) == {"VCPU": 1, "MEMORY_MB": 64, "DISK_GB": 1}


def test_a_deleted_server_gives_everything_back(connect: Connect, server: Any) -> None:
    alice = connect("alice", "science")
    alice.compute.wait_for_server(server, wait=90)
    alice.compute.delete_server(server)
    alice.compute.wait_for_delete(server, wait=60)
    assert allocations(connect, server.id) == {}


def test_a_member_does_not_see_another_project(connect: Connect, server: Any) -> None:
    carol = connect("carol", "physics")
    assert server.id not in {one.id for one in carol.compute.servers()}


def test_bringing_it_up_again_changes_nothing(lab: Lab) -> None:
    before = lab.status()
    done = subprocess.run(
        [sys.executable, "-m", "lab", "up"], cwd=ROOT, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "OpenStack is up after" in done.stdout
    assert lab.status() == before
