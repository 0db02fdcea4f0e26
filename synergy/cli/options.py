"""Options of the command line, made from what `core.declared` declares.

Why: what the API takes is what an option offers, in the same words. Must not know any particular
setting or filter.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from synergy.cli.render import vector
from synergy.core.declared.fields import Argument
from synergy.core.declared.kinds import (
    Amounts,
    Choice,
    Flag,
    Kind,
    Number,
    OrNone,
    Several,
    Shares,
)


class _Amounts(argparse.Action):
    """Adds up repeated options; a class that is named twice has its last amount."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, None)
        both = values if values is None or before is None else {**before, **values}
        setattr(namespace, self.dest, both)


def whole_number(text: str) -> int:
    """Read a whole number from 0. Raises ArgumentTypeError."""
    if not text.isdecimal() or not text.isascii() or len(text) > 16:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0")
    return int(text)


def _number_or(word: str, value: Any) -> Any:
    def read(text: str) -> Any:
        if text == word:
            return value
        if not text.isdecimal() or not text.isascii() or len(text) > 16:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0, or {word!r}")
        return int(text)

    return read


def _vector_or_none(text: str) -> dict[str, int | None] | None:
    return None if text == "none" else vector(text)


def name_of(argument: Argument) -> str:
    """Return the option of an argument, such as --ttl-s."""
    return f"--{argument.name.replace('_', '-')}"


def add_options(parser: argparse.ArgumentParser, table: Sequence[Argument]) -> None:
    """Add an option for each entry; one that is not given leaves nothing behind."""
    for one in table:
        note, how = _of_kind(one.kind)
        said = "; ".join(text for text in (one.help.rstrip("."), note) if text)
        text = f"{said}.".replace("%", "%%")
        parser.add_argument(name_of(one), help=text, default=argparse.SUPPRESS, **how)


def given(parsed: argparse.Namespace, table: Sequence[Argument]) -> dict[str, Any]:
    """Return what was given of the entries, by name."""
    return {one.name: getattr(parsed, one.name) for one in table if hasattr(parsed, one.name)}


def _of_kind(kind: Kind) -> tuple[str, dict[str, Any]]:
    """Return what a kind adds to the help, and how argparse reads it."""
    match kind:
        case OrNone(Amounts(), means):
            how = {"type": _vector_or_none, "action": _Amounts, "metavar": "CLASS=N,..."}
            return f"'none': {means}", how
        case OrNone(Number(), means):
            return f"'none': {means}", {"type": _number_or("none", None), "metavar": "N|none"}
        case Shares():
            how = {"type": _number_or("parent", "parent"), "metavar": "N|parent"}
            return "'parent': none of its own", how
        case Amounts():
            how = {"type": vector, "action": _Amounts, "metavar": "CLASS=N,..."}
            return "CLASS=none: no limit of its own", how
        case Number(unit=unit):
            return "", {"type": whole_number, "metavar": unit.upper() or "N"}
        case Choice():
            return "", {"choices": kind.texts}
        case Flag():
            return "", {"action": argparse.BooleanOptionalAction}
        case Several(inner):
            note, how = _of_kind(inner)
            return note or "may be given several times", {"action": "append", **how}
        case _:
            return "", {}
