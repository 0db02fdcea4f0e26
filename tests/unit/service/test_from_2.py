"""From Synergy 2.6: every value is accounted for, nothing is overwritten, the database is only read."""

import csv
import json
import sqlite3
from pathlib import Path

import pytest

from synergy.service import manage
from synergy.service.from_2 import (
    RULES,
    Fate,
    Value,
    account,
    commands_for,
    read_database,
    read_old,
)
from synergy.service.options import groups

SERVICE = """
[Logger]
filename = /var/log/synergy/synergy.log
level = INFO
maxBytes = 1048576
backupCount = 100
formatter = "%(asctime)s - %(message)s"
[WSGI]
host = 192.0.2.1
port = 8051
threads = 2000
use_ssl = False
colour = blue
[Authorization]
plugin = synergy_scheduler_manager.auth.plugin.KeystoneAuthorization
[Dreams]
of = sheep
"""
MANAGERS = """
[SchedulerManager]
autostart = True
rate = 1
backfill_depth = 100
[FairShareManager]
period_length = 7
periods = 3
decay_weight = much
vcpus_weight = 50
[KeystoneManager]
auth_url = http://192.0.2.1:5000/v3
username = admin
password = s3cret
project_name = admin
amqp_url = rabbit://u:pw@192.0.2.1
amqp_topic = keystone_notification
[NovaManager]
db_connection = mysql://nova:pw@192.0.2.1/nova
cpu_allocation_ratio = 16
[ProjectManager]
default_TTL = 2880
default_share = 10
db_connection = mysql://synergy:pw@192.0.2.1/synergy
"""
UUID = "9d2f4a6c-0b1e-4c7d-8a55-3f6e2d1c0b9a"
OTHER = "1c0b9a3f-6e2d-4a55-8c7d-0b1e9d2f4a6c"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "synergy.conf").write_text(SERVICE)
    (tmp_path / "old" / "synergy_scheduler.conf").write_text(MANAGERS)
    return tmp_path / "old" / "synergy.conf"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "old.sqlite"
    flavor = {"nova_object.data": {"name": "m1.small"}}
    servers = [
        {"nova_object.data": {"uuid": one, "display_name": "=worker", "flavor": flavor}}
        for one in (UUID, OTHER)
    ]
    stored = {
        "action": "schedule_and_build_instances",
        "context": {"auth_token": "gAAAA"},
        "data": {"build_requests": [{"nova_object.data": {"instance": one}} for one in servers]},
    }
    older = {"data": {"instances": [{"nova_object.data": {"uuid": OTHER}}]}}
    with sqlite3.connect(path) as made:
        made.execute(
            "CREATE TABLE project (id VARCHAR(64) PRIMARY KEY, name VARCHAR(64), "
            "share INT DEFAULT 0, TTL INT DEFAULT 1440)"
        )
        made.execute(
            "CREATE TABLE DYNAMIC (id INTEGER PRIMARY KEY, priority INT DEFAULT 0, "
            "user_id CHAR(40), prj_id CHAR(40), retry_count INT DEFAULT 0, "
            "creation_time TIMESTAMP, last_update TIMESTAMP, data TEXT)"
        )
        made.execute("INSERT INTO project VALUES ('p1', 'it''s; rm -rf', 70, 5)")
        made.execute("INSERT INTO project VALUES ('p2', NULL, NULL, 0)")
        odd = ("no JSON", '{"data": {}}', '{"data": {"instances": []}}', "[" * 100_000, None)
        for data in (json.dumps(stored), json.dumps(older), *odd):
            made.execute(
                "INSERT INTO DYNAMIC (user_id, prj_id, creation_time, data) "
                "VALUES ('u', 'p1', '2018-01-01 00:00:00', ?)", (data,),
            )  # fmt: skip
    return path


def run(tmp_path: Path, *words: Path | str) -> int:
    config = tmp_path / "own.conf"
    config.write_text("")
    return manage.run(["--config-file", str(config), "migrate-from-2", *map(str, words)])


def fates(old: Path) -> dict[tuple[str, str], Value]:
    return {(one.section, one.option): one for one in account(read_old(old))}


def test_every_value_is_accounted_for(old: Path) -> None:
    found = fates(old)
    assert len(found) == len([line for line in (SERVICE + MANAGERS).splitlines() if " = " in line])
    assert {key for key, one in found.items() if one.fate is Fate.UNKNOWN} == {
        ("WSGI", "colour"), ("Dreams", "of"),
    }  # fmt: skip
    assert {key for key, one in found.items() if one.fate is Fate.WRONG} == {
        ("WSGI", "threads"), ("FairShareManager", "decay_weight"),
    }  # fmt: skip
    assert all(one.why for one in found.values() if one.fate in (Fate.GONE, Fate.WRONG))
    ttl = found["ProjectManager", "default_ttl"]
    assert (ttl.target, ttl.new_value) == ("[project] template_ttl_s", "172800")
    assert found["FairShareManager", "period_length"].new_value == "604800"


