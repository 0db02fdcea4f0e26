"""Checks bodies and queries against JSON Schema."""

from collections.abc import Mapping
from typing import Any

import jsonschema
from flask import Request

from synergy.core.errors import InvalidInput


def check(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value if it fits. Raises InvalidInput naming the place and what is allowed."""
    try:
        jsonschema.validate(value, schema)
    except jsonschema.ValidationError as error:
        place = ".".join(str(part) for part in error.absolute_path)
        raise InvalidInput(f"{place}: {error.message}" if place else error.message) from error
    return value


def body_of(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request; nothing is an empty one. Raises InvalidInput."""
    if not request.get_data(cache=True):
        return {}
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise InvalidInput("the body must be a JSON object")
    return body


def query_of(request: Request, integers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the query, with those parameters as numbers. Raises InvalidInput."""
    query: dict[str, Any] = request.args.to_dict()
    for name in integers:
        if name in query:
            if not query[name].isdecimal():
                raise InvalidInput(f"{name} is {query[name]!r}, but must be a whole number")
            query[name] = int(query[name])
    return query
