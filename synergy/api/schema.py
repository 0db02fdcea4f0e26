"""Checks bodies and queries against JSON Schema, and turns query strings into values."""

from collections.abc import Mapping
from typing import Final

from flask import Request
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from synergy.api.body import read_object
from synergy.api.routing import Route, Schema, unique
from synergy.core.declared.sentences import sentence_of
from synergy.core.declared.shapes import object_of
from synergy.core.errors import InvalidInput

_FLAGS: Final = {"true": True, "false": False}


class Checker:
    """The schemas of one route, made ready once."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._body = Draft202012Validator(route.body or {})
        self._query = Draft202012Validator(object_of(route.query))

    def body_of(self, request: Request) -> dict[str, object]:
        """Return the JSON object of a request; nothing is an empty one. Raises InvalidInput."""
        body = read_object(request.get_data(cache=False), request.headers.get("Content-Type", ""))
        if self._route.body is None:
            if body:
                raise InvalidInput(f"{self._route.method} {self._route.path} takes no body")
            return {}
        _check(self._body, body)
        return body

    def query_of(self, request: Request) -> dict[str, object]:
        """Return the parameters of the query as values. Raises InvalidInput."""
        query: dict[str, object] = {}
        for name, texts in request.args.lists():
            query[name] = _read(name, texts, self._route.query.get(name, {}))
        _check(self._query, query)
        return query


def _read(name: str, texts: list[str], schema: Schema) -> object:
    if schema.get("type") == "array":
        return [part for text in texts for part in text.split(",")]
    text = unique(texts, name)
    if schema.get("type") == "integer":
        if not (text.isascii() and text.isdecimal() and len(text) < 20):
            raise InvalidInput(f"{name} is {text[:40]!r}, but must be a whole number")
        return int(text)
    if schema.get("type") == "boolean":
        if text.lower() not in _FLAGS:
            raise InvalidInput(f"{name} is {text[:40]!r}, but must be true or false")
        return _FLAGS[text.lower()]
    return text


def _check(validator: Draft202012Validator, value: Mapping[str, object]) -> None:
    errors = list(validator.iter_errors(value))
    error = best_match(errors)
    if error is not None:
        if all(one.validator == "anyOf" and not one.absolute_path for one in errors):
            known = ", ".join(name for one in errors[0].validator_value for name in one["required"])
            raise InvalidInput(f"nothing is given: give one of {known}")
        raise InvalidInput(sentence_of(error))
