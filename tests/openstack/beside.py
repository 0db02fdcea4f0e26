"""Synergy as a process beside the lab: configured, started, killed, asked over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from lab.settings import SECRET, Settings
from tests import patience
from tests.openstack import options

BIN = Path(sys.executable).parent
T = TypeVar("T")


def until(condition: Callable[[], T], patience_s: float = 60.0, step_s: float = 0.2) -> T:
    """Wait for something true, and return it; "come back later" from the API is not true yet."""

    def asked() -> T | None:
        try:
            return condition()
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503:
                    raise
        return None

    found = patience.until(asked, patience_s, step_s)
    assert found is not None
    return found


class Beside:
    """One service, with a folder of its own; a section given as a keyword changes its options."""

    def __init__(self, settings: Settings, folder: Path, **sections: dict[str, Any]) -> None:
        self.settings, self.folder = settings, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._issued = ""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.values: dict[str, dict[str, Any]] = {
            "DEFAULT": {"cloud": "openstack"},
            "database": {
                "connection": f"sqlite:///{folder}/synergy.sqlite",
                "keys_file": folder / "keys",
            },
            "api": {"port": self.port, "costly_per_minute": 1_000_000},
            "keystone_authtoken": {
                "auth_type": "password",
                "auth_url": f"{settings.url('keystone')}/v3",
                "www_authenticate_uri": f"{settings.url('keystone')}/v3",
                "username": "synergy",
                "password": SECRET,
                "project_name": "service",
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            "openstack": options.beside(settings),
        }
        self.configure(**sections)
        self.manage("keys", "create")
        self.manage("db", "upgrade")

    def configure(self, **sections: dict[str, Any]) -> None:
        for name, values in sections.items():
            self.values.setdefault(name, {}).update(values)
        lines = []
        for name, values in self.values.items():
            lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
        self.path = self.folder / "synergy.conf"
        self.path.write_text("\n".join(lines) + "\n")

    def manage(self, *words: str) -> tuple[int, str]:
        done = subprocess.run(
            [BIN / "synergy-manage", "--config-file", self.path, *words],
            capture_output=True, text=True, cwd=self.folder, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    @property
    def log(self) -> str:
        path = self.folder / "service.log"
        return path.read_text() if path.exists() else ""

    def start(self, path: str = "/v1/managers") -> Self:
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "synergy-service", "--config-file", self.path],
                stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        until(lambda: self._answers(path), 60)
        return self

    def _answers(self, path: str) -> Any:
        assert self._process is not None
        assert self._process.poll() is None, self.log[-3000:]
        try:
            return self.ask("GET", path)
        except OSError:
            return None

    def kill(self) -> None:
        """kill -9, the whole group: nothing of ours may run on the way out."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask the API as an administrator; a token that expired is replaced, as a client does."""
        try:
            return self._asked(method, path, body)
        except urllib.error.HTTPError as error:
            if error.code != 401:
                raise
            error.close()
            self._issued = ""
            return self._asked(method, path, body)

    def _asked(self, method: str, path: str, body: object) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Auth-Token": self._token()},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def _token(self) -> str:
        """Return an administrator's token of Keystone, asked for once."""
        if not self._issued:
            user = {"name": "admin", "domain": {"id": "default"}, "password": SECRET}
            project = {"name": "admin", "domain": {"id": "default"}}
            asked = {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": project},
            }
            request = urllib.request.Request(
                f"{self.settings.url('keystone')}/v3/auth/tokens",
                data=json.dumps({"auth": asked}).encode(),
                headers={"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._issued = answer.headers["X-Subject-Token"]
        return self._issued

    def command(self, manager: str, name: str, **arguments: object) -> Any:
        return self.ask("POST", f"/v1/managers/{manager}/commands/{name}", arguments)["result"]

    def requests(self, **query: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        marker: str | None = None
        while True:
            words = [f"{k}={v}" for k, v in (query | {"limit": 1000}).items()]
            words += [f"marker={marker}"] if marker else []
            page = self.ask("GET", f"/v1/requests?{'&'.join(words)}")["requests"]
            if not page:
                return found
            found += page
            marker = page[-1]["id"]

    def states(self, *ids: Iterable[str]) -> list[str | None]:
        known = {one["id"]: one["state"] for one in self.requests()}
        return [known.get(one) for one in ids]
