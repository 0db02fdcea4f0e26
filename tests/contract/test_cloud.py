"""What every cloud does, whoever plays it: the embedded one, and a running OpenStack.

What the embedded cloud does differently from Nova is a defect of the embedded cloud. A cloud under
test offers the ports and `settle()`, which lets what was begun come to its end.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from synergy.core.errors import Conflict, InvalidInput, NotFound
from synergy.core.ids import NOBODY
from synergy.core.model import BuildFailure, Resources, total
from synergy.drivers.embedded.spec import FlavorSpec
from synergy.ports import ChangeKind, NoticeKind, Parcel, ProjectView, ServerStatus
from tests.builders import spec, world
from tests.contract.clouds import PICKY, CloudUnderTest, EmbeddedUnderTest, OpenStackUnderTest


@pytest.fixture(params=["embedded", pytest.param("openstack", marks=pytest.mark.openstack)])
def cloud(request: pytest.FixtureRequest) -> Iterator[CloudUnderTest]:
    if request.param == "openstack":
        real: OpenStackUnderTest = request.getfixturevalue("real_cloud")
        real.empty()
        yield real
        return
    flavors = (*spec().flavors, FlavorSpec(name="picky", vcpus=1, memory_mb=256, extra_specs=PICKY))
    with world(spec(flavors=flavors)) as made:
        yield EmbeddedUnderTest(made)


def ask(cloud: CloudUnderTest, **changes: Any) -> Sequence[str]:
    values: dict[str, Any] = {
        "project": "A",
        "user": "alice",
        "flavor": "small",
        "name": "s",
        "metadata": {},
        "count": 1,
    }
    return cloud.user.create_server(**(values | changes))


def apart_from_disk(amounts: Resources) -> Resources:
    """Nova wants a disk in a flavor, the embedded cloud does not."""
    return Resources.of({name: amount for name, amount in amounts.items() if name != "DISK_GB"})


def managed(cloud: CloudUnderTest) -> ProjectView:
    project = cloud.identity.find_project("A")
    cloud.compute.lift_quota(project.project_id)
    cloud.intake.manage(frozenset({project.project_id}))
    return project


def test_a_request_of_an_unmanaged_project_passes_untouched(cloud: CloudUnderTest) -> None:
    (server,) = ask(cloud, project="C", user="carol")
    cloud.settle()
    assert cloud.intake.fetch(limit=10) == []
    assert cloud.user.show_server(server).status is ServerStatus.ACTIVE


def test_a_request_of_a_managed_project_waits_and_is_read_in_full(cloud: CloudUnderTest) -> None:
    project = managed(cloud)
    ids = ask(cloud, count=2, metadata={"quota": "shared"}, flavor="medium")
    delivery = cloud.fetched()
    assert sorted(build.server_id for build in delivery.requests) == sorted(ids)
    first = delivery.requests[0]
    assert (first.project_id, first.user_name, first.flavor) == (
        project.project_id,
        "alice",
        "medium",
    )
    assert apart_from_disk(first.demand) == Resources.of(VCPU=2, MEMORY_MB=512)
    assert first.metadata == {"quota": "shared"}
    assert first.created_at.tzinfo == UTC
    assert first.batch_id == delivery.requests[1].batch_id
    assert cloud.user.show_server(ids[0]).status is ServerStatus.SCHEDULING
    assert cloud.compute.still_waiting(ids) == set(ids)
    # What is asked about to find out whether a service is there at all.
    assert cloud.compute.still_waiting([NOBODY]) == set()
    assert cloud.compute.servers([NOBODY]) == {}
    assert cloud.compute.placed([NOBODY]) == set()
    assert (NOBODY, NOBODY) in cloud.identity.gone([(NOBODY, NOBODY)])
    with pytest.raises(NotFound):
        cloud.identity.token_from_trust(NOBODY)
    assert cloud.compute.used_by(project.project_id) == Resources()


def test_each_server_of_a_multi_create_is_built_by_its_own_message(
    cloud: CloudUnderTest,
) -> None:
    managed(cloud)
    ask(cloud, count=2)
    delivery = cloud.fetched()
    first, second = (build.server_id for build in delivery.requests)
    cloud.conductor.build([Parcel(delivery.requests[1].body)])
    cloud.settle()
    assert cloud.user.show_server(second).status is ServerStatus.ACTIVE
    assert cloud.user.show_server(first).status is ServerStatus.SCHEDULING


def test_a_built_server_is_told_once_and_holds_its_resources(cloud: CloudUnderTest) -> None:
    project = managed(cloud)
    (server,) = ask(cloud)
    delivery = cloud.fetched()
    cloud.conductor.build([Parcel(delivery.requests[0].body)])
    cloud.settle()
    assert cloud.told() == [(NoticeKind.BOOTED, server)]
    used = cloud.compute.used_by(project.project_id)
    assert apart_from_disk(used) == Resources.of(VCPU=1, MEMORY_MB=256)
    assert cloud.compute.servers([server])[server].host is not None
    assert cloud.compute.placed([server, "another"]) == {server}
    assert cloud.compute.still_waiting([server]) == set()
    free = total(cloud.compute.room_for(used).values())
    assert free["VCPU"] == cloud.vcpus - 1
    cloud.user.delete_server_as_user(server)
    cloud.settle()
    assert cloud.told() == [(NoticeKind.DELETED, server)]
    assert cloud.compute.used_by(project.project_id) == Resources()
    assert cloud.compute.servers([server]) == {}


def test_a_waiting_server_that_its_user_deletes_is_gone_without_a_word(
    cloud: CloudUnderTest,
) -> None:
    managed(cloud)
    (server,) = ask(cloud)
    delivery = cloud.fetched()
    cloud.user.delete_server_as_user(server)
    assert cloud.compute.servers([server]) == {}
    cloud.conductor.build([Parcel(delivery.requests[0].body)])  # harmless
    cloud.settle()
    assert cloud.told() == []
    assert cloud.compute.servers([server]) == {}


def test_a_refused_server_shows_its_user_why(cloud: CloudUnderTest) -> None:
    managed(cloud)
    (server,) = ask(cloud)
    delivery = cloud.fetched()
    cloud.conductor.refuse(delivery.requests[0].body, "no such luck")
    cloud.conductor.refuse(delivery.requests[0].body, "no such luck")  # safe to repeat
    cloud.settle()
    shown = cloud.user.show_server(server)
    assert shown.status is ServerStatus.ERROR
    assert "Synergy rejected this request: no such luck" in shown.fault


def test_what_no_host_can_hold_ends_in_error(cloud: CloudUnderTest) -> None:
    managed(cloud)
    (server,) = ask(cloud, flavor="giant")
    delivery = cloud.fetched()
    assert cloud.compute.room_for(delivery.requests[0].demand) == {}
    cloud.conductor.build([Parcel(delivery.requests[0].body)])
    cloud.settle()
    assert cloud.told() == [(NoticeKind.FAILED, server)]
    shown = cloud.user.show_server(server)
    assert "No valid host" in shown.fault
    assert shown.failure is BuildFailure.NO_VALID_HOST


def test_hosts_are_looked_for_with_the_traits_of_a_flavor(cloud: CloudUnderTest) -> None:
    managed(cloud)
    (server,) = ask(cloud, flavor="picky")
    (build,) = cloud.fetched().requests
    assert dict(build.constraints) == PICKY
    assert cloud.compute.room_for(build.demand) != {}
    assert cloud.compute.room_for(build.demand, build.constraints) == {}
    cloud.conductor.build([Parcel(build.body)])
    cloud.settle()
    assert cloud.user.show_server(server).failure is BuildFailure.NO_VALID_HOST


def test_hosts_are_looked_for_in_a_zone(cloud: CloudUnderTest) -> None:
    managed(cloud)
    (server,) = ask(cloud, availability_zone="nova")
    (build,) = cloud.fetched().requests
    assert build.constraints == (("availability_zone", "nova"),)
    everywhere = cloud.compute.room_for(build.demand)
    assert cloud.compute.room_for(build.demand, build.constraints) == everywhere
    cloud.conductor.build([Parcel(build.body)])
    cloud.settle()
    assert cloud.user.show_server(server).status is ServerStatus.ACTIVE


def test_the_number_of_servers_is_limited_and_lifted_and_put_back(cloud: CloudUnderTest) -> None:
    project = cloud.identity.find_project("C")
    cloud.limit_servers(project.project_id, 2)
    assert cloud.compute.server_limit(project.project_id) == 2
    record = cloud.compute.quota_record(project.project_id)
    with pytest.raises(InvalidInput, match="Quota exceeded"):
        ask(cloud, project="C", user="carol", count=3)
    cloud.compute.lift_quota(project.project_id)
    assert cloud.compute.server_limit(project.project_id) is None
    ask(cloud, project="C", user="carol", count=3)
    cloud.compute.restore_quota(project.project_id, record)
    assert cloud.compute.server_limit(project.project_id) == 2
    assert cloud.compute.quota_record(project.project_id) == record
    cloud.limit_servers(project.project_id, 10)


def test_a_trust_acts_for_the_user_after_the_token_ended(cloud: CloudUnderTest) -> None:
    managed(cloud)
    ask(cloud)
    delivery = cloud.fetched()
    (build,) = delivery.requests
    found = cloud.conductor.credentials(build.body)
    trust = cloud.identity.create_trust(found.token, project_id=build.project_id, roles=found.roles)
    cloud.end_token(found.token)
    with pytest.raises(InvalidInput, match="expired"):
        cloud.identity.create_trust(found.token, project_id=build.project_id, roles=found.roles)
    token = cloud.identity.token_from_trust(trust)
    assert cloud.acts_for(token) == (build.user_id, build.project_id)
    with pytest.raises(InvalidInput, match="trust"):
        cloud.identity.create_trust(token, project_id=build.project_id, roles=found.roles)
    cloud.conductor.build([Parcel(build.body, token)])
    cloud.settle()
    assert cloud.user.show_server(build.server_id).status is ServerStatus.ACTIVE
    cloud.identity.delete_trust(trust)
    cloud.identity.delete_trust(trust)
    with pytest.raises(NotFound):
        cloud.identity.token_from_trust(trust)


def test_nova_rejects_what_exceeds_its_quota_and_none_lifts_it(cloud: CloudUnderTest) -> None:
    project = cloud.identity.find_project("C")
    before = dict(cloud.compute.quota(project.project_id))
    record = cloud.compute.quota_record(project.project_id)
    with pytest.raises(InvalidInput, match="Quota exceeded"):
        ask(cloud, project="C", user="carol", flavor="large")
    cloud.compute.lift_quota(project.project_id)
    assert set(cloud.compute.quota(project.project_id).values()) == {None}
    ask(cloud, project="C", user="carol", flavor="large")
    cloud.compute.restore_quota(project.project_id, record)
    assert cloud.compute.quota_record(project.project_id) == record
    assert dict(cloud.compute.quota(project.project_id)) == before


def test_shelving_gives_back_and_stopping_does_not(cloud: CloudUnderTest) -> None:
    project = cloud.identity.find_project("C")
    stopped, shelved = ask(cloud, project="C", user="carol", count=2)
    cloud.settle()
    cloud.compute.stop_server(stopped)
    cloud.compute.shelve_server(shelved)
    cloud.settle()
    assert cloud.user.show_server(stopped).status is ServerStatus.STOPPED
    assert cloud.user.show_server(shelved).status is ServerStatus.SHELVED
    assert cloud.compute.used_by(project.project_id)["VCPU"] == 1
    assert (NoticeKind.SHELVED, shelved) in cloud.told()


def active(cloud: CloudUnderTest, flavor: str = "small") -> str:
    """A server of a managed project that runs."""
    managed(cloud)
    (server,) = ask(cloud, flavor=flavor)
    delivery = cloud.fetched()
    cloud.conductor.build([Parcel(delivery.requests[0].body)])
    cloud.intake.acknowledge([delivery])
    cloud.settle()
    cloud.told()
    return server


def vcpus(cloud: CloudUnderTest, server: str) -> tuple[int, bool]:
    shown = cloud.user.show_server(server)
    return shown.demand["VCPU"], shown.in_task


@pytest.mark.parametrize(("end", "held"), [("confirm_resize", 2), ("revert_resize", 1)])
def test_a_resize_waits_for_us_and_is_final_when_its_user_decided(
    cloud: CloudUnderTest, end: str, held: int
) -> None:
    server = active(cloud)
    cloud.user.resize_server(server, "medium")
    change = cloud.changed()
    assert (change.kind, change.server_id, change.flavor) == (
        ChangeKind.RESIZE, server, "medium",
    )  # fmt: skip
    assert apart_from_disk(change.demand) == Resources.of(VCPU=2, MEMORY_MB=512)
    assert cloud.user.show_server(server).demand["VCPU"] == 1
    cloud.changes.let_pass(change)
    cloud.changes.acknowledge([change])
    cloud.settle()
    assert vcpus(cloud, server) == (2, True)
    cloud.told()
    getattr(cloud.user, end)(server)
    cloud.settle()
    assert vcpus(cloud, server) == (held, False)
    assert (NoticeKind.RESIZED, server) in cloud.told()
    assert cloud.compute.used_by(change.project_id)["VCPU"] == held


def test_a_refused_resize_leaves_the_server_as_it_was_and_tells_its_user_why(
    cloud: CloudUnderTest,
) -> None:
    server = active(cloud)
    before = cloud.user.show_server(server)
    cloud.user.resize_server(server, "large")
    change = cloud.changed()
    cloud.changes.refuse(change, "no_free_quota: VCPU=7")
    cloud.changes.acknowledge([change])
    cloud.settle()
    assert cloud.user.show_server(server) == before
    assert "no_free_quota: VCPU=7" in cloud.user.last_failure(server)
    assert cloud.compute.used_by(change.project_id)["VCPU"] == 1


@pytest.mark.parametrize("fits", [True, False])
def test_an_unshelve_waits_for_us(cloud: CloudUnderTest, fits: bool) -> None:
    server = active(cloud)
    cloud.compute.shelve_server(server)
    cloud.settle()
    cloud.told()
    cloud.user.unshelve_server(server)
    change = cloud.changed()
    assert (change.kind, change.server_id) == (ChangeKind.UNSHELVE, server)
    assert apart_from_disk(change.demand) == Resources.of(VCPU=1, MEMORY_MB=256)
    if fits:
        cloud.changes.let_pass(change)
    else:
        cloud.changes.refuse(change, "no_free_quota: VCPU=1")
    cloud.changes.acknowledge([change])
    cloud.settle()
    shown = cloud.user.show_server(server)
    assert shown.status is (ServerStatus.ACTIVE if fits else ServerStatus.SHELVED)
    assert not shown.in_task
    if fits:
        assert (NoticeKind.UNSHELVED, server) in cloud.told()
    else:
        assert "no_free_quota: VCPU=1" in cloud.user.last_failure(server)


def test_an_image_of_a_server_becomes_ready(cloud: CloudUnderTest) -> None:
    (server,) = ask(cloud, project="C", user="carol")
    cloud.settle()
    image = cloud.compute.snapshot_server(server, "copy")
    assert not cloud.compute.image_is_ready(image)
    cloud.finish_image(image)
    assert cloud.compute.image_is_ready(image)


def test_hosts_tell_capacity_and_use(cloud: CloudUnderTest) -> None:
    ask(cloud, project="C", user="carol", count=3)
    cloud.settle()
    hosts = cloud.compute.hosts()
    assert all(host.up for host in hosts)
    assert total(host.capacity for host in hosts)["VCPU"] == cloud.vcpus


def test_projects_of_several_domains_are_listed_and_found(cloud: CloudUnderTest) -> None:
    views = {view.name: view for view in cloud.identity.projects()}
    assert views["A"].domain_id != views["B"].domain_id
    assert cloud.identity.find_project(views["B"].project_id) == views["B"]
    assert set(cloud.identity.users_of(views["A"].project_id).values()) == {"alice", "anna"}
    with pytest.raises(NotFound, match="'nobody'"):
        cloud.identity.find_project("nobody")


def test_a_project_is_shown_with_its_tags_and_whether_it_is_enabled(cloud: CloudUnderTest) -> None:
    plain = cloud.identity.find_project("B")
    assert (plain.tags, plain.enabled) == (frozenset(), True)
    cloud.change_project("B", tags=["synergy:include", "red"], enabled=False)
    try:
        listed = {view.name: view for view in cloud.identity.projects()}["B"]
        assert (listed.tags, listed.enabled) == (frozenset({"synergy:include", "red"}), False)
        assert cloud.identity.project(plain.project_id) == listed
        assert listed.domain_name == "research" or cloud.vcpus == 16
    finally:
        cloud.change_project("B", tags=[], enabled=True)
    assert cloud.identity.project(plain.project_id) == plain


def test_a_project_that_is_not_there_is_not_found_by_its_id(cloud: CloudUnderTest) -> None:
    for nobody in ("0" * 32, "../domains", "%"):
        with pytest.raises(NotFound):
            cloud.identity.project(nobody)


def test_synergys_own_project_is_one_of_the_clouds(cloud: CloudUnderTest) -> None:
    own = cloud.identity.own_project_id()
    assert own is None or cloud.identity.project(own).project_id == own


def test_what_changed_is_listed_of_all_projects_at_once(cloud: CloudUnderTest) -> None:
    managed(cloud)
    since = datetime.now(UTC) if cloud.vcpus > 16 else None
    mine = cloud.user.create_server(
        project="C", user="carol", flavor="small", name="s", metadata={}, count=1
    )
    cloud.settle()
    since = since or cloud.user.show_server(mine[0]).created_at
    listed = {view.server_id: view for view in cloud.compute.servers_of(None, changed_since=since)}
    assert mine[0] in listed
    cloud.user.delete_server_as_user(mine[0])
    listed = {view.server_id: view for view in cloud.compute.servers_of(None, changed_since=since)}
    assert listed[mine[0]].status is ServerStatus.DELETED


def test_a_server_can_be_shown_as_failed_and_no_resize_of_it_be_confirmed(
    cloud: CloudUnderTest,
) -> None:
    (server,) = ask(cloud, project="C", user="carol")
    cloud.settle()
    with pytest.raises(Conflict):
        cloud.compute.confirm_resize(server)
    cloud.compute.set_error(server)
    assert cloud.user.show_server(server).status is ServerStatus.ERROR


def test_metadata_and_lock_of_a_server_are_shown_and_changed(cloud: CloudUnderTest) -> None:
    (server,) = ask(cloud, project="C", user="carol", metadata={"quota": "shared"})
    cloud.settle()
    key, other = "synergy:expires_at", "synergy:keep"
    cloud.compute.set_metadata(server, {key: "2026-01-31T12:00:00+00:00", other: "yes"})
    view = cloud.compute.servers([server])[server]
    assert view.metadata == {"quota": "shared", key: "2026-01-31T12:00:00+00:00", other: "yes"}
    assert not view.locked
    cloud.user.lock_server(server)
    cloud.compute.set_metadata(server, {key: "2026-02-01T12:00:00+00:00", other: None, "no": None})
    view = cloud.compute.servers([server])[server]
    assert (view.metadata, view.locked) == (
        {"quota": "shared", key: "2026-02-01T12:00:00+00:00"}, True
    )  # fmt: skip
    (listed,) = cloud.compute.servers_of(view.project_id)
    assert (listed.metadata, listed.locked) == (view.metadata, True)
    cloud.user.unlock_server(server)
    assert not cloud.compute.servers([server])[server].locked
    cloud.compute.shelve_server(server)
    cloud.settle()
    with pytest.raises(Conflict):
        cloud.compute.set_metadata(server, {key: "never"})
    with pytest.raises(NotFound):
        cloud.compute.set_metadata(str(UUID(int=7)), {key: "never"})


def test_zones_and_gone_owners_are_told(cloud: CloudUnderTest) -> None:
    assert "nova" in cloud.compute.zones()
    project = cloud.identity.find_project("A").project_id
    (user, *_) = cloud.identity.users_of(project)
    nobody = "0" * 32
    gone = cloud.identity.gone([(project, user), (nobody, user)])
    assert list(gone) == [(nobody, user)]
    assert "project was deleted" in gone[nobody, user]


def test_servers_that_are_not_built_yet_are_listed_in_pages_until_they_are_deleted(
    cloud: CloudUnderTest,
) -> None:
    project = managed(cloud)
    ids = ask(cloud, count=3)
    (passed,) = ask(cloud, project="C", user="carol")
    cloud.settle()

    def unbuilt(*of: str) -> set[str]:
        return {server for page in cloud.compute.unbuilt(*of) for server in page}

    # A real cloud may have others of other tests.
    assert unbuilt(project.project_id) == set(ids) <= unbuilt() - {passed}
    assert unbuilt(cloud.identity.find_project("C").project_id) == set()
    cloud.user.delete_server_as_user(ids[0])
    assert unbuilt(project.project_id) == set(ids[1:])
    assert ids[0] not in unbuilt()
