"""What a cloud may have beyond the plain case: custom and PCI classes, devices used once, TLS."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synergy.core.errors import UpstreamUnavailable
from synergy.core.model import Resources, total
from synergy.drivers.clock import SystemClock
from synergy.drivers.openstack import plugin
from tests.unit.drivers.answering import Answering
from tests.unit.drivers.test_address import certificate
from tests.unit.drivers.test_openstack import BROKERS, PASSWORD, conf_of

PCI = "CUSTOM_PCI_10DE_2236"


def opened(services: Answering, **values: Any) -> dict[str, Any]:
    chosen = {**PASSWORD, **BROKERS, "auth_url": f"{services.url}/identity/v3", "timeout": 2}
    return dict(plugin.open_cloud(conf_of(**chosen | values), SystemClock()).ports)


@pytest.fixture
def services() -> Iterator[Answering]:
    made = Answering()
    yield made
    made.close()


def test_unified_limits_are_of_every_class_that_nova_names(services: Answering) -> None:
    registered = {"servers": 10, "class:VCPU": 20, "class:PCPU": 0, f"class:{PCI}": 2}
    services.answers["GET", "/identity/v3/services"] = (
        200, {"services": [{"id": "nova", "type": "compute", "name": "nova"}]},
    )  # fmt: skip
    services.answers["GET", "/identity/v3/registered_limits"] = (200, {"registered_limits": [
        {"id": name, "service_id": "nova", "resource_name": name, "default_limit": limit}
        for name, limit in registered.items()
    ]})  # fmt: skip
    services.answers["GET", "/identity/v3/limits"] = (200, {"limits": [
        {"id": "1", "service_id": "nova", "project_id": "p", "resource_name": f"class:{PCI}",
         "resource_limit": 5},
        {"id": "2", "service_id": "nova", "project_id": "p", "resource_name": "class:VCPU",
         "resource_limit": -1},
    ]})  # fmt: skip
    compute = opened(services, quota_driver="unified_limits")["compute"]
    assert compute.limited_classes() == {"VCPU", "PCPU", PCI}
    assert compute.quota("p") == {"VCPU": None, "PCPU": 0, PCI: 5}
    assert compute.server_limit("p") == 10
    assert compute.quota_record("p") == {"class:VCPU": None, f"class:{PCI}": 5}


@pytest.mark.parametrize(("reserved", "devices"), [(0, 2), (1, 1), (2, 0)])
def test_a_device_that_is_used_once_is_not_free_when_its_server_is_deleted(
    services: Answering, reserved: int, devices: int
) -> None:
    """Nova reserves such a device in Placement until an operator has cleaned it."""

    def inventory(total: int, reserved: int, ratio: float = 1.0) -> dict[str, float]:
        return {"total": total, "reserved": reserved, "allocation_ratio": ratio}

    services.answers["GET", "/compute/v2.1/os-hypervisors/detail"] = [
        (200, {"hypervisors": [{"id": "h", "state": "up", "status": "enabled",
                                "service": {"host": "node1", "id": "s"}}]}),
        (200, {"hypervisors": []}),
    ]  # fmt: skip
    slots = ["slot-1", "slot-2"]  # one nested provider for each device
    services.answers["GET", "/placement/resource_providers"] = (200, {"resource_providers": [
        {"uuid": "h", "name": "node1", "root_provider_uuid": "h"},
        *({"uuid": one, "name": one, "root_provider_uuid": "h"} for one in slots),
    ]})  # fmt: skip
    services.answers["GET", "/placement/resource_providers/h/inventories"] = (
        200, {"inventories": {"VCPU": inventory(8, 0, 2.0)}},
    )  # fmt: skip
    for number, slot in enumerate(slots):
        services.answers["GET", f"/placement/resource_providers/{slot}/inventories"] = (
            200, {"inventories": {PCI: inventory(1, int(number < reserved))}},
        )  # fmt: skip
    hosts = opened(services)["compute"].hosts()
    assert [(host.name, host.up) for host in hosts] == [("node1", True)]
    assert total(host.capacity for host in hosts) == Resources.of(**{"VCPU": 16, PCI: devices})


@pytest.mark.parametrize("trusted", [True, False])
def test_the_apis_are_called_over_tls_and_only_if_somebody_vouches_for_them(
    tmp_path: Path, trusted: bool
) -> None:
    cert, key = certificate(tmp_path, "localhost")
    services = Answering(tls=(cert, key))
    try:
        services.answers["GET", "/compute/v2.1/os-quota-sets/p"] = (
            200, {"quota_set": {"id": "p", "cores": 4, "ram": 1024, "instances": 2}},
        )  # fmt: skip
        services.answers["GET", "/identity/v3/domains"] = (200, {"domains": []})
        services.answers["GET", "/identity/v3/projects"] = (200, {"projects": []})
        ports = opened(services, connect_retries=0, **({"cafile": str(cert)} if trusted else {}))
        if trusted:
            assert ports["compute"].quota("p") == {"VCPU": 4, "MEMORY_MB": 1024}
            assert ports["identity"].projects() == []
        else:
            for ask in (lambda: ports["compute"].quota("p"), ports["identity"].projects):
                with pytest.raises(UpstreamUnavailable, match="SSLError"):
                    ask()
            assert services.asked == []
    finally:
        services.close()
