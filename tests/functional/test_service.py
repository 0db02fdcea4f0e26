"""The service as a process: started, asked over HTTP and the command line, stopped."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.processes import (
    Running,
    configure,
    free_port,
    prepare,
    prepare_by_command,
    run,
    serving,
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that no test changes, shared because starting one takes seconds."""
    with serving(tmp_path_factory.mktemp("untouched")) as running:
        yield running


def test_a_day_with_the_service_from_the_command_line(service: Running) -> None:
    names = {row["name"]: row["status"] for row in service.json("manager", "list")}
    assert set(names.values()) == {"RUNNING"}
    assert {"queue", "scheduler", "expiry", "embedded"} <= set(names)

    added = service.json("project", "add", "science", "--raw-shares", "70", "--ttl-s", "3600")
    assert added["raw_shares"] == 70
    assert "alice" in {user["name"] for user in added["users"]}
    service.cli("project", "add", "physics", "--raw-shares", "30", "--borrow-limit", "VCPU=8")
    service.cli("user", "set", "science", "alice", "--raw-shares", "3")
    shown = {row["name"]: row for row in service.json("project", "list")}
    assert shown["physics"]["private"] == {"DISK_GB": 400, "MEMORY_MB": 32768, "VCPU": 16}

    ids = service.execute(
        "embedded", "create_server", "project=science", "user=alice", "flavor=large", "count=9",
        'metadata={"quota": "shared"}',
    )  # fmt: skip
    service.until(lambda: {"ACTIVE", "QUEUED"} == service.states())
    waiting = service.json("request", "list", "--state", "QUEUED")
    assert {row["reason"] for row in waiting} == {"no_free_quota"}
    assert len(waiting) + len(service.json("request", "list", "--state", "ACTIVE")) == 9

    explained = service.json("request", "show", waiting[0]["id"])
    assert explained["reason"] == "no_free_quota"
    told = service.json("request", "explain", waiting[0]["id"])
    assert "It needs 32,768 MEMORY_MB, and of the shared quota 24,576 of" in told["text"]
    assert told["priority"]["fairshare"] >= 0
    service.cli("request", "cancel", waiting[0]["id"])
    assert service.json("request", "show", waiting[0]["id"])["state"] == "CANCELLED"
    assert service.json("quota", "show")["shared_used"]["DISK_GB"] > 0
    assert "| shared_used       | DISK_GB=" in service.cli("quota", "show").stdout

    service.execute("embedded", "delete_server", f"server_id={ids[0]}")
    service.until(lambda: service.json("request", "show", ids[0])["state"] == "DELETED")

    assert service.json("manager", "stop", "scheduler")["status"] == "STOPPED"
    assert service.json("manager", "start", "scheduler")["status"] == "RUNNING"
    refused = service.cli("project", "remove", "science", ok=False)
    assert "cancel them or let them start" in refused.stderr


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ["manager", "show", "nosuch"],
            "manager 'nosuch' is not loaded; there are archive, embedded, expiry",
        ),
        (["manager", "execute", "queue", "fly"], "has no command 'fly'"),
        (["manager", "execute", "queue", "list", "limit"], "must have the form NAME=VALUE"),
        (["manager", "execute", "queue", "list", "limit=0"], "limit is 0, but must be at least 1"),
        (["project", "add", "nosuch"], "Keystone knows no project 'nosuch'"),
        (["project", "set", "science"], "nothing to set"),
        (["request", "show", "nosuch"], "request 'nosuch' does not exist"),
        (["request", "list", "--user", "nosuch"], "user 'nosuch' is of no managed project"),
        (
            ["manager", "execute", "queue", "list", "limit=5000"],
            "limit is 5000, but must be at most 1000",
        ),
        (["request", "list", "--state", "SLEEPY"], 'state is "SLEEPY", but must be one of'),
    ],
)
def test_a_command_that_makes_no_sense_ends_with_one_line_and_exit_code_1(
    untouched: Running, command: list[str], told: str
) -> None:
    done = untouched.cli(*command, ok=False)
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_the_api_answers_every_error_in_one_shape(untouched: Running) -> None:
    for method, path, body, status, code in (
        ("GET", "/v1/nosuch", None, 404, "not_found"),
        ("GET", "/v1/requests?limit=x", None, 400, "invalid_input"),
        ("GET", "/v1/requests?colour=red", None, 400, "invalid_input"),
        ("POST", "/v1/projects", b"{", 400, "invalid_input"),
        ("POST", "/v1/projects", b"[]", 400, "invalid_input"),
        ("POST", "/v1/projects", b"x" * 20_000_000, 413, "request_entity_too_large"),
        ("POST", "/v1/nosuch", b"x" * 20_000_000, 413, "request_entity_too_large"),
        ("DELETE", "/v1/managers", None, 405, "method_not_allowed"),
    ):
        request = urllib.request.Request(untouched.url + path, data=body, method=method)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as answer:
            (error,) = json.load(answer)["errors"]
        assert (error["status"], error["code"]) == (status, code), path
        assert error["detail"]


