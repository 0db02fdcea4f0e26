"""Between a real nova-api and a real conductor: what is held, handed over, refused and relayed."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kombu.connection import Connection as Broker

from lab import configuration
from lab.steps import Lab
from synergy.core.model import Resources
from synergy.drivers import envelope
from synergy.drivers.nova_rpc.broker import Durability, body_of
from synergy.drivers.nova_rpc.driver import NovaRpc
from synergy.ports import Delivery, Parcel
from tests.contract.clouds import Connect, Connection
from tests.patience import until

pytestmark = pytest.mark.openstack


@pytest.fixture
def start(on_edge: Lab, connect: Connect) -> Iterator[Callable[..., NovaRpc]]:
    """Start the driver, as often as a test likes."""
    cloud = connect()
    made: list[NovaRpc] = []

    quorum = on_edge.settings.quorum_queues
    durability = Durability(quorum=quorum, transient_quorum=quorum)

    def starting(*managed: str) -> NovaRpc:
        urls = [configuration.broker(on_edge.settings, name) for name in ("edge", "core")]
        driver = NovaRpc(
            *urls,
            still_waiting=lambda ids: waiting_in(cloud, ids),
            durability=durability,
            prefetch=100,
        )
        driver.manage(frozenset(managed))
        made.append(driver)
        assert driver.wait_ready(20)
        return driver

    yield starting
    for driver in made:
        driver.close()


def waiting_in(cloud: Connection, ids: Iterable[str]) -> set[str]:
    """Those of the servers that wait for the conductor, as Nova's API shows them."""
    servers = cloud.compute.servers(all_projects=True)
    return {one.id for one in servers if one.id in ids and one.task_state == "scheduling"}


class User:
    """alice in science, at the command line."""

    def __init__(self, cloud: Connection) -> None:
        self.cloud = cloud
        self.made: list[Any] = []
        self.project_id = cloud.current_project_id

    def create(self, *, flavor: str = "m1.tiny", **more: Any) -> Any:
        one = self.cloud.compute.create_server(
            name="held",
            flavor_id=self.cloud.compute.find_flavor(flavor, ignore_missing=False).id,
            image_id=self.cloud.image.find_image("tiny", ignore_missing=False).id,
            networks="none",
            **more,
        )
        self.made.append(one)
        return one

    def show(self, server_id: str) -> Any:
        return self.cloud.compute.get_server(server_id)

    def until(self, server_id: str, *statuses: str, patience_s: float = 60) -> Any:
        deadline_s = time.monotonic() + patience_s
        while (found := self.show(server_id)).status not in statuses:
            assert time.monotonic() < deadline_s, f"{found.status}, not {statuses}"
            time.sleep(0.5)
        return found


@pytest.fixture
def alice(connect: Connect) -> Iterator[User]:
    user = User(connect("alice", "science"))
    yield user
    for server in list(user.cloud.compute.servers()):
        user.cloud.compute.delete_server(server, ignore_missing=True)
        user.cloud.compute.wait_for_delete(server, wait=60)


def fetched(driver: NovaRpc, patience_s: float = 20) -> Delivery:
    deadline_s = time.monotonic() + patience_s
    while not (found := driver.fetch(limit=10)):
        assert time.monotonic() < deadline_s, "no request arrived"
        time.sleep(0.05)
    (delivery,) = found
    return delivery


def test_a_project_that_is_not_managed_notices_nothing(
    start: Callable[..., NovaRpc], alice: User
) -> None:
    start("some-other-project")
    server = alice.create()
    assert alice.until(server.id, "ACTIVE", "ERROR").status == "ACTIVE"


def test_a_managed_projects_server_waits_until_it_is_handed_over(
    start: Callable[..., NovaRpc], alice: User
) -> None:
    driver = start(alice.project_id)
    server = alice.create(flavor="m1.small", metadata={"quota": "shared"})
    delivery = fetched(driver)
    (build,) = delivery.requests
    assert (build.server_id, build.project_id, build.user_name) == (
        server.id, alice.project_id, "alice",
    )  # fmt: skip
    assert build.demand == Resources.of(VCPU=2, MEMORY_MB=512, DISK_GB=1)
    assert build.metadata == {"quota": "shared"}
    credentials = driver.credentials(build.body)
    assert credentials.token
    assert "member" in credentials.roles
    driver.acknowledge([delivery])
    time.sleep(2)
    waiting = alice.show(server.id)
    assert (waiting.status, waiting.task_state) == ("BUILD", "scheduling")
    driver.build([Parcel(build.body)])
    assert alice.until(server.id, "ACTIVE", "ERROR").status == "ACTIVE"


