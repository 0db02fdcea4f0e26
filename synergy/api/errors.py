"""The only place where an error becomes a status; any other is a logged 500."""

import logging
from typing import Any, Final

from flask import Flask, jsonify
from werkzeug.exceptions import HTTPException

from synergy.core.errors import (
    Conflict,
    HandOverFailed,
    InvalidInput,
    NotFound,
    SealBroken,
    SynergyError,
    UpstreamUnavailable,
)

LOG = logging.getLogger(__name__)
HTTP_STATUS: Final[dict[type[SynergyError], int]] = {
    InvalidInput: 400,
    NotFound: 404,
    Conflict: 409,
    SealBroken: 500,
    HandOverFailed: 503,
    UpstreamUnavailable: 503,
}


def status_of(error: SynergyError) -> int:
    """Return the status of an error by its nearest class."""
    return next((HTTP_STATUS[cls] for cls in type(error).__mro__ if cls in HTTP_STATUS), 500)


def body_of(status: int, code: str, detail: str) -> dict[str, Any]:
    """Return the one error shape."""
    return {"errors": [{"status": status, "code": code, "detail": detail}]}


def register(app: Flask) -> None:
    """Let `app` answer every error in the one shape."""

    @app.errorhandler(SynergyError)
    def ours(error: SynergyError) -> Any:
        status = status_of(error)
        if status == 500:
            LOG.error("request failed", exc_info=error)
        return jsonify(body_of(status, error.code, str(error))), status

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> Any:
        status = error.code or 500
        code = (error.name or "error").lower().replace(" ", "_")
        return jsonify(body_of(status, code, error.description or error.name)), status

    @app.errorhandler(Exception)
    def unknown(error: Exception) -> Any:
        LOG.error("request failed", exc_info=error)
        return jsonify(body_of(500, "internal_error", "an internal error was logged")), 500
