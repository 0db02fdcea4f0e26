"""The JSON Schema of what an answer's type says.

Why: a static checker reads types and a client reads schemas; where both are written down by hand,
one of them lies sooner or later. So an answer is a TypedDict, and its schema is made from the
hints. Must not know any particular answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from synergy.core.declared.kinds import Schema, or_null

_SCALARS: Mapping[object, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


@dataclass(frozen=True, slots=True, eq=False)
class Also:
    """What a schema says beyond the type: a bound, the words, who may see it."""

    schema: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Instead:
    """The schema of something that has one already, in place of what its type would give."""

    schema: Mapping[str, Any]


def fields_of(answer: type, components: Mapping[str, type]) -> dict[str, Schema]:
    """Return the schema of each field of a TypedDict, by name, in their order.

    components  the answers that have a name of their own: others refer to them by it
    """
    hints = get_type_hints(answer, include_extras=True)
    return {name: schema_of(hint, components) for name, hint in hints.items()}


def object_of(properties: Mapping[str, Mapping[str, Any]], required: Iterable[str] = ()) -> Schema:
    """Return the schema of an object with these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def nouns_in(hint: object) -> Iterator[type]:
    """Yield every TypedDict that a type is made of, itself included, each before what it is in."""
    if isinstance(hint, type) and is_typeddict(hint):
        for part in get_type_hints(hint, include_extras=True).values():
            yield from nouns_in(part)
        yield hint
    for part in get_args(hint):
        yield from nouns_in(part)


def answer_schema(answer: type, components: Mapping[str, type]) -> Schema:
    """Return the schema of a TypedDict."""
    fields = fields_of(answer, components)
    optional: frozenset[str] = getattr(answer, "__optional_keys__", frozenset())
    return object_of(fields, [name for name in fields if name not in optional])


def ref(name: str) -> Schema:
    """Return a reference to a component."""
    return {"$ref": f"#/components/schemas/{name}"}


def schema_of(hint: Any, components: Mapping[str, type]) -> Schema:
    """Return the schema of a type that is a part of an answer."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is NotRequired:
        return schema_of(parts[0], components)
    if origin is Annotated:
        return _marked(parts[0], parts[1:], components)
    if origin in (Union, UnionType):
        return _of_union(parts, components)
    if origin is list:
        return {"type": "array", "items": schema_of(parts[0], components)}
    if origin is dict:
        values = {} if parts[1] is object else schema_of(parts[1], components)
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if is_typeddict(hint):
        named = components.get(hint.__name__) is hint
        return ref(hint.__name__) if named else answer_schema(hint, components)
    return {"type": _SCALARS[hint]}


def _marked(hint: Any, marks: tuple[object, ...], components: Mapping[str, type]) -> Schema:
    whole = next((dict(one.schema) for one in marks if isinstance(one, Instead)), None)
    schema = schema_of(hint, components) if whole is None else whole
    for one in marks:
        if isinstance(one, Also):
            schema = {**schema, **one.schema}
    return schema


def _of_union(parts: tuple[object, ...], components: Mapping[str, type]) -> Schema:
    """Only null is told from something else; more needs a schema of its own."""
    (one,) = (part for part in parts if part is not NoneType)
    return or_null(schema_of(one, components))
