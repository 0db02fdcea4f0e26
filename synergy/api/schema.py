"""Checks bodies and queries against JSON Schema, and turns query strings into values."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from synergy.api.routing import Route, Schema, object_of, unique
from synergy.core.errors import InvalidInput


class Checker:
    """The schemas of one route, made ready once."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._body = Draft202012Validator(route.body or {})
        self._query = Draft202012Validator(object_of(route.query))

    def body_of(self, request: Request) -> dict[str, Any]:
        """Return the JSON object of a request; nothing is an empty one. Raises InvalidInput."""
        raw = request.get_data(cache=False)
        body = _parsed(raw) if raw else {}
        if not isinstance(body, dict):
            raise InvalidInput("the body must be a JSON object")
        if self._route.body is None:
            if body:
                raise InvalidInput(f"{self._route.method} {self._route.path} takes no body")
            return {}
        _check(self._body, body)
        return body

    def query_of(self, request: Request) -> dict[str, Any]:
        """Return the parameters of the query as values. Raises InvalidInput."""
        query: dict[str, Any] = {}
        for name, texts in request.args.lists():
            query[name] = _read(name, texts, self._route.query.get(name, {}))
        _check(self._query, query)
        return query


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw, parse_constant=_no_number, parse_float=_number)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not JSON: {error}"[:200]) from error


def _number(text: str) -> float | int:
    """To JSON Schema 4.0 is an integer."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _read(name: str, texts: list[str], schema: Schema) -> Any:
    if schema.get("type") == "array":
        return [part for text in texts for part in text.split(",")]
    text = unique(texts, name)
    if schema.get("type") == "integer":
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise InvalidInput(f"{name} is {text[:40]!r}, but must be a whole number")
        return int(text)
    return text


def _check(validator: Draft202012Validator, value: Mapping[str, Any]) -> None:
    error = best_match(validator.iter_errors(value))
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path)
        if error.validator == "minProperties":
            known = ", ".join(error.schema["properties"])
            raise InvalidInput(f"nothing is given: give one of {known}")
        told = f"{place}: {error.message}" if place else error.message
        raise InvalidInput(told[:400])
