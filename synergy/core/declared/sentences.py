"""What is wrong with a value, as a sentence: the thing, the value, and what is allowed.

Why: anyone who sends a wrong value reads this, on the command line or from the API, and should not
have to know JSON Schema or regular expressions. Must not know where a value came from.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from synergy.core.declared.kinds import RESOURCE_CLASS_PATTERN, TEXT_PATTERN
from synergy.core.membership import MANAGE_FORM, MANAGE_PATTERN

LONGEST_SENTENCE: Final = 400  # characters
_LONGEST_VALUE: Final = 60
_TYPES: Final[Mapping[str, str]] = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_FORMS: Final[Mapping[str, str]] = {
    TEXT_PATTERN: "text without control characters",
    MANAGE_PATTERN: MANAGE_FORM,
}


class Violation(Protocol):
    """A value that violates a keyword of its schema, as the library `jsonschema` tells it.

    absolute_path    where the value is: names of properties and numbers of list items
    validator        the keyword, such as "enum"; validator_value is its value in the schema
    instance         the value; for "required" and "additionalProperties" the object around it
    parent           the violation of "anyOf" around it, or None
    """

    absolute_path: Iterable[str | int]
    validator: str
    validator_value: Any
    instance: Any
    schema: Mapping[str, Any]
    parent: "Violation | None"


def sentence_of(violation: Violation) -> str:
    """Return what is wrong: the place, the value and what is allowed."""
    place = _place(list(violation.absolute_path))
    keyword, limit = violation.validator, violation.validator_value
    value, schema = violation.instance, violation.schema
    if keyword == "required":
        missing = [name for name in limit if name not in value]
        return _within(
            place, f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        )
    if keyword == "additionalProperties":
        return _within(place, _unknown(value, schema))
    if keyword in ("type", "const") and violation.parent is not None:
        allowed = " or ".join(map(_alternative, violation.parent.validator_value))
    else:
        allowed = _allowed(keyword, limit, schema)
    return f"{place or 'it'} is {_shown(value)}, but must be {allowed}"[:LONGEST_SENTENCE]


_ALLOWED: Final[Mapping[str, Callable[[Any], str]]] = {
    "enum": lambda values: f"one of {', '.join(_bare(one) for one in values)}",
    "type": lambda types: " or ".join(
        _TYPES[name] for name in ([types] if isinstance(types, str) else types)
    ),
    "const": lambda value: _bare(value),
    "pattern": lambda pattern: _FORMS.get(pattern, f"of the form {pattern}"),
    "minimum": lambda limit: f"at least {limit}",
    "maximum": lambda limit: f"at most {limit}",
    "exclusiveMinimum": lambda limit: f"more than {limit}",
    "exclusiveMaximum": lambda limit: f"less than {limit}",
    "minLength": lambda limit: f"at least {limit} character{'s' * (limit != 1)} long",
    "maxLength": lambda limit: f"at most {limit} characters long",
    "minItems": lambda limit: f"at least {limit} of them",
    "maxItems": lambda limit: f"at most {limit} of them",
    "minProperties": lambda limit: f"at least {limit} of them",
    "maxProperties": lambda limit: f"at most {limit} of them",
    "uniqueItems": lambda _: "given once each",
}


def _allowed(keyword: str, limit: object, schema: Mapping[str, object]) -> str:
    words = _ALLOWED.get(keyword)
    if words is not None:
        return words(limit)
    return str(schema.get("description") or f"as {keyword} of its schema says")


def _alternative(schema: Mapping[str, object]) -> str:
    """Return in words what one schema of "anyOf" allows, without its bounds."""
    keyword = next((one for one in ("const", "enum", "type") if one in schema), "anyOf")
    return _allowed(keyword, schema.get(keyword), schema)


def _unknown(value: Mapping[str, object], schema: Mapping[str, Any]) -> str:
    known = schema.get("properties", {})
    patterns = schema.get("patternProperties", {})
    strange = ", ".join(
        repr(name)[:_LONGEST_VALUE]
        for name in value
        if name not in known and not any(re.search(pattern, name) for pattern in patterns)
    )
    if RESOURCE_CLASS_PATTERN in patterns:
        return f"{strange} is not the name of a resource class, such as VCPU or CUSTOM_GPU"
    if not known:
        return f"{strange} cannot be given"
    return f"{strange} is unknown; there are {', '.join(known)}"


def _place(path: Sequence[str | int]) -> str:
    """Return names joined by dots; the number of a list item says little, so it is left out."""
    return ".".join(part for part in path if isinstance(part, str))


def _within(place: str, text: str) -> str:
    return (f"{place}: {text}" if place else text)[:LONGEST_SENTENCE]


def _bare(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
