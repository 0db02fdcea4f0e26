"""`synergy-status upgrade check`: each obstacle of an upgrade is found, and the code says how bad."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from synergy.db import engine as database
from synergy.db.leadership import Leadership
from synergy.drivers.clock import SystemClock
from synergy.service import status
from tests.processes import configure, prepare, run

RESULTS = {0: "Success", 1: "Warning", 2: "Failure"}


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A prepared folder of the test's own, in which it works; the path of its configuration."""
    monkeypatch.chdir(tmp_path)
    return prepare(tmp_path)


def found_in(printed: str) -> dict[str, tuple[str, str]]:
    """Return (result, details) by check."""
    return {
        one["check"]: (RESULTS[one["result"]], one["details"] or "")
        for one in json.loads(printed)["checks"]
    }


def checked(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit code, and (result, details) by check."""
    code = status.run(["--config-file", str(path), "upgrade", "check", "--json"])
    return code, found_in(capsys.readouterr().out)


def altered(folder: Path, statement: str) -> None:
    engine = create_engine(f"sqlite:///{folder}/synergy.sqlite")
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_prepared_host_passes_every_check(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = checked(ready, capsys)
    assert {result for result, _ in found.values()} == {"Success"}, found
    assert code == 0


def test_it_runs_as_a_command_and_prints_a_table(ready: Path, tmp_path: Path) -> None:
    shown = run("synergy-status", "--config-file", ready, "upgrade", "check", cwd=tmp_path).stdout
    assert "Upgrade Check Results" in shown
    assert shown.count("Result: Success") == 8


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE alembic_version SET version_num = '0001'", "run synergy-manage db upgrade"),
        ("UPDATE alembic_version SET version_num = '9999'", "newer than this Synergy"),
        ("DROP TABLE alembic_version", "run synergy-manage db upgrade"),
    ],
    ids=["older", "newer", "unknown"],
)
def test_a_database_of_another_version_is_a_failure(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, statement: str, said: str
) -> None:
    altered(tmp_path, statement)
    code, found = checked(ready, capsys)
    result, details = found["Database"]
    assert (code, result) == (2, "Failure")
    assert said in details


def test_a_database_that_is_not_there_is_a_failure_and_is_not_created(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "synergy.sqlite").unlink()
    code, found = checked(ready, capsys)
    assert (code, found["Database"][0]) == (2, "Failure")
    assert found["Keys"][0] == "Success"
    assert not (tmp_path / "synergy.sqlite").exists()


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda keys: keys.unlink(), "keys create"),
        (lambda keys: keys.chmod(0o644), "may be opened by others"),
        (lambda keys: keys.write_text("no key\n"), "line 1: not a Fernet key"),
    ],
    ids=["missing", "readable by all", "nonsense"],
)
def test_a_key_file_that_cannot_be_used_is_a_failure(
    ready: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    break_it: Callable[..., Any],
    said: str,
) -> None:
    break_it(tmp_path / "synergy.keys")
    code, found = checked(ready, capsys)
    assert (code, found["Keys"][0]) == (2, "Failure")
    assert said in found["Keys"][1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("policy.yaml", '"synergy:requests:pardon": "role:admin"\n', "'synergy:requests:pardon'"),
        ("policy.yaml", '{"synergy:requests:get": "role:admin"}', "is JSON"),
        ("policy.json", '{"synergy:requests:get": "role:admin"}', "is JSON"),
        ("policy.yaml", "- a list\n", "is not a table of rules"),
        ("policy.yaml", "a: [\n", "cannot be read"),
    ],
)
def test_an_old_policy_file_is_a_warning(
    ready: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str,
    said: str,
) -> None:
    (tmp_path / name).write_text(content)
    path = configure(tmp_path, oslo_policy={"policy_file": tmp_path / name})
    code, found = checked(path, capsys)
    assert (code, found["Policy"][0]) == (1, "Warning"), found
    assert said in found["Policy"][1]


def test_a_policy_file_of_known_rules_passes_and_rules_of_others_are_theirs(
    ready: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_text(
        '"synergy:requests:get": "role:admin"\n"everybody": "@"\n'
    )
    path = configure(tmp_path, oslo_policy={"policy_file": tmp_path / "policy.yaml"})
    code, found = checked(path, capsys)
    assert (code, found["Policy"][0]) == (0, "Success")


@pytest.mark.parametrize(
    ("section", "option", "value", "said"),
    [
        ("keystone_authtoken", "memcache_servers", "h:1", "its name is memcached_servers"),
        ("keystone_authtoken", "auth_urll", "http://x", "has no option 'auth_urll'"),
        ("oslo_policy", "policy_fil", "x", "has no option 'policy_fil'"),
        ("DEFAULT", "logfile", "/tmp/x.log", "its name is log-file"),
        ("expiry", "wishes_s", "7", "its name is metadata_check_s"),
        ("DEFAULT", "debgu", "true", "[DEFAULT] has no option 'debgu'"),
    ],
)
def test_a_deprecated_name_or_an_unknown_one_of_a_library_is_a_warning(
    ready: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    section: str,
    option: str,
    value: str,
    said: str,
) -> None:
    path = configure(tmp_path, **{section: {option: value}})
    code, found = checked(path, capsys)
    assert (code, found["Names in the configuration"][0]) == (1, "Warning"), found
    assert said in found["Names in the configuration"][1]


def test_credentials_are_those_of_the_plugin_that_the_file_names(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    section = {"auth_type": "v3applicationcredential", "application_credential_id": "1"}
    path = configure(tmp_path, keystone_authtoken=section)
    assert checked(path, capsys)[0] == 0


def test_an_unknown_option_of_our_own_is_a_failure(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = configure(tmp_path, nova={"setle_s": "7"})
    code, found = checked(path, capsys)
    assert (code, found["Configuration"][0]) == (2, "Failure")
    assert "setle_s" in found["Configuration"][1]


def test_a_file_in_a_folder_of_configuration_counts_too(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "more"
    folder.mkdir()
    (folder / "50.conf").write_text("[nova]\nsetle_s = 7\n")
    code = status.run(
        ["--config-file", str(ready), "--config-dir", str(folder), "upgrade", "check", "--json"]
    )
    assert code == 2
    assert "50.conf: [nova] has no option 'setle_s'" in capsys.readouterr().out


def test_a_service_that_runs_is_a_warning_that_names_it(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/synergy.sqlite")
    leadership = Leadership(engine, SystemClock(), role="synergy-service")
    leadership.take()
    try:
        code, found = checked(ready, capsys)
    finally:
        leadership.leave()
        engine.dispose()
    assert (code, found["Running service"][0]) == (1, "Warning")
    assert "synergy-service on host" in found["Running service"][1]


def test_a_database_whose_driver_is_not_installed_names_the_package(
    ready: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = configure(tmp_path, database={"connection": "mssql+pymssql://h/db"})
    code, found = checked(path, capsys)
    assert (code, found["Database driver"][0]) == (2, "Failure")
    assert "'pymssql'" in found["Database driver"][1]


def test_a_manager_that_cannot_be_loaded_is_a_failure_and_the_others_are_checked(
    ready: Path, tmp_path: Path
) -> None:
    """A package of a third party whose module is gone."""
    package = tmp_path / "third_party-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[synergy.managers]\nbudget = nowhere:Budget\n")
    done = run(
        "synergy-status", "--config-file", ready, "upgrade", "check", "--json",
        cwd=tmp_path, ok=False, PYTHONPATH=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    found = found_in(done.stdout)
    assert "budget cannot be loaded" in found["Plugins"][1]
    assert found["Database"][0] == "Success"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["upgrade"],
        ["downgrade", "check"],
        ["--config-file", "missing.conf", "upgrade", "check"],
        ["upgrade", "check", "--yaml"],
    ],
)
def test_what_keeps_it_from_checking_is_code_255(
    argv: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert status.run(argv) == 255
    assert capsys.readouterr().err


def test_the_revision_it_reports_is_the_one_that_the_service_needs(
    ready: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, found = checked(ready, capsys)
    engine = create_engine("sqlite:///synergy.sqlite")
    assert found["Database"][1] == f"revision {database.check(engine)}"
    engine.dispose()
