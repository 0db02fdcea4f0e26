"""Local RPC: lets other processes on this machine call the managers of the service.

Why: uwsgi or mod_wsgi may serve the API, but the managers run in this process. A call is one HTTP
request on a UNIX socket that only its owner can open, so there is no password to keep. Must not
know what a manager does: a call is a name and arguments, an answer is a result or one of our
errors.
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
from synergy.core.declared.answers.service import Change, Manager, Readiness
from synergy.core.errors import SynergyError, UpstreamUnavailable

LOG = logging.getLogger(__name__)
MAX_RESPONSE_S: Final = 60.0
_LIMITS: Final = BodyLimits(body_bytes=16 * 1024**2, body_s=10, answer_s=MAX_RESPONSE_S)
_CALLS: Final = (
    "health", "managers", "manager", "start_manager", "stop_manager", "execute", "begin_change",
    "settle_change", "changes",
)  # fmt: skip
_ERRORS: Final = {
    cls.code: cls
    for cls in vars(errors).values()
    if isinstance(cls, type) and issubclass(cls, SynergyError)
}


class LocalRpcServer:
    """Answers calls on a UNIX socket, on threads of this process."""

    def __init__(self, host: ServiceHost, path: str) -> None:
        self._host, self._path = host, path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        lanes = {"calls": LaneThreads("calls", 8)}
        gateway = Gateway(self._handle, lanes, lambda *_: "calls", _LIMITS, None)
        self._server = ServerThread(
            "local-rpc", gateway, lanes, self._listener, header_bytes=16 * 1024, idle_s=60
        )

    def start(self) -> None:
        """Create the socket, for its owner only, and begin to answer. Raises OSError."""
        # A killed service leaves its socket behind. We hold the leadership, so nobody else uses it.
        Path(self._path).unlink(missing_ok=True)
        # umask and not chmod after bind: the socket must never be open to others, not even briefly.
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

    def _handle(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        status, answer = "200 OK", b""
        try:
            request = json.loads(environ["wsgi.input"].read(length))
            answer = json.dumps({"result": self._call(request)}).encode()
        except SynergyError as error:
            answer = json.dumps({"error": {"code": error.code, "detail": str(error)}}).encode()
        except Exception:
            LOG.exception("a local RPC call failed")
            status = "500 Internal Server Error"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))]
        start_response(status, headers)
        return [answer]

    def _call(self, request: Mapping[str, Any]) -> object:
        if request["call"] not in _CALLS:
            raise errors.NotFound(f"there is no call {request['call']!r}")
        return getattr(self._host, request["call"])(*request["arguments"])


class LocalRpcClient:
    """The managers' process, reached by local RPC; see `api.services.ServiceHost`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def health(self) -> Readiness:
        """Return whether the service is ready and healthy, and why not."""
        found: Readiness = self._call_remote("health")
        return found

    def managers(self) -> list[Manager]:
        """Return the state of every manager."""
        found: list[Manager] = self._call_remote("managers")
        return found

    def manager(self, name: str) -> Manager:
        """Return the state of one manager. Raises NotFound."""
        found: Manager = self._call_remote("manager", name)
        return found

    def start_manager(self, name: str) -> Manager:
        """Start a stopped manager. Raises NotFound."""
        found: Manager = self._call_remote("start_manager", name)
        return found

    def stop_manager(self, name: str) -> Manager:
        """Stop a manager. Raises NotFound."""
        found: Manager = self._call_remote("stop_manager", name)
        return found

    def execute(self, name: str, command: str, arguments: Mapping[str, object]) -> object:
        """Run a command. Raises the command's errors, and UpstreamUnavailable."""
        return self._call_remote("execute", name, command, dict(arguments))

    def begin_change(self, entry: Mapping[str, object]) -> int:
        """Record a change in the audit log before it is made. Raises UpstreamUnavailable."""
        return int(self._call_remote("begin_change", dict(entry)))

    def settle_change(self, number: int, settled: Mapping[str, object]) -> None:
        """Record the outcome of a change. Raises UpstreamUnavailable."""
        self._call_remote("settle_change", number, dict(settled))

    def changes(self, filters: Mapping[str, object]) -> list[Change]:
        """Return entries of the audit log. Raises InvalidInput."""
        found: list[Change] = self._call_remote("changes", dict(filters))
        return found

    def _call_remote(self, call: str, *arguments: object) -> Any:
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
            raise SynergyError("synergy-service failed; its log has the traceback")
        answer = json.loads(raw)
        if "error" in answer:
            error_fields = answer["error"]
            raise _ERRORS.get(error_fields["code"], SynergyError)(error_fields["detail"])
        return answer["result"]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=MAX_RESPONSE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
