"""/v1/managers: what runs, and its commands."""

from typing import Any

from flask import Blueprint, jsonify, request

from synergy.api import schema
from synergy.api.context import services

bp = Blueprint("managers", __name__, url_prefix="/managers")


@bp.get("")
def list_managers() -> Any:
    """List the managers."""
    return jsonify(managers=services().managers())


@bp.get("/<name>")
def show_manager(name: str) -> Any:
    """Show one manager."""
    return jsonify(manager=services().manager(name))


@bp.post("/<name>/start")
def start_manager(name: str) -> Any:
    """Let a paused manager run."""
    return jsonify(manager=services().start_manager(name))


@bp.post("/<name>/stop")
def stop_manager(name: str) -> Any:
    """Pause a manager."""
    return jsonify(manager=services().stop_manager(name))


@bp.post("/<name>/commands/<command>")
def execute(name: str, command: str) -> Any:
    """Run a command; the body holds its arguments."""
    return jsonify(result=services().execute(name, command, schema.body_of(request)))
