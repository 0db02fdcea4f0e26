"""Generates synergy/client/types.py, the API's resources as Python types; run by `make sample`.

Why: a static type checker reads source, not JSON Schema, so the types are generated from the
schemas that every answer is validated against. A test fails when the file is out of date.
"""

import keyword
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synergy.api.schemas import COMPONENTS

TARGET = Path(__file__).parents[1] / "synergy" / "client" / "types.py"
HEAD = '''"""What the API answers, typed: made from its schemas by `make sample`, not by hand."""

from typing import Any, NotRequired, TypedDict

Amounts = dict[str, int]
'''
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def type_of(schema: Mapping[str, Any]) -> str:
    """Return the Python type of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"]))
    kinds = schema.get("type", [])
    if isinstance(kinds, list):
        return " | ".join(type_of({**schema, "type": kind}) for kind in kinds) or "Any"
    if kinds == "array":
        return f"list[{type_of(schema.get('items', {}))}]"
    if kinds == "object":
        return _mapping_of(schema)
    return SCALARS[kinds]


def _mapping_of(schema: Mapping[str, Any]) -> str:
    by_pattern = list(schema.get("patternProperties", {}).values())
    values = by_pattern[0] if by_pattern else schema.get("additionalProperties")
    found = type_of(values) if isinstance(values, Mapping) else "Any"
    return "Amounts" if by_pattern and found == "int" else f"dict[str, {found}]"


def definition_of(name: str, schema: Mapping[str, Any]) -> str:
    """Return a TypedDict; one with a field named like a keyword needs the functional syntax."""
    fields = {}
    for field, part in schema["properties"].items():
        found = type_of(part)
        fields[field] = found if field in schema["required"] else f"NotRequired[{found}]"
    if any(keyword.iskeyword(field) for field in fields):
        lines = [f"# {schema['description']}", f"{name} = TypedDict(", f'    "{name}",', "    {"]
        lines += [f'        "{field}": {found},' for field, found in fields.items()]
        return "\n".join([*lines, "    },", ")"])
    lines = [f"class {name}(TypedDict):", f'    """{schema["description"]}"""', ""]
    return "\n".join([*lines, *(f"    {field}: {found}" for field, found in fields.items())])


def _refers_to(schema: Any) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for part in schema.values():
            yield from _refers_to(part)


def _in_order(components: Mapping[str, Any]) -> list[str]:
    """Return the names in an order in which each comes after those it refers to."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for other in _refers_to(components[name]):
            add(other)
        found.setdefault(name)

    for name in components:
        add(name)
    return list(found)


def source_of(components: Mapping[str, Any]) -> str:
    """Return the source of the module."""
    parts = [definition_of(name, components[name]) for name in _in_order(components)]
    return "\n\n\n".join([HEAD.rstrip(), *parts]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(source_of(COMPONENTS))
