"""A server that no host has room for waits, although the sum of all hosts has."""

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from synergy.core.model import Resources
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import FlavorSpec, HostSpec
from synergy.sim.clock import VirtualClock
from tests.builders import Fragile, World, spec, world


@pytest.fixture
def made() -> Iterator[World]:
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
    nova: Any = Fragile(EmbeddedNova(cloud, clock, identity, rng))
    with world(cloud, clock=clock, cloud=(nova, identity)) as found:
        found.add(default_quota="shared", ttl_s=100)
        found.run(1)
        yield found


def test_of_three_that_come_together_two_start(made: World) -> None:
    ids = made.create("three", count=3)
    made.run(30)
    assert sorted(made.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]
    (waiting,) = [one for one in ids if made.states([one]) == ["QUEUED"]]
    assert made.reason(waiting) == "fragmented"
    made.run(130)  # the first two expire
    assert made.states([waiting]) == ["ACTIVE"]


def test_of_three_that_come_one_after_the_other_two_start(made: World) -> None:
    ids = [made.create("three")[0] for _ in range(2)]
    made.run(0.5)  # handed over, not built yet
    ids += made.create("three")
    made.run(30)
    assert sorted(made.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]


def test_what_waits_for_a_host_does_not_keep_out_what_finds_one(made: World) -> None:
    big = made.create("three", count=3)
    made.run(30)
    small = made.create("one", count=3)
    made.run(30)
    assert made.states(small) == ["ACTIVE"] * 3
    assert sorted(made.states(big)) == ["ACTIVE", "ACTIVE", "QUEUED"]


def test_what_has_no_allocation_yet_is_counted(made: World) -> None:
    before = made.nova.room_for(Resources())
    first = made.create("three", count=2)
    made.run(2)
    assert made.states(first) == ["BUILDING"] * 2
    # Placement knows of them a moment later.
    made.nova.answer("placed", lambda real, ids: set())
    made.nova.answer("room_for", lambda real, *asked: before)
    second = made.create("three")
    made.run(2)
    assert made.states(second) == ["QUEUED"]
    assert made.reason(second[0]) == "fragmented"


def test_a_private_server_takes_a_disk_that_no_quota_bounds() -> None:
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


@pytest.fixture
def zoned() -> Iterator[World]:
    """A host with an SSD in zone east, and one of neither; 8 VCPU each."""
    room = Resources.of(VCPU=8, MEMORY_MB=8192)
    hosts = (
        HostSpec(name="east", inventory=room, availability_zone="east",
                 traits=frozenset({"CUSTOM_SSD"})),
        HostSpec(name="plain", inventory=room),
    )  # fmt: skip
    flavors = (
        FlavorSpec(name="any", vcpus=4, memory_mb=256),
        FlavorSpec(name="fast", vcpus=4, memory_mb=256,
                   extra_specs={"trait:CUSTOM_SSD": "required"}),
        FlavorSpec(name="slow", vcpus=4, memory_mb=256,
                   extra_specs={"trait:CUSTOM_SSD": "forbidden"}),
        FlavorSpec(name="odd", vcpus=4, memory_mb=256,
                   extra_specs={"trait:CUSTOM_NOWHERE": "required"}),
    )  # fmt: skip
    projects = tuple(p for p in spec().projects if p.name != "C")
    with world(spec(hosts=hosts, flavors=flavors, projects=projects)) as found:
        found.add(default_quota="shared", ttl_s=100)
        found.run(1)
        yield found


@pytest.mark.parametrize(("flavor", "host"), [("fast", "east"), ("slow", "plain")])
def test_a_trait_that_no_other_host_has_room_for_waits_for_it(
    zoned: World, flavor: str, host: str
) -> None:
    ids = zoned.create(flavor, count=3)
    zoned.run(10)
    assert sorted(zoned.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]
    assert {zoned.get(one).host for one in ids} == {host, None}
    (waiting,) = [one for one in ids if zoned.states([one]) == ["QUEUED"]]
    assert zoned.reason(waiting) == "fragmented"  # 8 VCPU are left, on the other host
    others = zoned.create("any", count=2)
    zoned.run(10)
    assert zoned.states(others) == ["ACTIVE", "ACTIVE"]


def test_a_trait_that_no_host_has_makes_no_failed_server(zoned: World) -> None:
    (server,) = zoned.create("odd")
    zoned.run(30)
    assert zoned.states([server]) == ["QUEUED"]
    assert zoned.reason(server) == "fragmented"


def test_a_zone_that_is_full_makes_no_failed_server(zoned: World) -> None:
    ids = zoned.nova.create_server(
        project="A", user="alice", flavor="any", name="s", metadata={}, count=3,
        availability_zone="east",
    )  # fmt: skip
    zoned.run(10)
    assert sorted(zoned.states(ids)) == ["ACTIVE", "ACTIVE", "QUEUED"]
    assert {zoned.get(one).host for one in ids} == {"east", None}
    zoned.run(130)  # the first two expire
    assert sorted(zoned.states(ids)) == ["ACTIVE", "DELETED", "DELETED"]
