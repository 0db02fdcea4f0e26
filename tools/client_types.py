"""Generates the client's types and the methods of what is only read; run by `make sample`.

Why: a static type checker reads source, not JSON Schema, so the types are generated from the
schemas that every answer is validated against, and the methods from what routes are made of. A test
fails when a file is out of date.
"""

import keyword
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from synergy.api.routing import Schema
from synergy.api.schemas import components_of
from synergy.core.declared.answers import COMPONENTS, READS
from synergy.core.declared.read import Read, item_of
from synergy.core.declared.shapes import nouns_in

CLIENT = Path(__file__).parents[1] / "synergy" / "client"
TARGET = CLIENT / "types.py"
READS_TARGET = CLIENT / "reads.py"
HEAD = '''"""What the API answers, typed: made from its schemas by `make sample`, not by hand."""

from typing import NotRequired, TypedDict

Amounts = dict[str, int]
'''
READS_HEAD = '''"""What is only read, as methods: made by `make sample`, not by hand."""

from collections.abc import Iterator, Sequence
from typing import cast

from synergy.client.api import Noun, object_in, objects_in
from synergy.client.types import {types}


class Reads(Noun):
    """One method for each resource that is only read; parameters that are None are left out."""
'''
LONGEST_LINE = 100
SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def _all_nouns(shown: Mapping[str, type]) -> dict[str, type]:
    """Return the answers by name, and what they are made of, which the API has no names for."""
    found = dict(shown)
    for answer in shown.values():
        for part in nouns_in(answer):
            if found.setdefault(part.__name__, part) is not part:
                raise ValueError(f"two answers are called {part.__name__}: rename one of them")
    return found


SCHEMAS: Final = components_of(_all_nouns(COMPONENTS))


def type_of(schema: Schema) -> str:
    """Return the Python type of a schema."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(type_of(one) for one in schema["anyOf"]))
    if "type" not in schema:
        return "str" if "enum" in schema else "object"
    kinds = schema["type"]
    if isinstance(kinds, list):
        return " | ".join(type_of({**schema, "type": kind}) for kind in kinds)
    if kinds == "array":
        return f"list[{type_of(schema.get('items', {}))}]"
    if kinds == "object":
        return _mapping_of(schema)
    return SCALARS[kinds]


def _mapping_of(schema: Schema) -> str:
    by_pattern = list(schema.get("patternProperties", {}).values())
    values = by_pattern[0] if by_pattern else schema.get("additionalProperties")
    found = type_of(values) if isinstance(values, Mapping) else "object"
    return "Amounts" if by_pattern and found == "int" else f"dict[str, {found}]"


def definition_of(name: str, schema: Schema) -> str:
    """Return a TypedDict; one with a field named like a keyword needs the functional syntax."""
    fields = {}
    for field, part in schema["properties"].items():
        found = type_of(part)
        fields[field] = found if field in schema["required"] else f"NotRequired[{found}]"
    if any(keyword.iskeyword(field) for field in fields):
        said = [f"# {schema['description']}"] if schema["description"] else []
        lines = [*said, f"{name} = TypedDict(", f'    "{name}",', "    {"]
        lines += [f'        "{field}": {found},' for field, found in fields.items()]
        return "\n".join([*lines, "    },", ")"])
    lines = [f"class {name}(TypedDict):", f'    """{schema["description"]}"""', ""]
    return "\n".join([*lines, *(f"    {field}: {found}" for field, found in fields.items())])


def _refers_to(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield str(schema["$ref"]).rpartition("/")[2]
        for part in schema.values():
            yield from _refers_to(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _refers_to(part)


def _in_order(components: Mapping[str, Schema]) -> list[str]:
    """Return the names in an order in which each comes after those it refers to."""
    found: dict[str, None] = {}

    def add(name: str) -> None:
        for other in _refers_to(components[name]):
            add(other)
        found.setdefault(name)

    for name in components:
        add(name)
    return list(found)


def source_of(components: Mapping[str, Schema]) -> str:
    """Return the source of the module."""
    parts = [definition_of(name, components[name]) for name in _in_order(components)]
    return "\n\n\n".join([HEAD.rstrip(), *parts]) + "\n"


def _noun_of(read: Read[object]) -> str:
    """Return the name of what a method returns, or returns many of."""
    return str(item_of(read.parts()[read.list_name() or read.key]).__name__)


def _parameter(name: str, schema: Schema) -> str:
    return f"{name}: {type_of(schema).replace('list[', 'Sequence[')} | None = None"


def _in_brackets(before: str, parts: Sequence[str], after: str, indent: int) -> list[str]:
    """Return a call or a signature: in one line where it fits, else with a line for each part."""
    line = f"{' ' * indent}{before}({', '.join(parts)}){after}"
    if len(line) <= LONGEST_LINE:
        return [line]
    inner = [f"{' ' * (indent + 4)}{part}," for part in parts]
    return [f"{' ' * indent}{before}(", *inner, f"{' ' * indent}){after}"]


def method_of(read: Read[object]) -> str:
    """Return the source of the client's method for a read."""
    noun, plural = _noun_of(read), read.list_name()
    taken = read.without(*read.of_caller(), *(["limit"] if read.marker else []))
    path = f'"{read.path.removeprefix("/v1")}"'
    given = [f"{name}={name}" for name in taken]
    parameters = [_parameter(name, schema) for name, schema in taken.items()]
    if read.marker:
        parameters = ["self", "*", "limit: int | None = None", *parameters]
        returned, said = f"Iterator[{noun}]", ["", "        Yields up to `limit`, over all pages."]
        body = _in_brackets("return self._api.pages", [path, f'"{plural}"', "limit", *given], "", 8)
    else:
        parameters = ["self", *parameters]
        returned, said = f"list[{noun}]" if plural else noun, []
        found = "objects_in" if plural else "object_in"
        body = [
            *_in_brackets("answer = self._api.get", [path, *given], "", 8),
            f'        return cast({returned}, {found}(answer, "{plural or read.key}"))',
        ]
    head = _in_brackets(f"def {read.method}", parameters, f" -> {returned}:", 4)
    docstring = [f'        """{read.summary}', *said, *(["        "] if said else [])]
    return "\n".join([*head, "\n".join(docstring) + '"""', *body])


def reads_source_of(reads: Sequence[Read[object]]) -> str:
    """Return the source of the module of what is only read."""
    names = sorted({_noun_of(read) for read in reads})
    types = "(\n" + "".join(f"    {name},\n" for name in names) + ")"
    head = READS_HEAD.replace("{types}", types)
    return "\n".join([head, "\n\n".join(method_of(read) for read in reads)]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(source_of(SCHEMAS))
    READS_TARGET.write_text(reads_source_of(READS))
