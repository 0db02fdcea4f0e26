"""Dispatch after the user's token expired, with Keystone trusts and with service tokens."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import openstack
import pytest
from kombu.connection import Connection as BrokerConnection

from lab import configuration
from lab.settings import SECRET, Settings
from lab.steps import Lab
from synergy.drivers import envelope, nova_message
from tests.contract.clouds import Connect, Connection
from tests.openstack.beside import Beside, until

pytestmark = pytest.mark.openstack
TOKEN_TTL_S = 130  # keystoneauth asks for a new token with each request below 120 s


@pytest.fixture(scope="module")
def short_lived(on_edge: Lab) -> Iterator[None]:
    """Keystone's tokens live for seconds."""
    on_edge.with_settings(token_ttl_s=TOKEN_TTL_S).restart("keystone")
    yield
    on_edge.restart("keystone")


def whose(connect: Connect, token: str) -> tuple[str, str] | None:
    """Return the user and project of a token as Keystone shows them now, None if it is dead."""
    admin = connect()
    url = f"{admin.config.get_auth_args()['auth_url']}/auth/tokens?nocatalog"
    answer = admin.session.get(url, headers={"X-Subject-Token": token}, raise_exc=False)
    if answer.status_code != 200:
        return None
    found = answer.json()["token"]
    return found["user"]["id"], found["project"]["id"]


@pytest.fixture
def with_application_credential(
    on_edge: Lab, connect: Connect
) -> Iterator[Callable[[str, str], Connection]]:
    """Return connections of users who act with application credentials of theirs."""
    made = []

    def connected(user: str, project: str) -> Connection:
        own = connect(user, project)
        credential = own.identity.create_application_credential(
            own.current_user_id, name="robot", secret=SECRET
        )
        robot = openstack.connect(
            auth_type="v3applicationcredential",
            auth_url=f"{on_edge.settings.url('keystone')}/v3",
            application_credential_id=credential.id, application_credential_secret=SECRET,
            region_name="RegionOne", load_yaml_config=False, load_envvars=False,
        )  # fmt: skip
        made.append((own, credential, robot))
        return robot

    yield connected
    for own, credential, robot in made:
        robot.close()
        own.identity.delete_application_credential(own.current_user_id, credential.id)


def create(user: Connection, name: str) -> str:
    made = user.compute.create_server(
        name=name, networks="none",
        flavor_id=user.compute.find_flavor("m1.tiny", ignore_missing=False).id,
        image_id=user.image.find_image("tiny", ignore_missing=False).id,
    )  # fmt: skip
    return str(made.id)


def test_servers_start_after_the_tokens_expired(
    short_lived: None,
    with_application_credential: Callable[[str, str], Connection],
    on_edge: Lab,
    connect: Connect,
    tmp_path: Path,
) -> None:
    """alice's with the token of a trust; carol's, of whose token none can be made, with her own,
    dead one, which Nova accompanies by a service token."""
    alice, robot = connect("alice", "science"), with_application_credential("carol", "physics")
    users = {"science": alice, "physics": robot}
    service = Beside(on_edge.settings, tmp_path).start()
    try:
        for project, user in users.items():
            connect().compute.revert_quota_set(user.current_project_id)
            service.ask("POST", "/v1/projects", {"project": project, "default_quota": "private",
                                                 "suspended": True})  # fmt: skip
        ids = [create(user, "late") for user in users.values()]
        until(lambda: service.states(*ids) == ["QUEUED"] * 2)
        until(lambda: service.command("keystone", "trusts"))
        until(lambda: "no trust for user" in service.log)
        time.sleep(TOKEN_TTL_S + 5)
        with copied(on_edge.settings) as bodies:
            for project in users:
                service.ask("PATCH", f"/v1/projects/{project}", {"suspended": False})
            until(lambda: service.states(*ids) == ["ACTIVE"] * 2)
            tokens = {
                project_id: nova_message.credentials_of(body).token
                for project_id, body in bodies().items()
            }
        science = alice.current_project_id
        assert whose(connect, tokens.pop(science)) == (alice.current_user_id, science)
        assert [whose(connect, token) for token in tokens.values()] == [None]
        for one in ids:
            connect().compute.delete_server(one)
        until(lambda: service.states(*ids) == ["DELETED"] * 2)
        for project in users:
            service.ask("DELETE", f"/v1/projects/{project}")
    finally:
        service.stop()


@pytest.mark.parametrize(("without_trust", "state"), [("refuse", "REJECTED"), ("keep", "QUEUED")])
def test_an_application_credential_is_refused_with_the_reason_or_kept(
    with_application_credential: Callable[[str, str], Connection],
    on_edge: Lab,
    connect: Connect,
    tmp_path: Path,
    without_trust: str,
    state: str,
) -> None:
    robot = with_application_credential("alice", "science")
    service = Beside(on_edge.settings, tmp_path, keystone={"without_trust": without_trust}).start()
    try:
        service.ask("POST", "/v1/projects", {"project": "science", "suspended": True})
        server = create(robot, "robots")
        until(lambda: service.states(server) == [state])
        until(lambda: "no trust for user" in service.log)
        if state == "REJECTED":
            shown = until(lambda: (s := robot.compute.get_server(server)).fault and s)
            assert "its token would not last: Keystone forbids it" in shown.fault["message"]
        else:
            service.ask("PATCH", "/v1/projects/science", {"suspended": False})
            until(lambda: service.states(server) == ["ACTIVE"])
        robot.compute.delete_server(server)
        until(lambda: robot.compute.find_server(server) is None, 90)
        service.ask("DELETE", "/v1/projects/science")
    finally:
        service.stop()


@contextmanager
def copied(settings: Settings) -> Iterator[Callable[[], dict[str, bytes]]]:
    """Give what returns the build requests that came to the core since, by project."""
    url = configuration.broker(settings, "core").replace("rabbit:", "pyamqp:")
    with BrokerConnection(url) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True, auto_delete=True).queue
        channel.queue_bind(queue, "nova", "conductor")

        def bodies() -> dict[str, bytes]:
            found = {}
            while (message := channel.basic_get(queue, no_ack=True)) is not None:
                body = message.body if isinstance(message.body, bytes) else message.body.encode()
                inner = envelope.open_body(body).message
                if inner.get("method") == nova_message.METHOD:
                    found[inner["_context_project_id"]] = body
            return found

        yield bodies