def test_servers_of_one_request_are_handed_over_or_refused_one_by_one(
    start: Callable[..., NovaRpc], alice: User
) -> None:
    driver = start(alice.project_id)
    alice.create(min_count=2, max_count=2)
    delivery = fetched(driver)
    first, second = delivery.requests
    assert first.batch_id == second.batch_id
    driver.build([Parcel(second.body)])
    driver.refuse(first.body, "never_fits: it asks for VCPU=64, the cloud has 20")
    driver.acknowledge([delivery])
    assert alice.until(second.server_id, "ACTIVE", "ERROR").status == "ACTIVE"
    refused = alice.until(first.server_id, "ACTIVE", "ERROR")
    assert refused.status == "ERROR"
    assert "Synergy rejected this request: never_fits: it asks" in refused.fault["message"]


def test_a_request_survives_a_relay_that_dies_before_it_is_stored(
    start: Callable[..., NovaRpc], alice: User
) -> None:
    first = start(alice.project_id)
    server = alice.create()
    before = fetched(first)
    first.close()
    second = start(alice.project_id)
    after = fetched(second)
    assert after.message_id == before.message_id
    second.build([Parcel(after.requests[0].body)])
    second.acknowledge([after])
    assert alice.until(server.id, "ACTIVE", "ERROR").status == "ACTIVE"


def test_what_nova_api_asks_while_the_relay_is_away_is_done_when_it_returns(
    start: Callable[..., NovaRpc], alice: User
) -> None:
    start("nobody").close()
    server = alice.create()
    time.sleep(2)
    assert alice.show(server.id).status == "BUILD"
    start("nobody")
    assert alice.until(server.id, "ACTIVE", "ERROR").status == "ACTIVE"


def test_other_operations_pass(
    start: Callable[..., NovaRpc], alice: User, connect: Connect
) -> None:
    start(alice.project_id + "-not")
    server = alice.create()
    alice.until(server.id, "ACTIVE")
    small = alice.cloud.compute.find_flavor("m1.small", ignore_missing=False)
    alice.cloud.compute.resize_server(server, small)
    alice.until(server.id, "VERIFY_RESIZE", "ERROR")
    alice.cloud.compute.confirm_server_resize(server)
    assert alice.until(server.id, "ACTIVE", "ERROR").flavor.name == "m1.small"
    admin = connect()
    aggregate = admin.compute.create_aggregate(name=f"a-{server.id[:8]}")
    try:
        admin.compute.add_host_to_aggregate(aggregate.id, "fake1")
        admin.compute.remove_host_from_aggregate(aggregate.id, "fake1")
    finally:
        admin.compute.delete_aggregate(aggregate.id)


def test_events_for_computes_do_not_pass_the_edge(
    start: Callable[..., NovaRpc], alice: User, connect: Connect, on_edge: Lab
) -> None:
    start("nobody")
    server = alice.create()
    alice.until(server.id, "ACTIVE")
    with ExitStack() as opened:
        listening: dict[str, tuple[Any, str, set[str]]] = {}
        for vhost in ("edge", "core"):
            url = configuration.broker(on_edge.settings, vhost).replace("rabbit:", "pyamqp:")
            channel = opened.enter_context(Broker(url)).channel()
            queue = channel.queue_declare("", exclusive=True, auto_delete=True).queue
            channel.queue_bind(queue, "nova", "#")
            listening[vhost] = (channel, queue, set())

        def methods_on(vhost: str) -> set[str]:
            channel, queue, found = listening[vhost]
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                found.add(str(envelope.open_body(body_of(message)).message.get("method")))
            return found

        event = {"name": "volume-extended", "server_uuid": server.id, "tag": "a-volume"}
        answer = connect().compute.post(
            "/os-server-external-events", json={"events": [event]}, microversion="2.51"
        )
        assert answer.status_code == 200, answer.text
        until(lambda: "external_instance_event" in methods_on("core"))
        alice.create()  # which shows that the edge was listened to
        until(lambda: "schedule_and_build_instances" in methods_on("edge"))
        assert "external_instance_event" not in methods_on("edge")
