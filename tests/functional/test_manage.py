"""synergy-manage: what holds in the configuration, the database's revision, what the doctor tries."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from synergy.core.errors import StoreUnavailable
from synergy.db import engine as database
from synergy.service import manage
from synergy.service.options import new_conf
from tests.functional.test_tokens import Keystone
from tests.processes import configure, prepare

CREDENTIALS: dict[str, Any] = {
    "auth_type": "password", "username": "synergy", "password": "of-synergy",
    "project_name": "service", "user_domain_id": "default", "project_domain_id": "default",
}  # fmt: skip


def write(folder: Path, **sections: Any) -> None:
    """Write a configuration anew; two sections may have an option of the same name."""
    database = {"connection": "sqlite:///synergy.sqlite", "keys_file": "synergy.keys"}
    text = "".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        for section, values in ({"database": database} | sections).items()
    )
    (folder / "synergy.conf").write_text(text)


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def managed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run synergy-manage in this process, and return the exit code and what it printed."""

    def run(*words: str) -> tuple[int, str, str]:
        code = manage.run(["--config-file", "synergy.conf", *words])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def shown(
    managed: Callable[..., Any], *words: str
) -> dict[tuple[str, str], tuple[str | None, str]]:
    """Return (value, source) by (section, option)."""
    code, out, err = managed("config", "show", "-f", "json", *words)
    assert code == 0, err
    return {(one["group"], one["option"]): (one["value"], one["source"]) for one in json.loads(out)}


def test_each_option_is_shown_with_its_value_and_the_file_it_comes_from(
    ready: Path, managed: Callable[..., Any]
) -> None:
    configure(ready, nova={"settle_s": 77}, scheduler={"autostart": "no"})
    found = shown(managed)
    assert found["nova", "settle_s"] == ("77.0", f"{ready}/synergy.conf")
    assert found["scheduler", "autostart"] == ("false", f"{ready}/synergy.conf")
    assert found["scheduler", "backfill_depth"][1] == "default"
    assert found["oslo_policy", "policy_file"] == ("policy.yaml", "default")
    assert found["keystone_authtoken", "interface"] == ("internal", "default")
    assert found["DEFAULT", "debug"] == ("false", "default")
    conf = new_conf()
    for group in ("nova", "api", "openstack", "database"):
        assert {one for one in found if one[0] == group} == {
            (group, name.replace("-", "_")) for name in conf[group]
        }


def test_a_later_file_and_the_command_line_win(
    ready: Path, managed: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (ready / "more.conf").write_text("[nova]\nsettle_s = 5\n")
    files = ["--config-file", "synergy.conf", "--config-file", "more.conf", "--debug"]
    assert manage.run([*files, "config", "show", "--changed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"settle_s = 5.0  # {ready}/more.conf" in lines
    assert "debug = true  # command line" in lines
    assert not [line for line in lines if line.startswith("backfill_depth")]


def test_no_secret_is_shown_in_any_form(ready: Path, managed: Callable[..., Any]) -> None:
    secret = "of-synergy"
    write(
        ready,
        database={"connection": f"mysql+pymysql://synergy:{secret}@h/synergy"},
        openstack={
            **CREDENTIALS,
            "edge_url": f"rabbit://s:{secret}@h/edge",
            "core_url": f"rabbit://s:{secret}@h/core",
        },
        keystone_authtoken={**CREDENTIALS, "memcache_secret_key": secret},
    )
    for words in ([], ["--changed"], ["-f", "json"]):
        code, out, err = managed("config", "show", *words)
        assert code == 0
        assert secret not in out + err
    found = shown(managed, "openstack")
    assert found["openstack", "edge_url"] == ("***", f"{ready}/synergy.conf")
    assert found["openstack", "password"] == ("***", f"{ready}/synergy.conf")
    assert found["openstack", "username"] == ("synergy", f"{ready}/synergy.conf")


def test_credentials_of_another_plugin_are_shown(ready: Path, managed: Callable[..., Any]) -> None:
    configure(
        ready,
        keystone_authtoken={
            "auth_type": "v3applicationcredential",
            "application_credential_id": "an-id",
            "application_credential_secret": "a-secret",
        },
    )
    found = shown(managed, "keystone_authtoken")
    assert found["keystone_authtoken", "application_credential_id"][0] == "an-id"
    assert found["keystone_authtoken", "application_credential_secret"][0] == "***"


def test_a_section_that_is_not_there_is_named(ready: Path, managed: Callable[..., Any]) -> None:
    code, out, err = managed("config", "show", "novva")
    assert (code, out) == (1, "")
    assert "[novva]" in err


def test_the_database_is_synced_and_its_version_read_by_the_names_of_the_field(
    ready: Path, managed: Callable[..., Any]
) -> None:
    (ready / "synergy.sqlite").unlink()
    assert managed("db", "sync")[0] == 0
    code, version, _ = managed("db", "version")
    assert code == 0
    assert f"revision {version.strip()}" in managed("db", "check")[1]
    assert managed("db", "upgrade")[0] == 0


def findings(managed: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    _, out, _ = managed("doctor", "--no-probe", "-f", "json")
    found, _ = json.JSONDecoder().raw_decode(out)
    return {one["name"]: one for one in found}


def test_the_doctor_tries_to_write_to_the_database(
    ready: Path, managed: Callable[..., Any]
) -> None:
    assert findings(managed)["writing to the database"]["passed"]
    engine = create_engine("sqlite:///file:synergy.sqlite?mode=ro&uri=true")
    with pytest.raises(StoreUnavailable, match="cannot be written to"):
        database.check_writable(engine)  # as where the disk is mounted read-only
    engine.dispose()


def test_the_doctor_reads_the_policy_as_the_api_does(
    ready: Path, managed: Callable[..., Any]
) -> None:
    (ready / "policy.yaml").write_text("a: [\n")
    configure(ready, oslo_policy={"policy_file": ready / "policy.yaml"})
    found = findings(managed)["policy"]
    assert not found["passed"]
    assert "policy" in found["fix"]


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    made = Keystone()
    yield made
    made.close()


@pytest.mark.parametrize(
    ("section", "passed"),
    [
        ({}, True),
        ({"interface": "internal"}, True),
        ({"interface": "internal", "region_name": "Elsewhere"}, False),
        ({"auth_url": "http://127.0.0.1:9/v3"}, False),
    ],
)
def test_the_doctor_lets_keystone_validate_a_token_as_the_api_does(
    ready: Path,
    managed: Callable[..., Any],
    keystone: Keystone,
    section: dict[str, str],
    passed: bool,
) -> None:
    amqp = "rabbit://s:s@127.0.0.1:9"
    url = {"auth_url": f"{keystone.url}/v3"}
    write(
        ready,
        DEFAULT={"cloud": "openstack", "managers": "keystone"},
        api={"auth_strategy": "keystone"},
        openstack={
            **CREDENTIALS, **url, "edge_url": f"{amqp}/edge", "core_url": f"{amqp}/core",
            "interface": "public",
        },
        keystone_authtoken={
            **CREDENTIALS, "http_request_max_retries": 0, "http_connect_timeout": 2,
            **url, **section,
        },
    )  # fmt: skip
    found = findings(managed)["validation of tokens"]
    assert found["passed"] == passed, found
    if not passed:
        assert "interface" in found["fix"]