def test_every_option_that_is_named_as_a_target_exists() -> None:
    known = {group: {one.name.replace("-", "_") for one in own} for group, own in groups().items()}
    library = {"log_file", "debug", "max_logfile_size_mb", "max_logfile_count"}
    for rule in RULES.values():
        if rule.option:
            assert rule.option in known[rule.section] | library, rule


def test_the_new_configuration_is_one_that_the_service_reads(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, old, "--output", tmp_path / "new") == 0
    made = tmp_path / "new" / "synergy.conf"
    assert made.stat().st_mode & 0o077 == 0  # it holds passwords
    capsys.readouterr()
    manage.run(["--config-file", str(made), "config", "validate"])
    told = capsys.readouterr().err
    assert "no option" not in told
    assert "no section" not in told
    assert "edge_url is not set" in told or "edge_url" in made.read_text()


def test_no_secret_is_reported(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, old, "--dry-run") == 0
    assert run(tmp_path, old, "--dry-run", "-f", "json") == 0
    told = capsys.readouterr().out
    assert "2 unknown" in told
    assert "rabbit://" not in told
    assert "mysql://" not in told


def test_a_dry_run_writes_nothing(old: Path, database: Path, tmp_path: Path) -> None:
    before = database.read_bytes()
    assert run(tmp_path, old, database, "--dry-run", "--output", tmp_path / "new") == 0
    assert not (tmp_path / "new").exists()
    assert database.read_bytes() == before


def test_it_can_be_run_again_and_overwrites_nothing_without_force(
    old: Path, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", tmp_path / "new")
    assert run(tmp_path, old, database, *output) == 0
    made = tmp_path / "new" / "synergy.conf"
    first = made.read_text()
    assert run(tmp_path, old, database, *output) == 0
    assert f"unchanged {made}" in capsys.readouterr().out
    made.write_text("mine")
    assert run(tmp_path, old, database, *output) == 1
    assert "exists and differs: move it away, or use --force" in capsys.readouterr().err
    assert made.read_text() == "mine"
    assert run(tmp_path, old, database, *output, "--force") == 0
    assert made.read_text() == first


def test_projects_become_commands_and_waiting_requests_are_listed_with_why_not(
    database: Path,
) -> None:
    projects, requests = read_database(str(database))
    script = commands_for(projects)
    assert "synergy project add p1 --raw-shares 70 --ttl-s 300 --default-quota private" in script
    assert "synergy project add p2 --raw-shares 0 --ttl-s 60" in script
    assert "# : a lifetime of 0 s is not possible" in script
    assert "create it again" in requests[0].why


def test_every_server_of_every_row_that_waits_is_accounted_for(database: Path) -> None:
    _, requests = read_database(str(database))
    assert [(one.row, one.server_id, one.fate) for one in requests] == [
        (1, UUID, "again"), (1, OTHER, "again"), (2, OTHER, "twice"),
        *((row, "", "unreadable") for row in range(3, 8)),
    ]  # fmt: skip
    assert {(one.project_id, one.user_id, one.queued_at) for one in requests} == {
        ("p1", "u", "2018-01-01 00:00:00")
    }
    assert (requests[0].server_name, requests[0].flavor) == ("=worker", "m1.small")


def test_what_waits_is_written_as_a_table_and_counted(
    old: Path, database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, old, database, "--output", tmp_path / "new") == 0
    told = capsys.readouterr().out
    assert "7 rows with 8 servers that wait: 2 again, 1 twice, 5 unreadable" in told
    made = tmp_path / "new" / "waiting-servers.csv"
    assert made.stat().st_mode & 0o077 == 0
    with made.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [one["row"] for one in rows] == ["1", "1", "2", "3", "4", "5", "6", "7"]
    assert rows[0]["server_name"] == "'=worker"  # which no spreadsheet computes
    assert "gAAAA" not in made.read_text()


@pytest.mark.parametrize(
    ("database", "told"),
    [
        ("/nowhere/at/all", "does not exist"),
        ("nonsense://x", "cannot be read"),
        ("sqlite://", "has no table of Synergy 2.6"),
    ],
    indirect=False,
)
def test_a_database_that_is_none_is_told(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], database: str, told: str
) -> None:
    assert run(tmp_path, old, database, "--dry-run") == 1
    assert told in capsys.readouterr().err


def test_a_configuration_that_is_none_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.conf").write_text("no section = 1\n")
    for path in (tmp_path / "bad.conf", tmp_path / "none.conf"):
        assert run(tmp_path, path, "--dry-run") == 1
        assert f"{path} cannot be read as a configuration" in capsys.readouterr().err
