"""SIGHUP: values that may change do so in place, a wrong file changes nothing, secrets stay."""

import logging
import signal
from pathlib import Path

import pytest
from oslo_config import cfg

from synergy.service.main import read_configuration
from synergy.service.options import new_conf
from synergy.service.reload import Reloader
from synergy.service.signals import Signals

GOOD = """
[DEFAULT]
cloud = embedded
[database]
connection = sqlite:////nowhere/secret-password
[api]
auth_strategy = none
port = 8051
[scheduler]
rate_s = 30
backfill_depth = 5
[keystone_authtoken]
password = secret-password
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "synergy.conf"
    path.write_text(GOOD)
    return path


@pytest.fixture
def running(file: Path, caplog: pytest.LogCaptureFixture) -> tuple[cfg.ConfigOpts, Reloader]:
    caplog.set_level(logging.INFO, "synergy")
    conf, argv = new_conf(), ["--config-file", str(file)]
    read_configuration(conf, argv)
    assert (conf.scheduler.rate_s, conf.scheduler.backfill_depth) == (30, 5)
    return conf, Reloader(conf, argv, read_configuration)


def test_values_that_may_change_do_and_are_told_with_old_and_new(
    file: Path, running: tuple[cfg.ConfigOpts, Reloader], caplog: pytest.LogCaptureFixture
) -> None:
    conf, reload = running
    file.write_text(GOOD.replace("rate_s = 30", "rate_s = 7").replace("backfill_depth = 5", ""))
    reload()
    assert (conf.scheduler.rate_s, conf.scheduler.backfill_depth) == (7, 100)
    assert "[scheduler] rate_s changed from 30.0 to 7.0" in caplog.text
    assert "[scheduler] backfill_depth changed from 5 to 100" in caplog.text
    caplog.clear()
    reload()
    assert "nothing changed" in caplog.text


def test_what_needs_a_restart_is_named_and_no_secret_is_told(
    file: Path, running: tuple[cfg.ConfigOpts, Reloader], caplog: pytest.LogCaptureFixture
) -> None:
    conf, reload = running
    file.write_text(GOOD.replace("8051", "8052").replace("secret-password", "new-secret-password"))
    reload()
    assert conf.api.port == 8051
    assert "[api] port is 8052 in the file, and stays 8051 until the service is restarted" in (
        caplog.text
    )
    assert "[database] connection is *** in the file" in caplog.text
    assert "[keystone_authtoken] password is *** in the file" in caplog.text
    assert "secret-password" not in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("rate_s = 30", "rate_s = soon", "[scheduler] rate_s: "),
        ("rate_s = 30", "rate_s = -1", "[scheduler] rate_s: "),
        ("rate_s = 30", "rate_s = 7\nrats_s = 7", "has no option 'rats_s'"),
        ("[scheduler]", "[schedular]", "there is no section [schedular]"),
        ("[scheduler]", "[scheduler", "Invalid section"),
        ("[scheduler]", "[scheduler]\n???", "at "),
        (GOOD, None, "Failed to find some config files"),
        (GOOD, Path, "Is a directory"),
        (GOOD, b"[scheduler]\nrate_s = \xff\xfe\x80", "is not text"),
        (GOOD, b"\x00\x7fELF\x02", "at "),
    ],
)
def test_a_wrong_file_changes_nothing_and_is_one_error(
    file: Path,
    running: tuple[cfg.ConfigOpts, Reloader],
    caplog: pytest.LogCaptureFixture,
    old: str,
    new: bytes | str | type[Path] | None,
    told: str,
) -> None:
    conf, reload = running
    if new is None:
        file.unlink()
    elif isinstance(new, type):
        file.unlink()
        file.mkdir()
    elif isinstance(new, bytes):
        file.write_bytes(new)
    else:
        file.write_text(GOOD.replace("backfill_depth = 5", "backfill_depth = 6").replace(old, new))
    assert reload() == []
    assert (conf.scheduler.rate_s, conf.scheduler.backfill_depth) == (30, 5)
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert "the configuration is not reloaded, because the new one is wrong: " in caplog.text
    assert told in caplog.text


def test_a_signal_whose_handling_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    handled = []

    def fail() -> None:
        handled.append("HUP")
        raise OSError("the disk is gone")

    before = signal.getsignal(signal.SIGHUP)
    signals = Signals({signal.SIGHUP: fail})
    try:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        signals.end(3)
        assert signals.wait() == 3
    finally:
        signal.signal(signal.SIGHUP, before)
    assert handled == ["HUP", "HUP"]
    assert "signal SIGHUP could not be handled" in caplog.text
