"""How an argument and a setting are declared, and what follows from a table of them.

Why: every function here takes the table, so that what is made from it holds for any table, also for
one with an entry more. Must not know any particular table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Final, TypeVar

from synergy.core.declared.kinds import Amounts, Kind, Schema, plain

_KEY: Final = "setting"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """Something that is given by name: to a command, in a body or in a query.

    help  a sentence for people, the same in the OpenAPI document, the command line and the pages
    """

    name: str
    kind: Kind
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Argument):
    """Something that is stored, shown and may be changed: a field of a frozen dataclass.

    default         the value if nothing is set
    operators_only  answers show it to those who operate the cloud, and null to everybody else
    """

    default: object
    operators_only: bool = False


def setting(default: T, kind: Kind, help: str, *, operators_only: bool = False) -> T:  # noqa: A002
    """Declare a field of a frozen dataclass as a setting."""
    declared = {"kind": kind, "help": help, "operators_only": operators_only}
    return field(default=default, metadata={_KEY: declared})


def settings_of(cls: type) -> tuple[Setting, ...]:
    """Return the settings that a dataclass declares, in their order."""
    return tuple(
        Setting(name=one.name, default=one.default, **one.metadata[_KEY])
        for one in fields(cls)
        if _KEY in one.metadata and one.default is not MISSING
    )


def schemas_of(table: Iterable[Argument]) -> dict[str, Schema]:
    """Return the JSON Schema of what may be given, by name."""
    return {one.name: _described(one.kind.schema(), one) for one in table}


def shown_schemas_of(table: Iterable[Argument]) -> dict[str, Schema]:
    """Return the JSON Schema of what answers show, by name."""
    return {one.name: _described(one.kind.shown_schema(), one) for one in table}


def _described(schema: Schema, one: Argument) -> Schema:
    said = (one.help, schema.get("description"), one.kind.note)
    return {**schema, "description": " ".join(text for text in said if text)}


def as_json(value: object, table: Iterable[Argument]) -> dict[str, object]:
    """Return the settings of a value as answers show them, by name."""
    return {one.name: one.kind.show(getattr(value, one.name)) for one in table}


def read(given: Mapping[str, object], table: Iterable[Argument]) -> dict[str, Any]:
    """Return the values of what was given and the table has, by name."""
    return {
        one.name: one.kind.read(given[one.name], one.name) for one in table if one.name in given
    }


def limits_of(table: Iterable[Setting]) -> tuple[Setting, ...]:
    """Return the settings that are amounts by resource class."""
    return tuple(one for one in table if isinstance(plain(one.kind), Amounts))
