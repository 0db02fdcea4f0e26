"""synergy-manage doctor beside a real OpenStack: all is well, and each thing that may be wrong."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from lab import configuration
from lab.steps import Lab
from tests.openstack.beside import Beside, until

pytestmark = pytest.mark.openstack


@pytest.fixture
def beside(on_edge: Lab, tmp_path: Path) -> Iterator[Beside]:
    made = Beside(on_edge.settings, tmp_path)
    yield made
    made.stop()


def start(beside: Beside) -> None:
    """Start the service, and wait until it listens on the edge."""
    beside.start()
    until(lambda: "Synergy listens" in beside.manage("doctor", "--no-probe")[1])


def failed_checks(beside: Beside, *words: str) -> dict[str, tuple[str, str]]:
    """Return what the doctor found wrong by the name of the check, with how to fix it."""
    code, text = beside.manage("doctor", "-f", "json", *words)
    found, _ = json.JSONDecoder().raw_decode(text[text.index("[\n") :])
    wrong = {one["name"]: (one["detail"], one["fix"]) for one in found if not one["passed"]}
    assert code == bool(wrong)
    assert (f"{len(wrong)} of {len(found)} checks failed" in text) == bool(wrong)
    return wrong


def test_a_cloud_in_order_passes_every_check(beside: Beside) -> None:
    start(beside)
    code, text = beside.manage("doctor")
    lines = text.splitlines()
    assert code == 0, text
    assert len(lines) >= 14
    assert all(line.startswith("ok  ") for line in lines), text
    assert "Synergy listens" in text


def test_a_service_that_does_not_run_relays_nothing(beside: Beside) -> None:
    start(beside)  # makes the queue
    beside.stop()
    assert failed_checks(beside) == {
        "the relay passes it on": ("the cast did not come to the core", "start synergy-service")
    }


@pytest.mark.parametrize(
    ("option", "value", "check", "detail", "fix"),
    [
        ("password", "wrong", "Keystone accepts Synergy's user", "credentials", "username, password"),
        ("auth_url", "http://127.0.0.1:9/v3", "Keystone accepts Synergy's user", "Keystone", "auth_url"),
        ("region_name", "Nowhere", "service catalogue", "no internal endpoint", "region_name"),
        ("quota_driver", "unified_limits", "quota driver", "no registered limit", "openstack registered limit create"),
        ("edge_url", "rabbit://nobody:wrong@127.0.0.1:{amqp}/edge", "broker of nova-api (edge_url)", "ACCESS_REFUSED", "password"),
        ("core_url", "rabbit://nobody:wrong@127.0.0.1:9/core", "broker of Nova (core_url)", "refused", "broker runs"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_reported_with_its_fix(
    beside: Beside, option: str, value: str, check: str, detail: str, fix: str
) -> None:
    beside.configure(openstack={option: value.format(**beside.settings.ports)})
    wrong = failed_checks(beside, "--no-probe")
    assert check in wrong, wrong
    assert detail in wrong[check][0]
    assert fix in wrong[check][1]


def test_a_user_without_the_role_is_told_which_to_add(beside: Beside) -> None:
    beside.configure(openstack={"username": "alice", "project_name": "science"})
    detail, fix = failed_checks(beside, "--no-probe")["its roles"]
    assert detail == "the roles are member, reader"
    assert fix == "openstack role add --user alice --project science admin"


def test_an_edge_that_is_the_core_is_told(beside: Beside) -> None:
    core = configuration.broker(beside.settings, "core")
    beside.configure(openstack={"edge_url": core})
    detail, fix = failed_checks(beside)["cloud"]
    assert detail.startswith("[openstack] edge_url and core_url are the same")
    assert fix == "edit the file"


def test_a_key_and_a_database_that_are_not_there_are_told(beside: Beside, tmp_path: Path) -> None:
    nowhere = f"sqlite:///{tmp_path}/nowhere.sqlite"
    beside.configure(database={"connection": nowhere, "keys_file": tmp_path / "nowhere"})
    wrong = failed_checks(beside, "--no-probe")
    assert wrong["key"][1].startswith("synergy-manage keys create")
    assert wrong["database"][1] == "synergy-manage db sync"


def test_a_nova_api_that_does_not_come_through_synergy_and_notifies_nobody_is_told(
    beside: Beside, on_edge: Lab
) -> None:
    start(beside)  # as nova-api publishes to the edge all the same
    name = f"unused-{uuid4().hex[:8]}"
    beside.configure(openstack={"edge_url": on_edge.add_vhost(name), "nova_topics": "nobody"})
    try:
        wrong = failed_checks(beside)
    finally:
        on_edge.remove_vhost(name)
    assert wrong["queue of build requests on the edge"][0] == "there is no queue 'conductor'"
    assert "transport_url of nova-api" in wrong["nova-api publishes to the edge"][1]
    assert "oslo_messaging_notifications" in wrong["nova-api notifies"][1]
