"""The running OpenStack that the contract is held against; `make openstack` brings it up."""

import pytest
from oslo_config import cfg

from lab import configuration
from lab.settings import SECRET
from synergy.drivers.clock import SystemClock
from tests.contract.clouds import OpenStackUnderTest
from tests.openstack.conftest import connect, lab  # noqa: F401


@pytest.fixture(scope="session")
def on_edge(lab):  # noqa: F811
    """nova-api publishes to the vhost of its own; put back afterwards."""
    edge = lab.turned(api_vhost="edge")
    edge.restart("nova-api")
    yield edge
    lab.restart("nova-api")


@pytest.fixture(scope="session")
def real_cloud(on_edge, connect, tmp_path_factory):  # noqa: F811
    from synergy.drivers.openstack import plugin

    opened = plugin.open_cloud(openstack_conf(on_edge.settings, pool="contract"), SystemClock())
    yield OpenStackUnderTest(connect, opened)
    opened.close()


def openstack_conf(settings, **values):
    """Return the configuration of Synergy beside the lab."""
    from synergy.drivers.openstack import plugin

    conf = cfg.ConfigOpts()
    conf.register_opts(plugin.OPTIONS, group=plugin.GROUP)
    conf([])
    chosen = {
        "auth_type": "password",
        "auth_url": f"{settings.url('keystone')}/v3",
        "username": "synergy",
        "password": SECRET,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        "region_name": "RegionOne",
        "edge_url": configuration.broker(settings, "edge"),
        "core_url": configuration.broker(settings, "core"),
    }
    for name, value in (chosen | values).items():
        conf.set_override(name, value, group=plugin.GROUP)
    return conf
