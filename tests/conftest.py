"""What all tests share: a log that no other test turned off, and the running lab, for the tests that
need a real OpenStack; `make openstack` brings it up."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from oslo_config import cfg

from lab.settings import SECRET, Settings, read_settings
from lab.steps import Lab
from synergy.drivers.clock import SystemClock
from tests.contract.clouds import Connect, Connection, OpenStackUnderTest
from tests.openstack import options

# How long an example takes says how busy the machine is, and nothing about what a test is about.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")
# Tests start Synergy's programs some hundred times, and each would compile all its modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(autouse=True)
def _loggers_as_at_the_start() -> None:
    """A command that keeps its process quiet must not keep the log from the tests behind it, not
    even one that a fixture of a whole module ran."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in ("synergy", "alembic"):
            logger.setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def lab() -> Lab:
    made = Lab(read_settings(), lambda text: None)
    states = made.status()
    assert states, "the lab is not up: run `make openstack`"
    assert all(states.values()), f"some services of the lab died: {states}"
    return made


@pytest.fixture(scope="session")
def connect(lab: Lab) -> Iterator[Connect]:
    """Connect to the cloud as a user in a project."""
    import openstack

    made = []

    def connection(user: str = "admin", project: str = "admin") -> Connection:
        cloud = openstack.connect(
            auth_url=f"{lab.settings.url('keystone')}/v3",
            username=user,
            password=SECRET,
            project_name=project,
            user_domain_id="default",
            project_domain_id="default",
            region_name="RegionOne",
            compute_default_microversion="2.96",
            load_yaml_config=False,
            load_envvars=False,
        )
        made.append(cloud)
        return cloud

    yield connection
    for cloud in made:
        cloud.close()


@pytest.fixture(scope="session")
def nova(lab: Lab) -> Any:
    """The client of Nova that the service opens."""
    from synergy.drivers.openstack import nova_client, session

    conf = openstack_conf(lab.settings)
    return nova_client.connect(session.open_session(conf), conf[session.GROUP])


@pytest.fixture(scope="module")
def on_edge(lab: Lab) -> Iterator[Lab]:
    """nova-api publishes to the vhost of its own; put back afterwards."""
    edge = lab.with_settings(api_vhost="edge")
    edge.restart("nova-api")
    yield edge
    lab.restart("nova-api")


@pytest.fixture(scope="module")
def real_cloud(on_edge: Lab, connect: Connect) -> Iterator[OpenStackUnderTest]:
    from synergy.drivers.openstack import plugin

    opened = plugin.open_cloud(openstack_conf(on_edge.settings, pool="contract"), SystemClock())
    yield OpenStackUnderTest(connect, opened)
    opened.close()


def openstack_conf(settings: Settings, **values: object) -> cfg.ConfigOpts:
    """Return the configuration of Synergy beside the lab."""
    from synergy.drivers.openstack import plugin

    conf = cfg.ConfigOpts()
    conf.register_opts(plugin.OPTIONS, group=plugin.GROUP)
    conf([])
    for name, value in (options.beside(settings) | values).items():
        conf.set_override(name, value, group=plugin.GROUP)
    return conf
