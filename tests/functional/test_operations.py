"""How the service stands beside the tools of a host: systemd, logrotate, a load balancer, reports."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.patience import until
from tests.processes import Running, free_port, prepare

Notified = tuple[Path, socket.socket]  # where systemd listens


@pytest.fixture(scope="module")
def notified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A socket as systemd opens it for a unit of Type=notify."""
    path = tmp_path_factory.mktemp("systemd") / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.setblocking(False)
        yield path, listening


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, notified: Notified) -> Iterator[Running]:
    folder, port = tmp_path_factory.mktemp("operations"), free_port()
    path = prepare(
        folder,
        DEFAULT={"log_file": folder / "synergy.log"},
        api={"port": port},
        healthcheck={"disable_by_file_path": folder / "drain"},
        oslo_reports={"log_dir": folder},
    )
    environment = {"NOTIFY_SOCKET": str(notified[0]), "WATCHDOG_USEC": "60000000"}
    os.environ.update(environment)  # of the process that is started
    try:
        running = Running(folder, path, port)
    finally:
        for name in environment:
            del os.environ[name]
    yield running
    running.stop()


def heard(listening: socket.socket) -> list[str]:
    """Return what came since the last time."""
    found: list[str] = []
    while True:
        try:
            found.append(listening.recv(4096).decode())
        except BlockingIOError:
            return found


def asked(service: Running, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(service.url + path, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_systemd_hears_that_it_is_ready_alive_and_reloading(
    service: Running, notified: Notified
) -> None:
    said: list[str] = []

    def came(*wanted: str) -> bool:
        said.extend(heard(notified[1]))
        return all(any(one.startswith(word) for one in said) for word in wanted)

    until(lambda: came("READY=1", "WATCHDOG=1"))
    said.clear()
    service.process.send_signal(signal.SIGHUP)
    until(lambda: came("RELOADING=1\nMONOTONIC_USEC=", "READY=1"))
    states = [one.partition("=")[0] for one in said if not one.startswith("WATCHDOG")]
    assert states == ["RELOADING", "READY"]


def test_the_log_goes_on_in_a_new_file_once_the_old_one_was_rotated(service: Running) -> None:
    log, rotated = service.folder / "synergy.log", service.folder / "synergy.log.1"
    assert log.stat().st_size > 0
    log.rename(rotated)
    before = rotated.read_text()
    service.process.send_signal(signal.SIGHUP)  # whatever it logs next
    until(lambda: log.exists() and "the configuration was reloaded" in log.read_text())
    assert rotated.read_text() == before


def test_a_file_takes_it_out_of_the_load_balancer_and_back(service: Running) -> None:
    assert asked(service, "/healthcheck/ready")[0] == 200
    drain = service.folder / "drain"
    drain.touch()
    status, body = asked(service, "/healthcheck/ready")
    assert (status, body["ready"]) == (503, False)
    assert str(drain) in body["why"][0]
    assert asked(service, "/healthcheck/live")[0] == 200
    drain.unlink()
    assert asked(service, "/healthcheck/ready")[0] == 200


def test_a_signal_makes_a_report_that_keeps_secrets(service: Running) -> None:
    service.process.send_signal(signal.SIGUSR2)

    def report() -> str | None:
        found = list(service.folder.glob("synergy-service_gurumeditation_*"))
        text = found[0].read_text() if found else ""
        return text if "backfill_depth" in text else None

    text = until(report)
    assert text is not None
    assert "Threads" in text
    assert "scheduler = RUNNING" in text
    assert "connection = ***" in text
    assert "sqlite:///" not in text
    assert service.process.poll() is None


def test_the_end_is_announced_to_systemd(service: Running, notified: Notified) -> None:
    heard(notified[1])
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(timeout=60) == 0
    assert "STOPPING=1" in heard(notified[1])


def test_a_file_that_is_touched_may_trigger_the_report_instead(tmp_path: Path) -> None:
    conf, trigger = tmp_path / "synergy.conf", tmp_path / "trigger"
    conf.write_text(f"[oslo_reports]\nfile_event_handler = {trigger}\nlog_dir = {tmp_path}\n")
    trigger.touch()
    code = f"""
import os, pathlib, signal, time
from synergy.service import meditation
from synergy.service.options import new_conf
conf = new_conf()
conf(["--config-file", {str(conf)!r}], project="synergy")
meditation.set_up(conf, lambda: {{"ready": True}})
assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
while not list(pathlib.Path({str(tmp_path)!r}).glob("*gurumeditation*")):
    os.utime({str(trigger)!r}, (time.time() + 1, time.time() + 1))
    time.sleep(0.05)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
