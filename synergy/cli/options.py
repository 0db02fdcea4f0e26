"""Command-line options, built from the declarations in `core.declared`.

Why: options offer what the API accepts, with the same names and texts. Must not know any particular
setting or filter.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Final

from synergy.cli.command import project_id_of, user_id_of
from synergy.cli.render import vector
from synergy.client import Client
from synergy.core.declared.fields import Argument
from synergy.core.declared.kinds import (
    LONGEST_ID,
    Amounts,
    Choice,
    Flag,
    Instant,
    Kind,
    Number,
    OrNone,
    ProjectId,
    RequestId,
    Several,
    Shares,
    Switch,
    Text,
    UserId,
)

_LONGEST_NUMBER: Final = 16
_MAX_CHOICES: Final = 8  # a longer list would bury the rest of the help


class _Amounts(argparse.Action):
    """Merges repeated options; of a class that is named twice the last amount counts."""

    def __call__(
        self, parser: object, namespace: object, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, None)
        both = values if values is None or before is None else {**before, **values}
        setattr(namespace, self.dest, both)


def whole_number(text: str) -> int:
    """Parse a whole number from 0. Raises ArgumentTypeError."""
    if not text.isdecimal() or not text.isascii() or len(text) > _LONGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0")
    return int(text)


def _or_word(word: str, value: object, read: Callable[[str], object]) -> Callable[[str], object]:
    """Return a parser that accepts one word besides what `read` accepts."""

    def either(text: str) -> object:
        if text == word:
            return value
        try:
            return read(text)
        except argparse.ArgumentTypeError as error:
            raise argparse.ArgumentTypeError(f"{error}, or {word!r}") from error

    return either


_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def duration_s(text: str) -> int:
    """Read a duration such as 90, 45m, 24h or 7d. Raises ArgumentTypeError."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a number of seconds, or one with a unit: 45m, 24h or 7d"
        )
    return int(number) * _UNITS[unit]


def _number_of(kind: Number) -> Callable[[str], int]:
    """Return a parser of numbers within bounds; of seconds it reads durations too."""

    def number(text: str) -> int:
        try:
            if kind.unit == "seconds":
                value = duration_s(text)
            elif text.isascii() and text.removeprefix("-").isdecimal():
                value = int(text[:_LONGEST_NUMBER])
            else:
                raise ValueError(text)
            if kind.minimum <= value <= kind.maximum:
                return value
        except (ValueError, argparse.ArgumentTypeError):
            pass
        units = ", or a duration such as 45m, 24h or 7d" if kind.unit == "seconds" else ""
        raise argparse.ArgumentTypeError(f"{text!r} must be {kind.words()}{units}")

    return number


def name_of(argument: Argument) -> str:
    """Return the option of an argument: --ttl-s for ttl_s, --project for project_id."""
    of_thing = isinstance(argument.kind, ProjectId | UserId | RequestId)
    name = argument.name.removesuffix("_id") if of_thing else argument.name
    return f"--{name.replace('_', '-')}"


def add_options(parser: argparse.ArgumentParser, table: Sequence[Argument]) -> None:
    """Add an option for each entry; one that is not given sets no attribute."""
    for one in table:
        note, how = _of_kind(one.kind)
        help_text = "; ".join(text for text in (one.help.removesuffix("."), note) if text)
        text = f"{help_text}.".replace("%", "%%")
        parser.add_argument(
            name_of(one), dest=one.name, help=text, default=argparse.SUPPRESS, **how
        )


def given(parsed: argparse.Namespace, table: Sequence[Argument]) -> dict[str, Any]:
    """Return the values of the given options, by name."""
    return {one.name: getattr(parsed, one.name) for one in table if hasattr(parsed, one.name)}


def filters_given(
    client: Client, parsed: argparse.Namespace, table: Sequence[Argument]
) -> dict[str, Any]:
    """Return the values of the given filters, with names of projects and users resolved to ids."""
    found = given(parsed, table)
    project = next((found.get(one.name) for one in table if isinstance(one.kind, ProjectId)), None)
    for one in table:
        if one.name in found and isinstance(one.kind, ProjectId):
            found[one.name] = project_id_of(client, found[one.name])
        elif one.name in found and isinstance(one.kind, UserId) and one.kind.by_name:
            found[one.name] = user_id_of(client, project, found[one.name])
    return found


def _of_kind(kind: Kind) -> tuple[str, dict[str, Any]]:
    """Return what a kind adds to the help text, and its arguments for argparse."""
    match kind:
        case OrNone(inner, means):
            _, how = _of_kind(inner)
            if "choices" in how:
                how["metavar"] = "{" + ",".join([*how["choices"], "none"]) + "}"
                how["choices"] = [*how["choices"], None]
            how["type"] = _or_word("none", None, how.get("type", str))
            if how.get("metavar") in ("N", "SECONDS"):
                how["metavar"] += "|none"
            return f"'none': {means}", how
        case Shares():
            how = {"type": _or_word("parent", "parent", whole_number), "metavar": "N|parent"}
            return "'parent': none of its own", how
        case Amounts():
            how = {"type": vector, "action": _Amounts, "metavar": "CLASS=N,..."}
            return "CLASS=none: no limit of its own", how
        case Number(unit=unit):
            return "", {"type": _number_of(kind), "metavar": unit.upper() or "N"}
        case Choice() if len(kind.texts) > _MAX_CHOICES:
            return "", {}  # the service's error lists the choices
        case Choice():
            return "", {"choices": kind.texts}
        case Switch():
            return "", {"action": "store_true"}
        case Flag():
            return "", {"action": argparse.BooleanOptionalAction}
        case Several(inner):
            _, how = _of_kind(inner)
            return "may be given several times", {"action": "append", **how}
        case _:
            return "", {"metavar": _metavar_of(kind)}


def _metavar_of(kind: Kind) -> str | None:
    """Return the metavar of a text; None means the option's name."""
    match kind:
        case ProjectId():
            return "PROJECT"
        case UserId(by_name=True):
            return "USER"
        case Text(longest) if longest <= LONGEST_ID:
            return "ID"
        case Instant():
            return "INSTANT"
        case _:
            return None
