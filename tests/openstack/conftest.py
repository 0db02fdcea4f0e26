"""The running lab, for the tests that need a real OpenStack; `make openstack` brings it up."""

import openstack
import pytest

from lab.settings import SECRET, read_settings
from lab.steps import Lab


@pytest.fixture(scope="session")
def lab():
    made = Lab(read_settings(), lambda text: None)
    states = made.status()
    assert states, "the lab is not up: run `make openstack`"
    assert all(states.values()), f"some services of the lab died: {states}"
    return made


@pytest.fixture(scope="session")
def connect(lab):
    """Connect to the cloud as a user in a project."""
    made = []

    def connection(user="admin", project="admin"):
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
