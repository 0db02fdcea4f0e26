"""The plugin for devstack, run against stand-ins of devstack's functions.

What it would configure is held against what the lab's real Nova and Synergy need; devstack itself
is not here. The stand-ins write files as devstack's own functions do, and write down what was run.
"""

import configparser
import subprocess
from pathlib import Path
from typing import Any

import pytest

from synergy.service.options import new_conf
from tests.openstack.options import beside

PLUGIN = Path(__file__).parents[2] / "devstack"
STAND_INS = Path(__file__).with_name("devstack_functions.sh")
SERVICES = "key,mysql,rabbit,placement-api,placement-client,n-api,n-cond,n-sch,n-cpu"


class Stack:
    """A devstack run in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            "PATH": "/usr/bin:/bin", "PLACE": str(folder), "ENABLED_SERVICES": SERVICES,
            "PLUGIN": str(PLUGIN),
        }  # fmt: skip

    def run(self, *phases: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Source the plugin as devstack does, for each phase in turn."""
        script = [f"source {STAND_INS}", "source $PLUGIN/override-defaults"]
        script += ["NOVA_NOTIFICATION_FORMAT=${NOVA_NOTIFICATION_FORMAT:-unversioned}"]
        script += ["source $PLUGIN/settings"]
        script += [f"source $PLUGIN/plugin.sh {phase}" for phase in phases]
        return subprocess.run(
            ["bash", "-c", "set -o errexit\n" + "\n".join(script)], check=False,
            capture_output=True, text=True, env=self.environment | settings, timeout=60,
        )  # fmt: skip

    @property
    def done(self) -> list[str]:
        log = self.folder / "done"
        return log.read_text().splitlines() if log.exists() else []

    def ini(self, name: str) -> dict[str, dict[str, str]]:
        """Return the sections of a configuration file."""
        parser = configparser.RawConfigParser(default_section="none", strict=False)
        parser.read_string((self.folder / name).read_text())
        return {section: dict(parser[section]) for section in parser.sections()}


STACK = ("stack pre-install", "stack install", "stack post-config", "stack extra",
         "stack test-config")  # fmt: skip


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_every_option_it_sets_is_one_of_synergy(stack: Stack) -> None:
    done = stack.run(*STACK)
    assert done.returncode == 0, done.stderr
    conf = new_conf()
    conf(args=[], default_config_files=[], default_config_dirs=[])
    for section, options in stack.ini("etc/synergy.conf").items():
        if section in ("openstack", "keystone_authtoken"):
            continue  # loaded with the type of authentication
        known = conf if section == "DEFAULT" else conf[section]
        assert not [name for name in options if name not in known], section


