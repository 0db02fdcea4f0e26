"""What only the embedded cloud offers: failures on demand, and Nova's traps."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from synergy.core.errors import Conflict, HandOverFailed, InvalidInput, UpstreamUnavailable
from synergy.core.model import Resources
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.placement import EmbeddedPlacement
from synergy.drivers.embedded.plugin import GROUP, OPTIONS, open_cloud
from synergy.drivers.embedded.spec import HostSpec, read_spec
from synergy.managers.embedded import EmbeddedManager
from synergy.ports import Delivery, Handed, Parcel, ServerStatus
from synergy.sim.clock import VirtualClock
from tests.builders import World, project_spec, spec, world


@pytest.fixture
def made() -> Iterator[World]:
    with world() as found:
        yield found


def held(made: World) -> tuple[str, Delivery]:
    made.nova.manage(frozenset({"project-A"}))
    made.nova.lift_quota("project-A")
    (server,) = made.create()
    (delivery,) = made.nova.fetch(limit=1)
    return server, delivery


def test_building_an_active_server_again_orphans_it(made: World) -> None:
    server, delivery = held(made)
    made.nova.build([Parcel(delivery.requests[0].body)])
    made.run(10)
    made.nova.build([Parcel(delivery.requests[0].body)])
    assert made.nova.orphans == [server]
    assert made.nova.servers([server]) == {}


@pytest.mark.parametrize(
    ("fault", "text"), [("no_valid_host", "No valid host"), ("build_error", "aborted")]
)
def test_a_build_fails_on_demand_and_leaves_nothing_behind(
    made: World, fault: str, text: str
) -> None:
    server, delivery = held(made)
    setattr(made.nova.faults, fault, 1)
    made.nova.build([Parcel(delivery.requests[0].body)])
    made.run(10)
    shown = made.nova.show_server(server)
    assert (shown.status, shown.host) == (ServerStatus.ERROR, None)
    assert text in shown.fault
    assert made.nova.used_by("project-A") == Resources()


def test_a_hand_over_fails_on_demand_and_publishes_nothing(made: World) -> None:
    server, delivery = held(made)
    made.nova.faults.hand_over = 1
    (receipt,) = made.nova.build([Parcel(delivery.requests[0].body)])
    assert receipt.handed is Handed.NOT_SENT
    made.nova.faults.hand_over = 1
    with pytest.raises(HandOverFailed):
        made.nova.refuse(delivery.requests[0].body, "no such luck")
    assert made.nova.show_server(server).status is ServerStatus.SCHEDULING


def test_an_api_that_is_down_says_so_and_a_slow_one_is_waited_for() -> None:
    waited: list[float] = []
    clock, rng = VirtualClock(), random.Random(1)
    identity = EmbeddedIdentity(spec(), clock, rng)
    nova = EmbeddedNova(spec(), clock, identity, rng, pause=waited.append)
    nova.faults.api_delay_s = 2.5
    nova.hosts()
    assert waited == [2.5]
    nova.faults.api_down = True
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        nova.hosts()


def test_what_is_not_acknowledged_comes_again(made: World) -> None:
    _, delivery = held(made)
    made.nova.redeliver()
    (again,) = made.nova.fetch(limit=5)
    assert again.message_id == delivery.message_id
    made.nova.acknowledge([again])
    made.nova.redeliver()
    assert made.nova.fetch(limit=5) == []


def test_capacity_counts_reserved_amounts_and_allocation_ratios() -> None:
    host = HostSpec(
        name="h", inventory=Resources.of(VCPU=10, MEMORY_MB=100),
        reserved=Resources.of(VCPU=2, MEMORY_MB=10), allocation_ratio={"VCPU": 4.0},
    )  # fmt: skip
    assert host.capacity() == Resources.of(VCPU=32, MEMORY_MB=90)


def test_a_project_name_of_two_domains_must_be_told_apart() -> None:
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
def test_a_file_that_describes_no_cloud_is_refused_by_name(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=told):
        read_spec(path)
    with pytest.raises(InvalidInput, match="No such file"):
        read_spec(tmp_path / "none.yaml")


@pytest.fixture
def player(made: World) -> EmbeddedManager:
    """The manager that plays the user."""
    made.nova.lift_quota("project-A")
    return EmbeddedManager(made.nova, made.nova, made.nova)


def test_nova_and_keystone_are_down_on_demand_and_come_back(
    made: World, player: EmbeddedManager
) -> None:
    player.execute("set_down", nova=True, keystone=True)
    with pytest.raises(UpstreamUnavailable, match="Nova's API does not answer"):
        made.nova.hosts()
    for ask in (
        made.engine.identity.projects,
        lambda: made.engine.identity.find_project("A"),
        lambda: made.engine.identity.users_of("project-A"),
        lambda: made.engine.identity.gone([("project-A", "alice")]),
        lambda: made.engine.identity.token_from_trust("t"),
        lambda: made.create(),
    ):
        with pytest.raises(UpstreamUnavailable, match="Keystone does not answer"):
            ask()
    player.execute("set_down")
    assert made.nova.hosts()
    assert made.engine.identity.projects()


def test_many_servers_are_deleted_at_once_and_those_that_are_gone_are_named(
    made: World, player: EmbeddedManager
) -> None:
    ids = made.create(count=3)
    player.execute("delete_server", server_id=ids[1])
    told = player.execute("delete_servers", server_ids=ids)
    assert told == {"deleted": [ids[0], ids[2]], "gone": [ids[1]]}


def test_a_server_is_resized_and_the_resize_confirmed(made: World, player: EmbeddedManager) -> None:
    (server,) = made.create()
    made.run(10)
    with pytest.raises(Conflict, match="has no resize to confirm or revert"):
        player.execute("confirm_resize", server_id=server)
    player.execute("resize_server", server_id=server, flavor="large")
    player.execute("confirm_resize", server_id=server)
    assert made.nova.show_server(server).flavor == "large"


def test_a_change_of_a_server_that_is_gone_meanwhile_is_dropped(made: World) -> None:
    made.add(default_quota="shared")
    (server,) = made.create()
    made.run(10)
    made.nova.resize_server(server, "large")  # waits to be decided on
    made.nova.delete_server_as_user(server)
    made.run(100)
    assert made.engine.supervisors["scheduler"].report.last_error == ""
    assert made.nova.used_by("project-A") == Resources()


def test_a_server_that_is_not_there_yet_cannot_be_resized_and_holds_its_host_once(
    made: World,
) -> None:
    server, delivery = held(made)
    with pytest.raises(Conflict, match="cannot be resized while it is SCHEDULING"):
        made.nova.resize_server(server, "large")
    made.nova.build([Parcel(delivery.requests[0].body)])
    with pytest.raises(Conflict, match="cannot be resized while it is BUILDING"):
        made.nova.resize_server(server, "large")
    made.run(10)
    made.nova.delete_server_as_user(server)
    assert all(made.nova.used_on(host.name) == Resources() for host in made.nova.hosts())


def test_a_server_holds_one_allocation_however_often_it_is_placed() -> None:
    placement = EmbeddedPlacement([HostSpec(name="h", inventory=Resources.of(VCPU=8))])
    for vcpus in (2, 4):
        placement.allocate("s", "h", Resources.of(VCPU=vcpus))
    assert placement.used_on("h") == Resources.of(VCPU=4)
    placement.release("s")
    assert placement.used_on("h") == Resources()


@pytest.mark.slow
def test_what_is_deleted_and_what_has_expired_is_forgotten(
    made: World, player: EmbeddedManager
) -> None:
    for _ in range(11):  # most of them find no host, and are deleted in ERROR
        player.execute("delete_servers", server_ids=made.create(count=1000))
    found = list(made.nova.servers_of("project-A", changed_since=made.engine.clock.at(0)))
    assert len(found) == len(made.nova.fleet.changed_at) == 10_000
    made.run(2 * spec().token_ttl_s)
    made.create()
    assert len(made.engine.identity._tokens) == 1


@pytest.mark.parametrize(("seed", "same"), [(None, False), (1, True)])
def test_ids_are_those_of_an_earlier_start_only_where_a_seed_is_given(
    tmp_path: Path, seed: int | None, same: bool
) -> None:
    path = tmp_path / "cloud.yaml"
    path.write_text(
        "hosts: [{name: n, inventory: {VCPU: 4}}]\n"
        "flavors: [{name: small, vcpus: 1, memory_mb: 1}]\n"
        "projects: [{project_id: p, name: p, users: {u: u}}]"
    )
    conf = cfg.ConfigOpts()
    conf.register_opts(OPTIONS, group=GROUP)
    conf(args=[], default_config_files=[], default_config_dirs=[])
    conf.set_override("cloud_file", str(path), group=GROUP)
    conf.set_override("seed", seed, group=GROUP)
    ids = []
    for _ in range(2):
        nova: Any = open_cloud(conf, VirtualClock()).ports["cloud_user"]
        ids += EmbeddedManager(nova, nova, nova).do_create_server("p", "u", "small")
    assert (ids[0] == ids[1]) is same
