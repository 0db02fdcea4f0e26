"""Nova's limits of a project, where DbQuotaDriver and where UnifiedLimitsDriver keeps them."""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from lab.steps import Lab
from synergy.drivers.openstack.quotas import QuotaSets, UnifiedLimits
from tests.contract.clouds import Connect

pytestmark = pytest.mark.openstack
REGISTERED = {"class:VCPU": 20, "class:MEMORY_MB": 51200, "class:DISK_GB": 1000, "servers": 10}


@pytest.fixture
def project(connect: Connect) -> Iterator[str]:
    identity = connect().identity
    made = identity.create_project(name=f"q-{uuid.uuid4().hex[:8]}", domain_id="default")
    yield made.id
    identity.delete_project(made)


@pytest.fixture(scope="module")
def registered(connect: Connect) -> Iterator[None]:
    """Limits of every class, as the UnifiedLimitsDriver needs them; gone afterwards."""
    identity = connect().identity
    (nova,) = identity.services(type="compute")
    made = [
        identity.create_registered_limit(
            service_id=nova.id, region_id="RegionOne", resource_name=name, default_limit=limit
        )
        for name, limit in REGISTERED.items()
    ]
    yield
    for one in made:
        identity.delete_registered_limit(one)


def test_what_was_set_is_told_from_what_is_a_default_and_comes_back_exactly(
    connect: Connect, nova: Any, project: str
) -> None:
    compute, driver = connect().compute, QuotaSets(nova)
    defaults = compute.get_quota_set(project).to_dict()
    assert driver.quota_record(project) == {}
    compute.update_quota_set(project, cores=7, key_pairs=3)
    assert driver.quota(project) == {"VCPU": 7, "MEMORY_MB": 51200}
    record = driver.quota_record(project)
    assert record == {"cores": 7}
    before = compute.get_quota_set(project).to_dict()
    driver.lift_quota(project)
    assert driver.quota(project) == {"VCPU": None, "MEMORY_MB": None}
    assert compute.get_quota_set(project)["instances"] == -1
    driver.restore_quota(project, record)
    assert compute.get_quota_set(project).to_dict() == before
    driver.lift_quota(project)
    compute.update_quota_set(project, key_pairs=defaults["key_pairs"])
    driver.restore_quota(project, {})
    assert compute.get_quota_set(project).to_dict() == defaults
    assert driver.quota_record(project) == {}


def test_unified_limits_are_lifted_and_come_back_exactly(
    connect: Connect, project: str, registered: None
) -> None:
    identity, driver = connect().identity, UnifiedLimits(connect(), "RegionOne")
    assert driver.registered() == sorted(REGISTERED)
    assert driver.quota(project) == {"VCPU": 20, "MEMORY_MB": 51200, "DISK_GB": 1000}
    assert driver.server_limit(project) == REGISTERED["servers"]
    assert driver.quota_record(project) == {}
    (nova,) = identity.services(type="compute")
    identity.create_limit(
        service_id=nova.id, region_id="RegionOne", project_id=project,
        resource_name="class:VCPU", resource_limit=7,
    )  # fmt: skip
    record = driver.quota_record(project)
    assert record == {"class:VCPU": 7}
    driver.lift_quota(project)
    assert set(driver.quota(project).values()) == {None}
    assert driver.server_limit(project) is None
    assert driver.quota_record(project) == dict.fromkeys(REGISTERED)
    driver.restore_quota(project, record)
    assert driver.quota_record(project) == record
    assert driver.quota(project) == {"VCPU": 7, "MEMORY_MB": 51200, "DISK_GB": 1000}


def test_a_nova_with_unified_limits_lets_pass_what_was_lifted(
    lab: Lab, connect: Connect, registered: None
) -> None:
    alice, driver = connect("alice", "science"), UnifiedLimits(connect(), "RegionOne")
    project = alice.current_project_id
    lab.with_settings(quota_driver="UnifiedLimitsDriver").restart("nova-api")
    try:
        driver.restore_quota(project, {"servers": 0})
        ask = {
            "name": "s", "networks": "none",
            "flavor_id": alice.compute.find_flavor("m1.tiny", ignore_missing=False).id,
            "image_id": alice.image.find_image("tiny", ignore_missing=False).id,
        }  # fmt: skip
        with pytest.raises(Exception, match="over limit"):
            alice.compute.create_server(**ask)
        driver.lift_quota(project)
        made = alice.compute.create_server(**ask)
        alice.compute.wait_for_server(made, wait=90)
        alice.compute.delete_server(made)
        alice.compute.wait_for_delete(made, wait=60)
    finally:
        driver.restore_quota(project, {})
        lab.restart("nova-api")
