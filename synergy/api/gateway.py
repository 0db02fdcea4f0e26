"""Between the HTTP server and the application: a request is whole before a thread is given to it.

Why: the server speaks ASGI on one thread, the application is WSGI and blocks. A body that arrives a
byte at a time, or an answer that nobody reads, costs the event loop a few bytes here and never one
of the threads that answer. Must not know routes: which lane a request takes is asked of `lane_of`.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any, Final
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIEnvironment

from synergy.api.errors import RETRY_AFTER_S, Wsgi, body_of
from synergy.api.lanes import LaneThreads
from synergy.api.listener import Connections
from synergy.core.errors import Overloaded

LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
LaneOf = Callable[[str, str], str]  # method and path to the name of a lane
_PIECE: Final = 64 * 1024
_BODIES: Final = 64 * 1024 * 1024  # bytes of unfinished bodies together, unless one may be longer
_DROPPED: Final = 64 * 1024 * 1024  # bytes of a refused body that are read and dropped at most


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """How long a body may be, and how long it and its answer may take on the way."""

    body_bytes: int
    body_s: float
    answer_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Gateway:
    """The ASGI application that a server is given."""

    def __init__(
        self,
        app: Wsgi,
        lanes: Mapping[str, LaneThreads],
        lane_of: LaneOf,
        limits: BodyLimits,
        connections: Connections | None,
    ) -> None:
        """connections  None where those who may connect are trusted"""
        self._app, self._lanes, self._lane_of = app, lanes, lane_of
        self._limits, self._connections = limits, connections
        self._bodies = 0

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        connections = self._connections
        if connections is None:
            await self._answer(scope, receive, send, nullcontext())
            return
        peer = scope["client"] and tuple(scope["client"])
        with connections.with_request(peer):
            try:
                await self._answer(scope, receive, send, connections.at_work(peer))
            except TimeoutError:
                connections.end(peer, "answers that nobody read")

    async def _answer(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
        at_work: AbstractContextManager[None],
    ) -> None:
        reply = await self._reply(scope, receive, at_work)
        if reply is None:
            return
        async with asyncio.timeout(self._limits.answer_s):
            await send(
                {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
            )
            # In pieces: after each the server waits until the other side has taken enough.
            pieces = range(0, max(1, len(reply.body)), _PIECE)
            for start in pieces:
                piece = reply.body[start : start + _PIECE]
                more = start + _PIECE < len(reply.body)
                await send({"type": "http.response.body", "body": piece, "more_body": more})

    async def _reply(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Message]],
        at_work: AbstractContextManager[None],
    ) -> Reply | None:
        """Return the answer to a request; None when nobody waits for it any more."""
        try:
            async with asyncio.timeout(self._limits.body_s):
                try:
                    body = await self._whole_body(scope, receive)
                except _Refused:
                    await _drop_rest(receive)
                    raise
        except TimeoutError:
            why = f"the body did not arrive within {self._limits.body_s:g} s"
            return _refusal(408, why, close=True)
        except _Refused as refused:
            return refused.reply
        if body is None:
            return None
        environ = _environ(scope, body)
        lane = self._lanes[self._lane_of(environ["REQUEST_METHOD"], environ["PATH_INFO"])]
        try:
            with at_work:
                reply: Reply = await lane.run(lambda: _called(self._app, environ))
        except Overloaded as error:
            return _refusal(503, str(error), code=error.code)
        except Exception:
            LOG.exception("a request failed")
            return _refusal(500, "an internal error was logged", code="internal_error")
        return reply

    async def _whole_body(
        self, scope: Scope, receive: Callable[[], Awaitable[Message]]
    ) -> bytes | None:
        """Return the body; None when the other side is gone. Raises _Refused."""
        maximum = self._limits.body_bytes
        too_long = _Refused(_refusal(413, f"the body is longer than {maximum} bytes"))
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > maximum:
            raise too_long
        parts: list[bytes] = []
        kept = 0
        try:
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                part = message.get("body", b"")
                parts.append(part)
                kept += len(part)
                self._bodies += len(part)
                if kept > maximum:
                    raise too_long
                if self._bodies > max(_BODIES, maximum):
                    raise _Refused(_refusal(503, "too many bodies are on their way: try again"))
                if not message.get("more_body", False):
                    return b"".join(parts)
        finally:
            self._bodies -= kept


async def _drop_rest(receive: Callable[[], Awaitable[Message]]) -> None:
    """Take what still comes of a refused body, or who sends would see a reset instead of the
    answer: many clients read only once they have sent everything."""
    dropped = 0
    while dropped <= _DROPPED:
        message = await receive()
        dropped += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


class _Refused(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply


def _refusal(status: int, detail: str, *, code: str = "", close: bool = False) -> Reply:
    """Return an error in the one shape; `close` ends the connection with it."""
    code = code or HTTPStatus(status).phrase.lower().replace(" ", "_")
    body = json.dumps(body_of(status, code, detail)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if close:
        headers.append((b"connection", b"close"))
    if status == 503:
        headers.append((b"retry-after", b"%d" % RETRY_AFTER_S))
    return Reply(status, headers, body)


def _environ(scope: Scope, body: bytes) -> WSGIEnvironment:
    """Return what WSGI (PEP 3333) knows of a request.

    A header with an underscore in its name is left out: in WSGI it would look like another one.
    """
    server, client = scope.get("server") or ("localhost", None), scope.get("client")
    path = unquote_to_bytes(scope["raw_path"]).decode("latin-1")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path if path.startswith("/") else f"/{path}",
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": client[0] if client else "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme") or "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": _Errors(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").upper(), raw_value.decode("latin-1")
        if "_" in name or name in ("CONTENT-LENGTH", "TRANSFER-ENCODING"):
            continue
        key = "CONTENT_TYPE" if name == "CONTENT-TYPE" else f"HTTP_{name.replace('-', '_')}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


class _Errors:
    """What WSGI applications write of themselves goes to the log."""

    def write(self, text: str) -> int:
        LOG.warning("%s", text)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""


def _called(app: Wsgi, environ: WSGIEnvironment) -> Reply:
    """Call a WSGI application, and return its whole answer."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], *_: Any) -> Callable[..., Any]:
        started.append((status, headers))
        return lambda _data: None

    answer: Iterable[bytes] = app(environ, start_response)
    try:
        body = b"".join(answer)
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()
    status, headers = started[-1]
    encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Reply(int(status.split(" ", 1)[0]), encoded, body)
