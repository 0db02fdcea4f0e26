"""/v1/quotas: what the cloud has, what is shared, and who holds what."""

from typing import Any

from flask import Blueprint, jsonify

from synergy.api.context import services

bp = Blueprint("quotas", __name__, url_prefix="/quotas")


@bp.get("")
def show_quota() -> Any:
    """Show the quota of the cloud and of its managed projects."""
    return jsonify(quota=services().execute("quota", "show", {}))