def test_sigterm_ends_it_within_seconds_and_a_restart_goes_on(service: Running) -> None:
    service.cli("project", "add", "science", "--default-quota", "shared")
    service.execute("embedded", "create_server", "project=science", "user=bob", "flavor=small")
    service.until(lambda: service.states() == {"ACTIVE"})
    began_s = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began_s < 8
    assert "synergy-service is stopping" in service.text()
    again = Running(service.folder, service.path, service.url.rsplit(":", 1)[1])
    assert [row["name"] for row in again.json("project", "list")] == ["science"]
    assert again.stop() == 0


def refused_more_often_than(service: Running, times: int) -> bool:
    return service.text().count("the configuration is not reloaded") > times


def test_sighup_takes_over_what_may_change_and_restarts_nothing(service: Running) -> None:
    service.cli("project", "add", "science", "--default-quota", "shared")
    (server,) = service.execute(
        "embedded", "create_server", "project=science", "user=bob", "flavor=small"
    )
    service.until(lambda: service.states() == {"ACTIVE"})
    text = service.path.read_text()
    for wrong in (f"{text}\n[scheduler]\nrate_s = often\n", f"{text}\n[schedular]\nrate_s = 0.3\n"):
        told = service.text().count("the configuration is not reloaded")
        service.path.write_text(wrong)
        os.kill(service.process.pid, signal.SIGHUP)
        service.until(partial(refused_more_often_than, service, told))
    service.path.write_text(f"{text}\n[scheduler]\nrate_s = 0.3\n")
    runs = service.json("manager", "show", "scheduler")["runs"]
    os.kill(service.process.pid, signal.SIGHUP)
    service.until(lambda: "[scheduler] rate_s changed from 60.0 to 0.3" in service.text())
    service.until(lambda: service.json("manager", "show", "scheduler")["runs"] > runs + 8)
    shown = service.execute("embedded", "show_server", f"server_id={server}")
    assert shown["status"] == "ACTIVE"  # the embedded cloud lives in the process
    assert service.text().count("the API listens") == 1
    assert service.process.poll() is None


def test_a_second_service_on_the_same_database_is_turned_away(untouched: Running) -> None:
    done = run("synergy-service", "--config-file", untouched.path, cwd=untouched.folder, ok=False)
    assert "the database is in use by synergy-service on host" in done.stderr
    assert f"process {untouched.process.pid}, since" in done.stderr
    assert done.returncode == 1


def test_a_port_that_is_taken_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = prepare(tmp_path, api={"port": taken.getsockname()[1]})
        done = run("synergy-service", "--config-file", path, cwd=tmp_path, ok=False)
    assert "cannot be used: Address already in use; stop what listens there" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1


def test_killed_with_9_it_leaves_the_lock_to_the_next(service: Running) -> None:
    service.stop(signal.SIGKILL)
    again = Running(service.folder, service.path, service.url.rsplit(":", 1)[1])
    assert again.stop() == 0


def test_everything_that_is_wrong_is_listed_at_once(tmp_path: Path) -> None:
    path = configure(
        tmp_path,
        DEFAULT={"managers": "queue,flying"},
        queue={"commit_size": 0},
        scheduler={"discipline": "lottery", "colour": "red"},
        api={"host": "192.0.2.1"},
        embedded={"cloud_file": "nosuch.yaml"},
        nowhere={"x": 1},
    )
    done = run("synergy-service", "--config-file", path, cwd=tmp_path, ok=False)
    for told in (
        "[DEFAULT] managers: 'flying' is not installed; there are archive, embedded, expiry",
        "[queue] commit_size: ",
        "[scheduler] discipline: ",
        "[scheduler] has no option 'colour'",
        "there is no section [nowhere]",
        "[api] host is 192.0.2.1, but must be a loopback address",
        "encryption key file synergy.keys does not exist",
        "run synergy-manage db upgrade",
        "[embedded] cloud_file: nosuch.yaml: No such file",
    ):
        assert told in done.stderr, told
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_configuration_file_that_is_none_is_told(tmp_path: Path) -> None:
    done = run("synergy-service", "--config-file", tmp_path / "none.conf", cwd=tmp_path, ok=False)
    assert "none.conf" in done.stderr
    assert "Traceback" not in done.stderr


def test_keys_rotate_and_old_bodies_still_open(tmp_path: Path) -> None:
    path = prepare_by_command(tmp_path)
    before = (tmp_path / "synergy.keys").read_text()
    done = run("synergy-manage", "--config-file", path, "keys", "rotate", cwd=tmp_path)
    assert "sealed 0 message(s) with the newest key" in done.stdout
    assert (tmp_path / "synergy.keys").read_text() != before
    again = run("synergy-manage", "--config-file", path, "keys", "create", cwd=tmp_path, ok=False)
    assert "exists: use synergy-manage keys rotate" in again.stderr
    done = run("synergy-manage", "--config-file", path, "config", "validate", cwd=tmp_path)
    assert "complete and valid" in done.stdout


def test_a_client_without_a_service_says_so(tmp_path: Path) -> None:
    done = run("synergy", "--endpoint", f"http://127.0.0.1:{free_port()}", "quota", "show",
               cwd=tmp_path, ok=False)  # fmt: skip
    assert "does not answer" in done.stderr
    assert "is synergy-service running" in done.stderr
