"""What only the embedded cloud offers: failures on demand, and Nova's traps."""

import random

import pytest

from synergy.core.errors import HandOverFailed, InvalidInput, UpstreamUnavailable
from synergy.core.model import Resources
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import HostSpec, read_spec
from synergy.ports import Handed, Parcel, ServerStatus
from synergy.sim.clock import VirtualClock
from tests.builders import project_spec, spec, world


@pytest.fixture
def made():
    with world() as found:
        yield found


def held(made):
    made.nova.manage(frozenset({"project-A"}))
    made.nova.lift_quota("project-A")
    (server,) = made.create()
    (delivery,) = made.nova.fetch(limit=1)
    return server, delivery


def test_building_an_active_server_again_orphans_it(made):
    server, delivery = held(made)
    made.nova.build([Parcel(delivery.requests[0].body)])
    made.run(10)
    made.nova.build([Parcel(delivery.requests[0].body)])
    assert made.nova.orphans == [server]
    assert made.nova.servers([server]) == {}


@pytest.mark.parametrize(
    ("fault", "text"), [("no_valid_host", "No valid host"), ("build_error", "aborted")]
)
def test_a_build_fails_on_demand_and_leaves_nothing_behind(made, fault, text):
    server, delivery = held(made)
    setattr(made.nova.faults, fault, 1)
    made.nova.build([Parcel(delivery.requests[0].body)])
    made.run(10)
    shown = made.nova.show_server(server)
    assert (shown.status, shown.host) == (ServerStatus.ERROR, None)
    assert text in shown.fault
    assert made.nova.used_by("project-A") == Resources()


def test_a_hand_over_fails_on_demand_and_publishes_nothing(made):
    server, delivery = held(made)
    made.nova.faults.hand_over = 1
    (receipt,) = made.nova.build([Parcel(delivery.requests[0].body)])
    assert receipt.handed is Handed.NOT_SENT
    made.nova.faults.hand_over = 1
    with pytest.raises(HandOverFailed):
        made.nova.refuse(delivery.requests[0].body, "no such luck")
    assert made.nova.show_server(server).status is ServerStatus.SCHEDULING


def test_an_api_that_is_down_says_so_and_a_slow_one_is_waited_for():
    waited = []
    clock, rng = VirtualClock(), random.Random(1)
    identity = EmbeddedIdentity(spec(), clock, rng)
    nova = EmbeddedNova(spec(), clock, identity, rng, pause=waited.append)
    nova.faults.api_delay_s = 2.5
    nova.hosts()
    assert waited == [2.5]
    nova.faults.api_down = True
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        nova.hosts()


def test_what_is_not_acknowledged_comes_again(made):
    _, delivery = held(made)
    made.nova.redeliver()
    (again,) = made.nova.fetch(limit=5)
    assert again.message_id == delivery.message_id
    made.nova.acknowledge([again])
    made.nova.redeliver()
    assert made.nova.fetch(limit=5) == []


def test_capacity_counts_reserved_amounts_and_allocation_ratios():
    host = HostSpec(
        name="h", inventory=Resources.of(VCPU=10, MEMORY_MB=100),
        reserved=Resources.of(VCPU=2, MEMORY_MB=10), allocation_ratio={"VCPU": 4.0},
    )  # fmt: skip
    assert host.capacity() == Resources.of(VCPU=32, MEMORY_MB=90)


def test_a_project_name_of_two_domains_must_be_told_apart():
    twins = (project_spec("A"), project_spec("A", project_id="other", domain_id="d2"))
    with world(spec(projects=twins)) as made, pytest.raises(InvalidInput, match="not unique"):
        made.engine.identity.find_project("A")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hosts: [", "is not YAML"),
        ("hosts: []", "does not describe a cloud"),
        ("hosts: [{name: n, inventory: {vcpu: 1}}]\nflavors: []\nprojects: []", "'vcpu'"),
    ],
)
def test_a_file_that_describes_no_cloud_is_refused_by_name(tmp_path, text, told):
    path = tmp_path / "cloud.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told):
        read_spec(path)
    with pytest.raises(InvalidInput, match="No such file"):
        read_spec(tmp_path / "none.yaml")
