"""Dispatch after the user's token expired, with Keystone trusts and with service tokens."""

import time

import kombu
import openstack
import pytest

from lab import configuration
from lab.settings import SECRET
from synergy.drivers import envelope, nova_message
from tests.openstack.beside import Beside, until

pytestmark = pytest.mark.openstack
TOKEN_TTL_S = 130  # keystoneauth asks for a new token with each request below 120 s


@pytest.fixture(scope="module")
def short_lived(on_edge):
    """Keystone's tokens live for seconds."""
    on_edge.turned(token_ttl_s=TOKEN_TTL_S).restart("keystone")
    yield
    on_edge.restart("keystone")


def whose(connect, token):
    """Return the user and project of a token as Keystone shows them now, None if it is dead."""
    admin = connect()
    url = f"{admin.config.get_auth_args()['auth_url']}/auth/tokens?nocatalog"
    answer = admin.session.get(url, headers={"X-Subject-Token": token}, raise_exc=False)
    if answer.status_code != 200:
        return None
    found = answer.json()["token"]
    return found["user"]["id"], found["project"]["id"]


@pytest.mark.parametrize("use_trusts", [True, False])
def test_a_server_starts_after_its_users_token_expired(
    short_lived, on_edge, connect, tmp_path, use_trusts
):
    alice = connect("alice", "science")
    connect().compute.revert_quota_set(alice.current_project_id)
    service = Beside(on_edge.settings, tmp_path, keystone={"use_trusts": use_trusts}).start()
    try:
        service.ask("POST", "/v1/projects", {"project": "science", "default_quota": "private",
                                             "suspended": True})  # fmt: skip
        server = alice.compute.create_server(
            name="late", networks="none",
            flavor_id=alice.compute.find_flavor("m1.tiny", ignore_missing=False).id,
            image_id=alice.image.find_image("tiny", ignore_missing=False).id,
        )  # fmt: skip
        until(lambda: service.states(server.id) == ["QUEUED"])
        if use_trusts:
            until(lambda: service.command("keystone", "trusts"))
        time.sleep(TOKEN_TTL_S + 5)
        copied = handed_over(on_edge.settings, service)
        until(lambda: service.states(server.id) == ["ACTIVE"])
        token = nova_message.credentials_of(copied()).token
        expected = (alice.current_user_id, alice.current_project_id) if use_trusts else None
        assert whose(connect, token) == expected
        alice.compute.delete_server(server)
        until(lambda: service.states(server.id) == ["DELETED"])
        service.ask("DELETE", "/v1/projects/science")
    finally:
        service.stop()


@pytest.fixture
def with_application_credential(on_edge, connect):
    """alice, who acts with an application credential of hers."""
    alice = connect("alice", "science")
    made = alice.identity.create_application_credential(
        alice.current_user_id, name="robot", secret=SECRET
    )
    robot = openstack.connect(
        auth_type="v3applicationcredential", auth_url=f"{on_edge.settings.url('keystone')}/v3",
        application_credential_id=made.id, application_credential_secret=SECRET,
        region_name="RegionOne", load_yaml_config=False, load_envvars=False,
    )  # fmt: skip
    yield robot
    robot.close()
    alice.identity.delete_application_credential(alice.current_user_id, made.id)


@pytest.mark.parametrize(("without_trust", "state"), [("refuse", "REJECTED"), ("keep", "QUEUED")])
def test_an_application_credential_is_refused_with_the_reason_or_kept(
    with_application_credential, on_edge, connect, tmp_path, without_trust, state
):
    robot = with_application_credential
    service = Beside(on_edge.settings, tmp_path, keystone={"without_trust": without_trust}).start()
    try:
        service.ask("POST", "/v1/projects", {"project": "science", "suspended": True})
        server = robot.compute.create_server(
            name="robots", networks="none",
            flavor_id=robot.compute.find_flavor("m1.tiny", ignore_missing=False).id,
            image_id=robot.image.find_image("tiny", ignore_missing=False).id,
        )  # fmt: skip
        until(lambda: service.states(server.id) == [state])
        until(lambda: "no trust for user" in service.log)
        if state == "REJECTED":
            shown = until(
                lambda: (s := robot.compute.get_server(server.id)).status == "ERROR" and s
            )
            assert "its token would not last: Keystone forbids it" in shown.fault["message"]
        else:
            service.ask("PATCH", "/v1/projects/science", {"suspended": False})
            until(lambda: service.states(server.id) == ["ACTIVE"])
        robot.compute.delete_server(server)
        robot.compute.wait_for_delete(server, wait=90)
        service.ask("DELETE", "/v1/projects/science")
    finally:
        service.stop()


def handed_over(settings, service):
    """Let the project go on; return what gives the first build request that comes to the core."""
    url = configuration.broker(settings, "core").replace("rabbit:", "pyamqp:")
    connection = kombu.Connection(url)
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True, auto_delete=True).queue
    channel.queue_bind(queue, "nova", "conductor")
    service.ask("PATCH", "/v1/projects/science", {"suspended": False})

    def first():
        while (message := channel.basic_get(queue, no_ack=True)) is not None:
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            if envelope.open_body(body).message.get("method") == nova_message.METHOD:
                connection.close()
                return body
        raise AssertionError("no build request came to the core")

    return first
