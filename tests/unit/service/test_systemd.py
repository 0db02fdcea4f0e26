"""What systemd hears of the service."""

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synergy.service.systemd import Systemd


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[str, Callable[..., Any]]]:
    """The socket of a service manager, and a reader of what came."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield str(tmp_path / "notify"), lambda: listening.recv(4096).decode()


def test_each_state_is_a_datagram_of_its_own(manager: tuple[str, Callable[..., Any]]) -> None:
    address, heard = manager
    systemd = Systemd({"NOTIFY_SOCKET": address})
    systemd.ready()
    assert heard() == "READY=1"
    systemd.reloading()
    assert re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=\d+", heard())
    systemd.stopping()
    assert heard() == "STOPPING=1"
    systemd.status("two\nlines READY=1")
    assert heard() == "STATUS=two lines READY=1"


def test_the_watchdog_is_fed_only_if_there_is_one_for_this_process(
    manager: tuple[str, Callable[..., Any]],
) -> None:
    address, heard = manager
    own = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}
    Systemd({**own, "WATCHDOG_PID": str(os.getpid())}).alive()
    assert heard() == "WATCHDOG=1"
    assert Systemd(own).watchdog_s == 30
    for other in (
        {"NOTIFY_SOCKET": address},
        {**own, "WATCHDOG_PID": str(os.getpid() + 1)},
        {**own, "WATCHDOG_USEC": "soon"},
    ):
        Systemd(other).alive()
        with pytest.raises(BlockingIOError):
            heard()


def test_an_address_in_the_abstract_namespace_is_reached() -> None:
    name = f"synergy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        Systemd({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listening.recv(100) == b"READY=1"


def test_without_systemd_nothing_is_sent_and_one_that_is_away_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Systemd({}).ready()
        assert caplog.messages == []
        Systemd({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()
    assert "cannot be notified" in caplog.text
