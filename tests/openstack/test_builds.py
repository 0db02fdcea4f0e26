"""Builds that fail on a real Nova: given up, tried elsewhere, given up everywhere, and no host."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.steps import Lab
from tests.contract.clouds import Connect
from tests.openstack.beside import Beside, until

pytestmark = pytest.mark.openstack


@pytest.fixture(scope="module")
def drivers(on_edge: Lab, connect: Connect) -> Iterator[Callable[..., None]]:
    """Let the computes run other fake drivers; put back afterwards.

    A compute is restarted even where its driver stays: it counts the builds that failed on it, and
    Nova's scheduler goes by that before anything else.
    """
    usual = dict(on_edge.settings.computes)
    before = {host: memory_mb(connect, host) for host in usual}
    running = dict(usual)

    def turn(**wanted: str) -> None:
        for host, driver in wanted.items():
            running[host] = driver
            on_edge.with_settings(computes=dict(running)).restart(f"nova-compute-{host}")

    yield turn
    turn(**usual)
    until(lambda: {host: memory_mb(connect, host) for host in usual} == before, 120)


@pytest.fixture
def service(on_edge: Lab, connect: Connect, tmp_path: Path) -> Iterator[Beside]:
    alice = connect("alice", "science")
    connect().compute.revert_quota_set(alice.current_project_id)
    made = Beside(on_edge.settings, tmp_path, nova={"settle_s": 5}).start()
    made.ask("POST", "/v1/projects", {"project": "science", "default_quota": "private"})
    yield made
    for server in list(alice.compute.servers()):
        alice.compute.delete_server(server, ignore_missing=True)
        alice.compute.wait_for_delete(server, wait=90)
    made.ask("DELETE", "/v1/projects/science")
    made.stop()


def create(connect: Connect, flavor: str = "m1.tiny") -> str:
    alice = connect("alice", "science")
    made = alice.compute.create_server(
        name="s", networks="none", flavor_id=alice.compute.find_flavor(flavor).id,
        image_id=alice.image.find_image("tiny").id,
    )  # fmt: skip
    return str(made.id)


def story(service: Beside, server: str) -> list[tuple[str, str]]:
    history = service.ask("GET", f"/v1/requests/{server}")["request"]["history"]
    return [(step["event"], step["why"]) for step in history]


def reason(service: Beside, server: str) -> str | None:
    """Return why a request waits; one that came a moment ago is not known yet."""
    if service.states(server) == [None]:
        return None
    shown = service.ask("GET", f"/v1/requests/{server}/explain")["explanation"]
    return shown["reason"] and str(shown["reason"])


def memory_mb(connect: Connect, host: str) -> int:
    """Return what a host has, as it told Placement last."""
    placement = connect().placement
    (provider,) = placement.resource_providers(name=host)
    found: dict[str, int] = {
        one.resource_class: one.total for one in placement.resource_provider_inventories(provider)
    }
    return found["MEMORY_MB"]


def test_an_aborted_build_is_an_error_and_is_deleted_where_the_project_wants_it(
    drivers: Callable[..., None], service: Beside, connect: Connect
) -> None:
    drivers(fake1="FakeBuildAbortDriver", fake2="FakeBuildAbortDriver")
    kept = create(connect)
    until(lambda: service.states(kept) == ["ERROR"])
    events = story(service, kept)
    assert [event for event, _ in events][-2:] == ["ATTEMPT_FAILED", "BUILD_FAILED"]
    assert events[-1][1].startswith("build_error: ")
    assert connect("alice", "science").compute.get_server(kept).status == "ERROR"
    service.ask("PATCH", "/v1/projects/science", {"on_build_failure": "delete"})
    until(lambda: service.states(kept) == ["DELETED"])
    assert connect("alice", "science").compute.find_server(kept) is None


def test_a_build_that_breaks_on_every_host_is_given_up(
    drivers: Callable[..., None], service: Beside, connect: Connect
) -> None:
    drivers(fake1="FakeRescheduleDriver", fake2="FakeRescheduleDriver")
    server = create(connect)
    until(lambda: service.states(server) == ["ERROR"])
    events = story(service, server)
    assert [event for event, _ in events].count("ATTEMPT_FAILED") == 2
    assert events[-1][1].startswith("retries_exhausted: ")


def test_a_build_that_is_tried_elsewhere_keeps_its_quota(
    drivers: Callable[..., None], service: Beside, connect: Connect
) -> None:
    # The driver that breaks shows far more memory, so that Nova tries its host first.
    drivers(fake1="FakeRescheduleDriver", fake2="MediumFakeDriver")
    until(lambda: memory_mb(connect, "fake1") > memory_mb(connect, "fake2"), 180)
    for _ in range(5):  # Nova's scheduler may not have heard of it yet, and choose the other one
        server = create(connect)
        until(lambda: service.states(server) == ["ACTIVE"])  # noqa: B023 - waited for here
        events = story(service, server)
        if "ATTEMPT_FAILED" in dict(events):
            break
    assert [event for event, _ in events] == [
        "ADMITTED", "SELECTED", "HANDED_OVER", "ATTEMPT_FAILED", "BOOTED",
    ]  # fmt: skip
    assert events[3][1].startswith("fake1: ")
    assert service.ask("GET", f"/v1/requests/{server}")["request"]["host"] == "fake2"


@pytest.fixture
def flavor_with(connect: Connect) -> Iterator[Callable[..., str]]:
    """Make flavors with extra specs, which are gone afterwards."""
    compute, made = connect().compute, []

    def making(name: str, **extra_specs: str) -> str:
        flavor = compute.create_flavor(name=name, vcpus=1, ram=64, disk=1)
        made.append(flavor)
        found = {key.replace("__", ":"): value for key, value in extra_specs.items()}
        compute.create_flavor_extra_specs(flavor, found)
        return name

    yield making
    for flavor in made:
        compute.delete_flavor(flavor)


def test_a_trait_that_no_host_has_makes_no_failed_server(
    drivers: Callable[..., None], service: Beside, connect: Connect, flavor_with: Callable[..., str]
) -> None:
    drivers(fake1="MediumFakeDriver", fake2="MediumFakeDriver")
    flavor = flavor_with("nowhere", trait__COMPUTE_FIRMWARE_UEFI="required")
    server = create(connect, flavor)
    until(lambda: reason(service, server) == "fragmented")
    assert service.states(server) == ["QUEUED"]
    service.ask("POST", f"/v1/requests/{server}/cancel", {})


def test_what_only_the_scheduler_can_judge_fails_once_and_its_like_waits(
    drivers: Callable[..., None], service: Beside, connect: Connect, flavor_with: Callable[..., str]
) -> None:
    drivers(fake1="MediumFakeDriver", fake2="MediumFakeDriver")
    flavor = flavor_with("elsewhere", capabilities__hypervisor_type="s== something else")
    first = create(connect, flavor)
    until(lambda: service.states(first) == ["ERROR"])
    assert story(service, first)[-1][1].startswith("no_valid_host: ")
    second = create(connect, flavor)
    until(lambda: reason(service, second) == "fragmented")
    assert service.states(second) == ["QUEUED"]
    service.ask("POST", f"/v1/requests/{second}/cancel", {})
