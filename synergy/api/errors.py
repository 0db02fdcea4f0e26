"""The only place where an error becomes a status; any other is a logged 500."""

import json
import logging
import math
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask, Response, g, jsonify
from werkzeug.exceptions import HTTPException

from synergy.core.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
    PolicyDenied,
    PreconditionFailed,
    SynergyError,
    TooManyRequests,
    Unauthenticated,
    UpstreamUnavailable,
)

LOG = logging.getLogger(__name__)
HTTP_STATUS: Final[dict[type[SynergyError], int]] = {
    InvalidInput: 400,
    Unauthenticated: 401,
    PolicyDenied: 403,
    NotFound: 404,
    Conflict: 409,
    PreconditionFailed: 412,
    TooManyRequests: 429,
    Overloaded: 503,
    UpstreamUnavailable: 503,
}
RETRY_AFTER_S: Final = 30
REACHED: Final = "synergy.reached"
_AWAY: Final = "Synergy, or something that it depends on, does not answer now: try again later"
_FOREIGN: Final = {  # what keystonemiddleware answers by itself
    401: (Unauthenticated.code, "the token in X-Auth-Token is not valid, or has expired"),
    503: (UpstreamUnavailable.code, "Keystone cannot validate the token now"),
}
Wsgi = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


def status_of(error: SynergyError) -> int:
    """Return the status of an error by its nearest class."""
    return next((HTTP_STATUS[cls] for cls in type(error).__mro__ if cls in HTTP_STATUS), 500)


def body_of(status: int, code: str, detail: str) -> dict[str, object]:
    """Return the one error shape."""
    return {"errors": [{"status": status, "code": code, "detail": detail}]}


def register(app: Flask) -> None:
    """Let `app` answer every error in the one shape."""

    @app.errorhandler(SynergyError)
    def ours(error: SynergyError) -> Response:
        status = status_of(error)
        if status == 500:
            LOG.error("request failed", exc_info=error)
            return _answer(500, error.code, "an internal error was logged")
        detail = str(error)
        if isinstance(error, UpstreamUnavailable) and not _operates():
            LOG.warning("a request could not be answered: %s", detail)
            detail = _AWAY
        answer = _answer(status, error.code, detail)
        if isinstance(error, TooManyRequests):
            answer.headers["Retry-After"] = str(math.ceil(error.retry_after_s))
        return answer

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Response:
        status = error.code or 500
        detail = error.description or error.name
        if status == 413:
            detail = f"the body is longer than {app.config['MAX_CONTENT_LENGTH']} bytes"
        answer = _answer(status, _code(status), detail)
        for name, value in error.get_headers():
            if name == "Allow":
                answer.headers[name] = value
        return answer

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Response:
        LOG.error("request failed", exc_info=error)
        return _answer(500, "internal_error", "an internal error was logged")


def _operates() -> bool:
    """Return whether the caller may read how the service is built: addresses, drivers, names."""
    caller = g.get("caller")
    return caller is not None and bool(caller.operates)


def _answer(status: int, code: str, detail: str) -> Response:
    answer = jsonify(body_of(status, code, detail))
    answer.status_code = status
    if status == 401:
        answer.headers["WWW-Authenticate"] = "Keystone"
    if status == 503:
        answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    return answer


def _code(status: int) -> str:
    try:
        return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    except ValueError:
        return "error"


def shaped(app: Wsgi) -> Wsgi:
    """Wrap middleware so that what it answers by itself has the one shape too.

    What lies below it notes in environ[REACHED] that it answers in its own words.
    """

    def served(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        seen: dict[str, Any] = {}

        def starting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            number = int(status.split(" ", 1)[0])
            if environ.get(REACHED):
                return start_response(status, headers, *rest)
            code, detail = _FOREIGN.get(number, (_code(number), status.split(" ", 1)[-1]))
            seen["body"] = json.dumps(body_of(number, code, detail)).encode()
            dropped = ("content-type", "content-length", "retry-after")
            kept = [(name, value) for name, value in headers if name.lower() not in dropped]
            kept += [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(seen["body"]))),
            ]
            if number == 503:
                kept.append(("Retry-After", str(RETRY_AFTER_S)))
            return start_response(status, kept, *rest)

        answer = app(environ, starting)
        if "body" not in seen:
            return answer
        for _ in answer:
            pass
        if hasattr(answer, "close"):
            answer.close()
        return [seen["body"]]

    return served
