"""What every cloud does, whoever plays it: the embedded one here, a running OpenStack later.

A cloud under test offers the ports and `settle()`, which lets what was begun come to its end.
"""

from datetime import UTC

import pytest

from synergy.core.errors import InvalidInput, NotFound
from synergy.core.model import Resources, total
from synergy.ports import NoticeKind, ServerStatus
from tests.builders import world


class EmbeddedUnderTest:
    """The embedded cloud: time passes when the test says so."""

    def __init__(self, world):
        self.nova = self.intake = self.conductor = self.compute = self.user = world.nova
        self.identity = world.engine.identity
        self.notices = world.nova
        self._clock = world.engine.clock
        self._clock_step = world.engine.clock.at

    def settle(self):
        self._clock.move_to(self._clock_step(self._clock.monotonic_s() + 60))
        self.nova.catch_up()

    def told(self):
        return [(n.kind, n.server_id) for n in self.nova.take_notices(1000)]


@pytest.fixture(params=["embedded"])
def cloud(request):
    with world() as made:
        yield EmbeddedUnderTest(made)


def ask(cloud, **changes):
    values = {
        "project": "A",
        "user": "alice",
        "flavor": "small",
        "name": "s",
        "metadata": {},
        "count": 1,
    }
    return cloud.user.create_server(**(values | changes))


def managed(cloud):
    project = cloud.identity.find_project("A")
    cloud.compute.lift_quota(project.project_id)
    cloud.intake.manage(frozenset({project.project_id}))
    return project


def test_a_request_of_an_unmanaged_project_passes_untouched(cloud):
    (server,) = ask(cloud, project="C", user="carol")
    cloud.settle()
    assert cloud.intake.fetch(limit=10) == []
    assert cloud.user.show_server(server).status is ServerStatus.ACTIVE


def test_a_request_of_a_managed_project_waits_and_is_read_in_full(cloud):
    project = managed(cloud)
    ids = ask(cloud, count=2, metadata={"quota": "shared"}, flavor="medium")
    (delivery,) = cloud.intake.fetch(limit=10)
    assert [build.server_id for build in delivery.requests] == ids
    first = delivery.requests[0]
    assert (first.project_id, first.user_name, first.flavor) == (
        project.project_id,
        "alice",
        "medium",
    )
    assert first.demand == Resources.of(VCPU=2, MEMORY_MB=512)
    assert first.metadata == {"quota": "shared"}
    assert first.created_at.tzinfo == UTC
    assert first.batch_id == delivery.requests[1].batch_id
    assert cloud.user.show_server(ids[0]).status is ServerStatus.SCHEDULING
    assert cloud.compute.used_by(project.project_id) == Resources()


def test_each_server_of_a_multi_create_is_built_by_its_own_message(cloud):
    managed(cloud)
    first, second = ask(cloud, count=2)
    (delivery,) = cloud.intake.fetch(limit=10)
    cloud.conductor.build(delivery.requests[1].body, token=None)
    cloud.settle()
    assert cloud.user.show_server(second).status is ServerStatus.ACTIVE
    assert cloud.user.show_server(first).status is ServerStatus.SCHEDULING


def test_a_built_server_is_told_once_and_holds_its_resources(cloud):
    project = managed(cloud)
    (server,) = ask(cloud)
    (delivery,) = cloud.intake.fetch(limit=10)
    cloud.conductor.build(delivery.requests[0].body, token=None)
    cloud.settle()
    assert cloud.told() == [(NoticeKind.BOOTED, server)]
    assert cloud.compute.used_by(project.project_id) == Resources.of(VCPU=1, MEMORY_MB=256)
    assert cloud.compute.servers([server])[server].host is not None
    cloud.user.delete_server_as_user(server)
    cloud.settle()
    assert cloud.told() == [(NoticeKind.DELETED, server)]
    assert cloud.compute.used_by(project.project_id) == Resources()
    assert cloud.compute.servers([server]) == {}


