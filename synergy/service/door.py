"""The service's inner door: other processes on this machine call its managers through it.

Why: the API may be served by uwsgi or mod_wsgi, but the managers run here. A call is one HTTP
request on a UNIX socket that only its owner may open, so there is no password to keep. Must not
know what a manager does: a call is a name and arguments, an answer a result or one of our errors.
"""

import http.client
import json
import logging
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from synergy.api.gateway import BodyLimits, Gateway
from synergy.api.lanes import LaneThreads
from synergy.api.server import ServerThread
from synergy.api.services import ServiceHost
from synergy.core import errors
from synergy.core.declared.answers import Change, Manager, Readiness
from synergy.core.errors import SynergyError, UpstreamUnavailable

LOG = logging.getLogger(__name__)
LONGEST_ANSWER_S: Final = 60.0
_LIMITS: Final = BodyLimits(body_bytes=16 * 1024**2, body_s=10, answer_s=LONGEST_ANSWER_S)
_CALLS: Final = (
    "health", "managers", "manager", "start_manager", "stop_manager", "execute", "begin_change",
    "settle_change", "changes",
)  # fmt: skip
_ERRORS: Final = {
    cls.code: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, SynergyError)
}


class Door:
    """Answers calls at a path, on threads of this process."""

    def __init__(self, host: ServiceHost, path: str) -> None:
        self._host, self._path = host, path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        lanes = {"calls": LaneThreads("calls", 8)}
        gateway = Gateway(self._served, lanes, lambda *_: "calls", _LIMITS, None)
        self._server = ServerThread(
            "door", gateway, lanes, self._listener, header_bytes=16 * 1024, idle_s=60
        )

    def start(self) -> None:
        """Make the socket, for its owner only, and begin to answer. Raises OSError."""
        Path(self._path).unlink(missing_ok=True)  # what a killed service left; the lock is ours
        mask = os.umask(0o177)
        try:
            self._listener.bind(self._path)
        finally:
            os.umask(mask)
        self._server.start()

    def stop(self) -> None:
        """Stop answering, and remove the socket."""
        self._server.stop()
        self._server.join()
        Path(self._path).unlink(missing_ok=True)

    def _served(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        status, answer = "200 OK", b""
        try:
            asked = json.loads(environ["wsgi.input"].read(length))
            answer = json.dumps({"result": self._call(asked)}).encode()
        except SynergyError as error:
            answer = json.dumps({"error": {"code": error.code, "detail": str(error)}}).encode()
        except Exception:
            LOG.exception("a call at the inner door failed")
            status = "500 Internal Server Error"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        start_response(status, headers)
        return [answer]

    def _call(self, asked: Mapping[str, Any]) -> object:
        if asked["call"] not in _CALLS:
            raise errors.NotFound(f"there is no call {asked['call']!r}")
        return getattr(self._host, asked["call"])(*asked["arguments"])


class BehindDoor:
    """The managers' process, reached by its inner door; see `api.services.ServiceHost`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def health(self) -> Readiness:
        """Return whether the service is ready and healthy, and why not."""
        found: Readiness = self._ask("health")
        return found

    def managers(self) -> list[Manager]:
        """Return what is to be shown of every manager."""
        found: list[Manager] = self._ask("managers")
        return found

    def manager(self, name: str) -> Manager:
        """Return what is to be shown of one manager. Raises NotFound."""
        found: Manager = self._ask("manager", name)
        return found

    def start_manager(self, name: str) -> Manager:
        """Let a paused manager run. Raises NotFound."""
        found: Manager = self._ask("start_manager", name)
        return found

    def stop_manager(self, name: str) -> Manager:
        """Pause a manager. Raises NotFound."""
        found: Manager = self._ask("stop_manager", name)
        return found

    def execute(self, name: str, command: str, arguments: Mapping[str, object]) -> object:
        """Run a command. Raises what the command raises, and UpstreamUnavailable."""
        return self._ask("execute", name, command, dict(arguments))

    def begin_change(self, entry: Mapping[str, object]) -> int:
        """Write down a change that is about to be made. Raises UpstreamUnavailable."""
        return int(self._ask("begin_change", dict(entry)))

    def settle_change(self, number: int, settled: Mapping[str, object]) -> None:
        """Write down what became of it. Raises UpstreamUnavailable."""
        self._ask("settle_change", number, dict(settled))

    def changes(self, filters: Mapping[str, object]) -> list[Change]:
        """Return changes that were asked for. Raises InvalidInput."""
        found: list[Change] = self._ask("changes", dict(filters))
        return found

    def _ask(self, call: str, *arguments: object) -> Any:
        connection = _UnixConnection(self._path)
        try:
            connection.request("POST", "/", json.dumps({"call": call, "arguments": arguments}))
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            LOG.warning("synergy-service does not answer at %s: %s", self._path, error)
            raise UpstreamUnavailable("synergy-service does not answer at [api] socket") from error
        finally:
            connection.close()
        if response.status != 200:
            raise SynergyError("synergy-service failed, and logged why")
        answer = json.loads(raw)
        if "error" in answer:
            told = answer["error"]
            raise _ERRORS.get(told["code"], SynergyError)(told["detail"])
        return answer["result"]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=LONGEST_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