def test_synergy_is_told_of_the_cloud_what_the_lab_tells_it(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from lab.settings import read_settings

    stack.run(*STACK)
    found = stack.ini("etc/synergy.conf")["openstack"]
    needed = set(beside(read_settings())) - {"quorum_queues", "transient_quorum_queues"}
    named_by_id = {"user_domain_id", "project_domain_id"}  # devstack names domains
    assert needed - named_by_id <= set(found)
    assert {"user_domain_name", "project_domain_name"} <= set(found)
    assert found["interface"] == "public"  # the only one in devstack's catalogue
    assert stack.ini("etc/synergy.conf")["keystone_authtoken"]["interface"] == "public"
    assert found["edge_url"] == "rabbit://stackrabbit:pw@127.0.0.1:5672/edge"
    assert found["core_url"] == "rabbit://stackrabbit:pw@127.0.0.1:5672//"


def test_nova_api_alone_is_turned_to_the_edge_and_only_once_synergy_listens(stack: Stack) -> None:
    stack.run(*STACK)
    assert "transport_url" not in stack.ini("nova/nova.conf").get("DEFAULT", {})
    edge = stack.ini("nova/synergy-edge.conf")["DEFAULT"]
    assert edge == {"transport_url": "rabbit://stackrabbit:pw@127.0.0.1:5672/edge"}
    env = stack.ini("nova/nova-api-uwsgi.ini")["uwsgi"]["env"]
    assert env == "OS_NOVA_CONFIG_FILES=api-paste.ini;nova.conf;synergy-edge.conf"
    started = [
        line for line in stack.done if line.startswith(("run_process", "start_nova", "wait"))
    ]
    assert [line.split()[1] for line in started] == [
        "synergy-service",
        "synergy-api",
        "service",
        "api",
    ]


def test_conductors_of_every_cell_notify_where_synergy_listens(stack: Stack) -> None:
    stack.run(*STACK, NOVA_NUM_CELLS="3")
    for cell in (1, 2, 3):
        found = stack.ini(f"nova/nova_cell{cell}.conf")
        assert found["oslo_messaging_notifications"] == {
            "driver": "messagingv2", "transport_url": "rabbit://stackrabbit:pw@127.0.0.1:5672/",
        }  # fmt: skip
        assert found["notifications"]["notification_format"] == "both"


@pytest.mark.parametrize("missing", ["n-api", "n-cond", "n-sch", "key", "placement-api", "rabbit"])
def test_without_what_synergy_needs_nothing_is_installed(stack: Stack, missing: str) -> None:
    services = ",".join(one for one in SERVICES.split(",") if one != missing)
    done = stack.run(*STACK, ENABLED_SERVICES=services)
    assert done.returncode != 0
    assert missing in done.stderr
    assert stack.done == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"SYNERGY_EDGE_VHOST": "/"}, "SYNERGY_EDGE_VHOST"),
        ({"SYNERGY_EDGE_VHOST": "core", "SYNERGY_CORE_VHOST": "core"}, "SYNERGY_EDGE_VHOST"),
        ({"NOVA_NOTIFICATION_FORMAT": "unversioned"}, "NOVA_NOTIFICATION_FORMAT"),
    ],
)
def test_a_setting_that_cannot_work_is_named_at_once(
    stack: Stack, settings: dict[str, str], named: str
) -> None:
    done = stack.run("stack pre-install", **settings)
    assert done.returncode != 0
    assert named in done.stderr


def test_a_service_that_is_disabled_leaves_devstack_as_it_is(stack: Stack) -> None:
    done = stack.run(*STACK, "unstack", "clean", DISABLED="1")
    assert done.returncode == 0, done.stderr
    assert stack.done == []


def test_stacking_twice_gives_the_same_files(stack: Stack) -> None:
    stack.run(*STACK)
    names = ("etc/synergy.conf", "nova/nova_cell1.conf", "nova/synergy-edge.conf",
             "etc/synergy-api-uwsgi.ini", "nova/nova-api-uwsgi.ini")  # fmt: skip
    first = [stack.ini(name) for name in names]
    done = stack.run("unstack", *STACK)
    assert done.returncode == 0, done.stderr
    assert [stack.ini(name) for name in names] == first
    assert (
        "rabbitmqctl -q delete_vhost edge" in stack.done
    )  # what waited there is of the former run


def test_projects_are_taken_in_with_their_shares(stack: Stack) -> None:
    stack.run(*STACK, SYNERGY_PROJECTS="science:70 physics", SYNERGY_DEFAULT_QUOTA="shared")
    added = [line for line in stack.done if "project add" in line]
    assert [line.partition("project add ")[2] for line in added] == [
        "science --raw-shares 70 --default-quota shared --ttl-s 86400",
        "physics --raw-shares 1 --default-quota shared --ttl-s 86400",
    ]


def test_a_doctor_that_finds_something_ends_the_run_unless_it_is_switched_off(stack: Stack) -> None:
    (stack.folder / "ill").touch()
    assert "doctor" in stack.run(*STACK).stderr
    assert stack.run(*STACK).returncode != 0
    assert stack.run(*STACK, SYNERGY_DOCTOR="False").returncode == 0


def test_unified_limits_of_nova_are_those_of_synergy(stack: Stack) -> None:
    stack.run(*STACK, NOVA_USE_UNIFIED_LIMITS="True")
    assert stack.ini("etc/synergy.conf")["openstack"]["quota_driver"] == "unified_limits"


def test_clean_leaves_nothing(stack: Stack) -> None:
    stack.run(*STACK)
    done = stack.run("unstack", "clean")
    assert done.returncode == 0, done.stderr
    assert not (stack.folder / "etc").exists()
    assert not (stack.folder / "nova/synergy-edge.conf").exists()
    assert [line for line in stack.done if line.startswith("stop_process synergy")] == [
        "stop_process synergy-api", "stop_process synergy-service",
    ]  # fmt: skip
