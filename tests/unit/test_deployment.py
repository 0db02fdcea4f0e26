"""Units, containers and the Kolla role start what there is, with a configuration that is valid."""

import configparser
import json
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from synergy.service.options import new_conf, problems_of
from tests.absent import absent

ROOT = Path(__file__).parents[2]
CONTRIB = ROOT / "contrib"
UNITS = sorted((CONTRIB / "systemd").glob("*.service"))
ROLE = CONTRIB / "kolla" / "roles" / "synergy"
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
SCRIPTS = {
    line.partition(" = ")[0]
    for line in SETUP["entry_points"]["console_scripts"].strip().splitlines()
}
VALUES = {
    "api_interface_address": "192.0.2.7", "database_address": "192.0.2.8", "database_port": 3306,
    "default_project_domain_name": "Default", "default_user_domain_name": "Default",
    "keystone_internal_url": "http://192.0.2.9:5000", "keystone_public_url": "https://cloud:5000",
    "memcache_secret_key": "of-memcache", "memcached_port": 11211, "openstack_cacert": "",
    "openstack_logging_debug": False, "openstack_region_name": "RegionOne",
    "om_enable_rabbitmq_quorum_queues": True, "container_config_directory": "/var/lib/kolla/config_files",
    "rpc_transport_url": "rabbit://openstack:of-rabbit@192.0.2.5:5672,openstack:of-rabbit@192.0.2.6:5672//",
    "notify_transport_url": "rabbit://openstack:of-rabbit@192.0.2.5:5672//",
    "groups": {"memcached": ["one", "two"]}, "synergy_database_password": "of-database",
    "synergy_fernet_keys": ["first", "second"], "synergy_keystone_password": "of-keystone",
}  # fmt: skip


class Unit(ConfigParser):
    """Keeps the letters of its keys as they are."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def unit(path: Path) -> ConfigParser:
    parsed = Unit(strict=False, interpolation=None)
    parsed.read(path)
    return parsed


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_program_of_ours_and_is_confined(path: Path) -> None:
    service = unit(path)["Service"]
    program, *words = service["ExecStart"].split()
    assert Path(program).name in SCRIPTS or "synergy.service.wsgi:application" in words
    assert service["User"] == "synergy"
    for name, value in (
        ("Type", "notify"), ("NoNewPrivileges", "true"), ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""), ("Restart", "always"),
    ):  # fmt: skip
        assert service[name] == value


def test_the_watchdog_of_the_unit_gives_the_service_many_beats() -> None:
    from synergy.db.leadership import BEAT_S

    assert (
        float(unit(CONTRIB / "systemd" / "synergy.service")["Service"]["WatchdogSec"]) > 20 * BEAT_S
    )


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_unit(path: Path, tmp_path: Path) -> None:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        absent("systemd-analyze")
    for one in UNITS:  # its program is not installed here
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", one.read_text())
        (tmp_path / one.name).write_text(text)
    done = subprocess.run(
        [tool, "verify", "--man=no", tmp_path / path.name], capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "synergy" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("path", ["container/Containerfile", "kolla/Containerfile"])
def test_a_container_installs_extras_that_there_are_and_is_not_root(path: str) -> None:
    text = (CONTRIB / path).read_text()
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", text)
    assert "service" in extras.split(",")
    assert set(extras.split(",")) <= set(SETUP["extras"])
    users = re.findall(r"(?m)^USER (\d+)$", text)
    assert int(users[-1]) > 0
    for command in re.findall(r'(?m)^CMD \["([^"]+)"', text):
        assert command in SCRIPTS


def defaults() -> Any:
    return yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())


def rendered(name: str, **more: Any) -> str:
    """Render a template of the role as Ansible does, with stand-ins for Kolla's filters."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True,
        autoescape=False,
    )  # fmt: skip
    environment.filters |= {
        "bool": bool,
        "kolla_address": lambda _network, host: f"{host}.example.com",
        "put_address_in_context": lambda address, _context: address,
        "regex_replace": lambda text, pattern, to: re.sub(pattern, to, text),
    }
    known = VALUES | {"synergy_policy": {"stat": {"exists": True}}} | more
    for option, value in defaults().items():  # a default may name other defaults
        if option not in known and isinstance(value, str):
            try:
                known[option] = environment.from_string(value).render(known)
            except jinja2.UndefinedError:
                continue  # the template will say so if it needs it
        known.setdefault(option, value)
    return environment.from_string((ROLE / "templates" / name).read_text()).render(known)


def test_the_configuration_of_the_role_is_one_that_the_service_accepts(tmp_path: Path) -> None:
    path = tmp_path / "synergy.conf"
    path.write_text(rendered("synergy.conf.j2"))
    conf = new_conf()
    conf(["--config-file", str(path)], project="synergy")
    assert problems_of(conf) == []
    own = conf.openstack
    hosts = "rabbit://openstack:of-rabbit@192.0.2.5:5672,openstack:of-rabbit@192.0.2.6:5672"
    assert (own.edge_url, own.core_url) == (f"{hosts}/edge", f"{hosts}//")
    assert own.quorum_queues is own.transient_quorum_queues is True
    assert conf.api.port == 8051
    assert "memcached_servers = one.example.com:11211,two.example.com:11211\n" in path.read_text()


@pytest.mark.parametrize("with_policy", [True, False])
def test_what_the_container_copies_is_what_the_role_writes(with_policy: bool) -> None:
    policy = {"stat": {"exists": with_policy}}
    started = json.loads(rendered("synergy-service.json.j2", synergy_policy=policy))
    assert started["command"].split()[0] in SCRIPTS
    copied = {Path(one["source"]).name for one in started["config_files"]}
    written = set(
        re.findall(r"/([\w.]+)\"$", (ROLE / "tasks" / "config.yml").read_text(), re.MULTILINE)
    )
    assert copied <= written
    assert ("policy.yaml" in copied) == with_policy
    keys = next(one for one in started["config_files"] if one["dest"] == "/etc/synergy/keys")
    assert keys["perm"] == "0600"
    assert rendered("keys.j2") == "first\nsecond\n"


def test_every_action_of_kolla_has_its_tasks_and_every_file_that_tasks_include_is_there() -> None:
    tasks = {path.stem: yaml.safe_load(path.read_text()) for path in (ROLE / "tasks").glob("*.yml")}
    assert {
        "bootstrap", "check", "config", "config_validate", "deploy", "deploy-containers",
        "loadbalancer", "precheck", "pull", "reconfigure", "stop", "upgrade",
    } <= set(tasks)  # fmt: skip
    included = {
        one[name]
        for listed in tasks.values()
        for one in listed
        for name in ("import_tasks",)
        if name in one
    }
    assert {name.removesuffix(".yml") for name in included} <= set(tasks)
    handlers = yaml.safe_load((ROLE / "handlers" / "main.yml").read_text())
    assert [one["name"] for one in handlers] == [
        f"Restart {name} container" for name in defaults()["synergy_services"]
    ]
