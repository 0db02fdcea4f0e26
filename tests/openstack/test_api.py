"""The API with real tokens: Keystone says whose they are, its catalogue where Synergy is."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from lab.settings import SECRET, Settings
from lab.steps import Lab
from synergy.client import ApiError, Client
from tests.contract.clouds import Connect
from tests.openstack.beside import BIN, Beside, until

pytestmark = pytest.mark.openstack


@pytest.fixture(scope="module")
def service(
    on_edge: Lab, connect: Connect, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beside]:
    """A service that asks Keystone, registered in its catalogue; science is managed."""
    settings = on_edge.settings
    made = Beside(
        settings,
        tmp_path_factory.mktemp("api"),
        api={"auth_strategy": "keystone"},
        keystone_authtoken={
            "auth_type": "password", "auth_url": f"{settings.url('keystone')}/v3",
            "www_authenticate_uri": f"{settings.url('keystone')}/v3", "username": "synergy",
            "password": SECRET, "project_name": "service", "user_domain_id": "default",
            "project_domain_id": "default",
        },
    )  # fmt: skip
    identity = connect().identity
    registered = identity.create_service(name="synergy", type="synergy")
    identity.create_endpoint(
        service_id=registered.id, interface="public", region_id="RegionOne",
        url=f"http://127.0.0.1:{made.port}",
    )  # fmt: skip
    try:
        made.start(path="/healthcheck/live")
        yield made
    finally:
        made.stop()
        identity.delete_service(registered)


@pytest.fixture(scope="module")
def admin(service: Beside, connect: Connect) -> Iterator[Client]:
    connect().compute.revert_quota_set(connect().identity.find_project("science").id)
    client = Client(connect().session, region_name="RegionOne")
    until(lambda: all(m["status"] == "RUNNING" for m in client.managers.list()))
    client.projects.add("science", default_quota="shared", suspended=True)
    yield client
    client.projects.set("science", suspended=False)
    client.projects.remove("science")


def command(
    settings: Settings, user: str, project: str, *words: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("OS_")
    } | {
        "OS_AUTH_URL": f"{settings.url('keystone')}/v3", "OS_USERNAME": user,
        "OS_PASSWORD": SECRET, "OS_PROJECT_NAME": project, "OS_USER_DOMAIN_ID": "default",
        "OS_PROJECT_DOMAIN_ID": "default", "OS_REGION_NAME": "RegionOne",
        "OS_IDENTITY_API_VERSION": "3",
    }  # fmt: skip
    return subprocess.run(
        [BIN / words[0], *words[1:]], env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_each_token_sees_what_is_its_projects(
    service: Beside, admin: Client, connect: Connect, on_edge: Lab
) -> None:
    alice = Client(connect("alice", "science").session, region_name="RegionOne")
    assert [project["name"] for project in alice.projects.list()] == ["science"]
    with pytest.raises(ApiError) as refused:
        alice.projects.set("science", raw_shares=100)
    assert (refused.value.status, refused.value.code) == (403, "policy_denied")
    with pytest.raises(ApiError) as refused:
        alice.managers.list()
    assert refused.value.status == 403
    stranger = Client(connect("carol", "physics").session, region_name="RegionOne")
    assert stranger.projects.list() == []
    with pytest.raises(ApiError) as refused:
        stranger.projects.show("science")
    assert refused.value.status == 404


@pytest.mark.parametrize("words", [("synergy",), ("openstack", "synergy")])
def test_a_user_asks_why_on_the_command_line(
    service: Beside, admin: Client, connect: Connect, on_edge: Lab, words: tuple[str, ...]
) -> None:
    alice = connect("alice", "science")
    server = alice.compute.create_server(
        name="s", flavor_id=alice.compute.find_flavor("m1.tiny").id,
        image_id=alice.image.find_image("tiny").id, networks="none",
    )  # fmt: skip
    try:
        until(lambda: [r["id"] for r in admin.requests.list(states=["QUEUED"])] == [server.id])
        until(lambda: admin.requests.explain(server.id)["reason"] == "project_suspended")
        done = command(
            on_edge.settings, "alice", "science", *words, "request", "explain", server.id,
            "-f", "json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["reason"] == "project_suspended"
        checked = command(
            on_edge.settings, "alice", "science", *words, "request", "check", "--flavor",
            "m1.tiny", "-f", "json",
        )  # fmt: skip
        assert json.loads(checked.stdout)["reason"] == "project_suspended", checked.stderr
        listed = command(
            on_edge.settings, "carol", "physics", *words, "request", "list", "-f", "json"
        )
        assert json.loads(listed.stdout) == []
        cancelled = command(
            on_edge.settings, "alice", "science", *words, "request", "cancel", server.id
        )
        assert cancelled.returncode == 0, cancelled.stderr
        until(lambda: alice.compute.get_server(server.id).status == "ERROR")
        assert "cancelled by its user" in alice.compute.get_server(server.id).fault["message"]
    finally:
        alice.compute.delete_server(server)
        alice.compute.wait_for_delete(server, wait=60)


def test_a_wrong_password_is_told_in_one_line(service: Beside, on_edge: Lab) -> None:
    done = command(on_edge.settings, "nobody", "science", "synergy", "request", "list")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "HTTP 401" in done.stderr