def test_a_waiting_server_that_its_user_deletes_is_gone_without_a_word(cloud):
    managed(cloud)
    (server,) = ask(cloud)
    (delivery,) = cloud.intake.fetch(limit=10)
    cloud.user.delete_server_as_user(server)
    assert cloud.compute.servers([server]) == {}
    cloud.conductor.build(delivery.requests[0].body, token=None)  # harmless
    cloud.settle()
    assert cloud.told() == []
    assert cloud.compute.servers([server]) == {}


def test_a_refused_server_shows_its_user_why(cloud):
    managed(cloud)
    (server,) = ask(cloud)
    (delivery,) = cloud.intake.fetch(limit=10)
    cloud.conductor.refuse(delivery.requests[0].body, "no such luck")
    cloud.conductor.refuse(delivery.requests[0].body, "no such luck")  # safe to repeat
    shown = cloud.user.show_server(server)
    assert shown.status is ServerStatus.ERROR
    assert "Synergy rejected this request: no such luck" in shown.fault


def test_what_no_host_can_hold_ends_in_error(cloud):
    managed(cloud)
    (server,) = ask(cloud, flavor="giant")
    (delivery,) = cloud.intake.fetch(limit=10)
    assert not cloud.compute.fits_on_a_host(delivery.requests[0].demand)
    cloud.conductor.build(delivery.requests[0].body, token=None)
    cloud.settle()
    assert cloud.told() == [(NoticeKind.FAILED, server)]
    assert "No valid host" in cloud.user.show_server(server).fault


def test_an_expired_token_is_mended_by_one_from_a_trust(cloud):
    managed(cloud)
    late, later = ask(cloud, count=2)
    (delivery,) = cloud.intake.fetch(limit=10)
    found = cloud.conductor.credentials(delivery.requests[0].body)
    trust = cloud.identity.create_trust(
        found.token, project_id=delivery.requests[0].project_id, roles=found.roles
    )
    for _ in range(61):
        cloud.settle()  # longer than a token lives
    with pytest.raises(InvalidInput, match="expired"):
        cloud.identity.create_trust(
            found.token, project_id=delivery.requests[0].project_id, roles=found.roles
        )
    cloud.conductor.build(delivery.requests[0].body, token=None)
    cloud.conductor.build(delivery.requests[1].body, token=cloud.identity.token_from_trust(trust))
    cloud.settle()
    assert cloud.user.show_server(late).status is ServerStatus.ERROR
    assert cloud.user.show_server(later).status is ServerStatus.ACTIVE
    cloud.identity.delete_trust(trust)
    cloud.identity.delete_trust(trust)
    with pytest.raises(NotFound):
        cloud.identity.token_from_trust(trust)


def test_nova_rejects_what_exceeds_its_quota_and_none_lifts_it(cloud):
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


def test_shelving_gives_back_and_stopping_does_not(cloud):
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


def test_an_image_of_a_server_becomes_ready(cloud):
    (server,) = ask(cloud, project="C", user="carol")
    cloud.settle()
    image = cloud.compute.snapshot_server(server, "copy")
    assert not cloud.compute.image_is_ready(image)
    cloud.settle()
    assert cloud.compute.image_is_ready(image)


def test_hosts_tell_capacity_and_use(cloud):
    ask(cloud, project="C", user="carol", count=3)
    cloud.settle()
    hosts = cloud.compute.hosts()
    assert all(host.up for host in hosts)
    assert total(host.capacity for host in hosts)["VCPU"] == 16


def test_projects_of_several_domains_are_listed_and_found(cloud):
    views = {view.name: view for view in cloud.identity.projects()}
    assert views["A"].domain_id != views["B"].domain_id
    assert cloud.identity.find_project(views["B"].project_id) == views["B"]
    assert set(cloud.identity.users_of(views["A"].project_id).values()) == {"alice", "anna"}
    with pytest.raises(NotFound, match="'nobody'"):
        cloud.identity.find_project("nobody")
