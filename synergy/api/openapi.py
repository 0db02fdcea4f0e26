"""The OpenAPI 3.1 document, made from the routes and the schemas of the answers."""

import re
from collections.abc import Sequence
from typing import Any

from synergy.api.errors import HTTP_STATUS
from synergy.api.routing import Lane, Route, Schema
from synergy.api.schemas import COMPONENTS
from synergy.core.declared.shapes import ref

_TOKEN = {"keystone": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}}


def document(routes: Sequence[Route], version: str, *, secured: bool) -> Schema:
    """Return the document of the routes; `secured` ones need a token."""
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, secured=secured)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Synergy",
            "version": version,
            "summary": "A fair, shared queue for OpenStack clouds.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": dict(COMPONENTS), "securitySchemes": _TOKEN},
    }


def _operation(route: Route, *, secured: bool) -> Schema:
    noun = re.match(r"/v1/([a-z]+)", route.path)
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [noun.group(1) if noun else "service"],
        "parameters": [_in_path(name) for name in route.parameters]
        + [_in_query(name, schema) for name, schema in route.query.items()],
        "responses": _responses(route),
    }
    if route.rule is not None and secured:
        found["security"] = [{"keystone": []}]
    if route.rule is not None:
        found["x-policy-rule"] = f"synergy:{route.rule}"
    if route.matches and route.method != "GET":
        found["parameters"].append(
            {
                "name": "If-Match",
                "in": "header",
                "description": "The ETag that the caller last saw; 412 when it is stale.",
                "schema": {"type": "string"},
            }
        )
    if route.body is not None:
        found["requestBody"] = {
            "required": bool(route.body.get("required") or route.body.get("anyOf")),
            "content": {"application/json": {"schema": route.body}},
        }
    return found


def _in_path(name: str) -> Schema:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(name: str, schema: Schema) -> Schema:
    found = {"name": name, "in": "query", "required": False, "schema": schema}
    if schema.get("type") == "array":
        found |= {"style": "form", "explode": True}
    return found


def _responses(route: Route) -> Schema:
    good: dict[str, object] = {"description": route.summary}
    if route.answer is not None:
        good["content"] = {route.media_type: {"schema": route.answer}}
    if route.matches and route.answer is not None:
        good["headers"] = {"ETag": {"description": "For If-Match.", "schema": {"type": "string"}}}
    error = {
        "description": "The one shape of an error.",
        "content": {"application/json": {"schema": ref("Error")}},
    }
    expected = {400, 404, 405, 413, *HTTP_STATUS.values()}
    if route.rule is None:
        expected -= {401}
    if route.lane is not Lane.COSTLY:
        expected -= {429}
    found = {str(route.status): good}
    if route.tried is not None:
        found["200"] = {
            "description": "What it would do, asked for with dry_run.",
            "content": {route.media_type: {"schema": route.tried}},
        }
    if route.path.startswith("/healthcheck"):
        found["503"] = good
        expected -= {503}
    return found | {str(status): error for status in sorted(expected)}
