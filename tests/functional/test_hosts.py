"""A server that no host has room for waits, although the sum of all hosts has."""

from random import Random

import pytest

from synergy.core.model import Resources
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import FlavorSpec, HostSpec
from synergy.sim.clock import VirtualClock
from tests.builders import Fragile, spec, world


@pytest.fixture
def made():
    """Two hosts of 5 VCPU, whole servers of 3."""
    hosts = tuple(
        HostSpec(name=f"node{n}", inventory=Resources.of(VCPU=5, MEMORY_MB=8192)) for n in (1, 2)
    )
    flavors = (
        FlavorSpec(name="three", vcpus=3, memory_mb=256),
        FlavorSpec(name="one", vcpus=1, memory_mb=256),
    )
    projects = tuple(p for p in spec().projects if p.name != "C")
    cloud, clock, rng = (
        spec(hosts=hosts, flavors=flavors, projects=projects),
        VirtualClock(),
        Random(7),
    )
    identity = EmbeddedIdentity(cloud, clock, rng)
    nova = Fragile(EmbeddedNova(cloud, clock, identity, rng))
    with world(cloud, clock=clock, cloud=(nova, identity)) as found:
        found.add(default_quota="shared", ttl_s=100)
        found.run(1)
        yield found


def test_of_three_that_come_together_two_start(made):
    ids = made.create("three", count=3)
    made.run(30)
    assert sorted(made.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]
    (waiting,) = [one for one in ids if made.states([one]) == ["QUEUED"]]
    assert made.reason(waiting) == "fragmented"
    made.run(130)  # the first two expire
    assert made.states([waiting]) == ["ACTIVE"]


def test_of_three_that_come_one_after_the_other_two_start(made):
    ids = [made.create("three")[0] for _ in range(2)]
    made.run(0.5)  # handed over, not built yet
    ids += made.create("three")
    made.run(30)
    assert sorted(made.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]


def test_what_waits_for_a_host_does_not_keep_out_what_finds_one(made):
    big = made.create("three", count=3)
    made.run(30)
    small = made.create("one", count=3)
    made.run(30)
    assert made.states(small) == ["ACTIVE"] * 3
    assert sorted(made.states(big)) == ["ACTIVE", "ACTIVE", "QUEUED"]


def test_what_has_no_allocation_yet_is_counted(made):
    before = made.nova.room_for(Resources())
    first = made.create("three", count=2)
    made.run(2)
    assert made.states(first) == ["BUILDING"] * 2
    # Placement knows of them a moment later.
    made.nova.answer("placed", lambda real, ids: set())
    made.nova.answer("room_for", lambda real, demand: before)
    second = made.create("three")
    made.run(2)
    assert made.states(second) == ["QUEUED"]
    assert made.reason(second[0]) == "fragmented"


def test_a_private_server_takes_a_disk_that_no_quota_bounds():
    hosts = (HostSpec(name="node", inventory=Resources.of(VCPU=8, MEMORY_MB=8192, DISK_GB=100)),)
    flavors = (FlavorSpec(name="disk", vcpus=1, memory_mb=256, root_gb=40),)
    with world(spec(hosts=hosts, flavors=flavors)) as made:
        made.add("C")
        made.add("A", default_quota="shared", ttl_s=3600)
        made.run(1)
        private = made.create("disk", project="C")
        made.run(10)
        assert made.states(private) == ["ACTIVE"]
        shared = made.create("disk", count=2)
        made.run(10)
        assert sorted(made.states(shared)) == ["ACTIVE", "QUEUED"]  # 20 of 100 GB are left
        assert made.command("quota", "show")["shared_free"]["DISK_GB"] == 20
