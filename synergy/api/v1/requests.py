"""/v1/requests: what waits, why, and what became of it."""

from typing import Any

from flask import Blueprint, jsonify, request

from synergy.api import schema
from synergy.api.context import services
from synergy.core.errors import NotFound

bp = Blueprint("requests", __name__, url_prefix="/requests")


@bp.get("")
def list_requests() -> Any:
    """List requests, a page at a time; those that wait tell why."""
    query = schema.query_of(request, integers=("limit",))
    found = services().execute("queue", "list", query)
    _add_reasons(found)
    return jsonify(requests=found)


@bp.get("/<request_id>")
def show_request(request_id: str) -> Any:
    """Show a request with its history, and why it waits."""
    found = services().execute("queue", "show", {"request_id": request_id})
    return jsonify(request=found | _explained(request_id))


@bp.delete("/<request_id>")
def cancel_request(request_id: str) -> Any:
    """Withdraw a waiting request."""
    services().execute("queue", "cancel", {"request_id": request_id})
    return "", 204


def _add_reasons(found: list[dict[str, Any]]) -> None:
    waiting = sorted({one["class_id"] for one in found if one["state"] == "QUEUED"})
    try:
        reasons = services().execute("scheduler", "reasons", {"class_ids": waiting})
    except NotFound:
        reasons = {}  # this process runs no scheduler
    for one in found:
        queued = one["state"] == "QUEUED"
        delayed = queued and one["attempts"] > 0
        reason = reasons.get(str(one["class_id"])) if queued else None
        one["reason"] = "dispatch_retry" if delayed else reason


def _explained(request_id: str) -> dict[str, Any]:
    try:
        explained = services().execute("scheduler", "explain", {"request_id": request_id})
    except NotFound:
        return {"reason": None}
    return dict(explained)
