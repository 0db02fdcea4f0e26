"""/v1/projects: who takes part, with which shares and limits."""

from typing import Any

from flask import Blueprint, jsonify, request

from synergy.api import schema
from synergy.api.context import services

bp = Blueprint("projects", __name__, url_prefix="/projects")


@bp.get("")
def list_projects() -> Any:
    """List the managed projects."""
    return jsonify(projects=services().execute("project", "list", {}))


@bp.post("")
def add_project() -> Any:
    """Manage a project: `project` names it, the rest are its settings."""
    made = services().execute("project", "add", schema.body_of(request))
    return jsonify(project=made), 201


@bp.get("/<project>")
def show_project(project: str) -> Any:
    """Show a managed project."""
    return jsonify(project=services().execute("project", "show", {"project": project}))


@bp.patch("/<project>")
def set_project(project: str) -> Any:
    """Change a managed project."""
    body = schema.body_of(request) | {"project": project}
    return jsonify(project=services().execute("project", "set", body))


@bp.delete("/<project>")
def remove_project(project: str) -> Any:
    """Manage a project no longer."""
    services().execute("project", "remove", {"project": project})
    return "", 204


@bp.patch("/<project>/users/<user>")
def set_user(project: str, user: str) -> Any:
    """Change a user's shares."""
    body = schema.body_of(request) | {"project": project, "user": user}
    return jsonify(user=services().execute("project", "set_user", body))
