"""Synergy's programs as processes, in a folder with a configuration, keys and a database."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from synergy.core.errors import ConfigurationInvalid
from synergy.db.key_file import create_keys
from synergy.service.main import check, read_configuration
from synergy.service.options import new_conf
from synergy.sim.engine import migrated_file

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
WAIT_S = 30


def run(
    *command: str | Path, cwd: Path, ok: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment, and check whether it ends well."""
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=cwd, capture_output=True, text=True,
        env=os.environ | environment, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configure(folder: Path, **sections: Mapping[str, object]) -> Path:
    """Write a configuration from the shipped one, with changes such as api={"port": 1}."""
    shipped = ROOT / "etc" / "synergy"
    (folder / "embedded-cloud.yaml").write_text((shipped / "embedded-cloud.yaml").read_text())
    text = (shipped / "embedded.conf").read_text()
    for section, values in sections.items():
        for name, value in values.items():
            lines = [line for line in text.splitlines() if not line.startswith(f"{name} =")]
            at = lines.index(f"[{section}]") if f"[{section}]" in lines else len(lines)
            if at == len(lines):
                lines.append(f"[{section}]")
            lines.insert(at + 1, f"{name} = {value}")
            text = "\n".join(lines)
    path = folder / "synergy.conf"
    path.write_text(text)
    return path


def prepare(folder: Path, **sections: Mapping[str, object]) -> Path:
    """Write a configuration, and what `keys create` and `db upgrade` would make for it.

    Two commands take longer than most tests that need a service: see `prepare_by_command`.
    """
    path = configure(folder, **sections)
    create_keys(folder / "synergy.keys")
    (folder / "synergy.sqlite").write_bytes(migrated_file())
    return path


def prepare_by_command(folder: Path) -> Path:
    """Write the shipped configuration, and do what an operator does before the first start."""
    path = configure(folder)
    run("synergy-manage", "--config-file", path, "keys", "create", cwd=folder)
    run("synergy-manage", "--config-file", path, "db", "upgrade", cwd=folder)
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    """What keeps the service from starting, without the seconds that a process takes to say it."""
    conf = new_conf()
    read_configuration(conf, ["--config-file", str(path)])
    with pytest.raises(ConfigurationInvalid) as refused:
        check(conf)
    return refused.value.problems


class Running:
    """A service process and its API."""

    def __init__(self, folder: Path, path: Path, port: int | str, url: str | None = None) -> None:
        self.folder, self.path, self.url = folder, path, url or f"http://127.0.0.1:{port}"
        self.log = (folder / "service.log").open("a")
        self.process = subprocess.Popen(
            [str(BIN / "synergy-service"), "--config-file", str(path)],
            cwd=folder, stdout=self.log, stderr=self.log, start_new_session=True,
        )  # fmt: skip
        try:
            self.until(lambda: self.get("/healthcheck")["healthy"])
        except BaseException:  # nothing of ours is left running
            self.stop()
            raise

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def until(self, holds: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while time.monotonic() < deadline_s:
            try:
                if holds():
                    return
            except (OSError, urllib.error.URLError):
                assert self.process.poll() is None, self.text()
            time.sleep(0.05)
        raise AssertionError(self.text())

    def text(self) -> str:
        return (self.folder / "service.log").read_text()

    def cli(self, *command: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        return run("synergy", "--endpoint", self.url, *command, cwd=self.folder, ok=ok)

    def json(self, *command: str) -> Any:
        return json.loads(self.cli(*command, "-f", "json").stdout)

    def execute(self, *command: str) -> Any:
        return json.loads(self.cli("manager", "execute", *command).stdout)

    def states(self) -> set[str]:
        """The states of its requests; a wait asks for them over and over, so not by a command."""
        return {row["state"] for row in self.get("/v1/requests")["requests"]}

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            target = self.process.pid
            (os.killpg if how == signal.SIGKILL else os.kill)(target, how)
        code = self.process.wait(timeout=WAIT_S)
        self.log.close()
        return code


@contextmanager
def serving(folder: Path) -> Iterator[Running]:
    port = free_port()
    path = prepare(folder, api={"port": port}, nova={"rate_s": 0.2})
    running = Running(folder, path, port)
    try:
        yield running
    finally:
        running.stop()
