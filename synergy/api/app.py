"""The Flask application factory, given the services that it calls."""

from typing import Any, Final

from flask import Flask, jsonify

from synergy.api import errors
from synergy.api.services import Services
from synergy.api.v1 import managers, projects, quotas, requests

LONGEST_BODY: Final = 1024 * 1024


def create_app(services: Services) -> Flask:
    """Return the application."""
    app = Flask("synergy.api")
    app.config["MAX_CONTENT_LENGTH"] = LONGEST_BODY
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["synergy"] = services
    errors.register(app)
    for blueprint in (managers.bp, projects.bp, requests.bp, quotas.bp):
        app.register_blueprint(blueprint, url_prefix=f"/v1{blueprint.url_prefix}")

    @app.get("/")
    def versions() -> Any:
        return jsonify(versions=[{"id": "v1", "status": "CURRENT", "links": [{"href": "/v1"}]}])

    @app.get("/healthcheck")
    def healthcheck() -> Any:
        states = {one["name"]: one["status"] for one in services.managers()}
        healthy = all(state not in ("DEGRADED", "ERROR") for state in states.values())
        return jsonify(healthy=healthy, managers=states), 200 if healthy else 503

    return app
