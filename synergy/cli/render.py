"""JSON to the columns and rows that cliff prints: words for people, values for programs."""

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cliff.columns import FormattableColumn

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


class Shown(FormattableColumn[Any]):
    """A value of JSON, which a table shows in words."""

    def __init__(self, value: Any, text: str | None = None) -> None:
        """text  the words, where they say more than `cell` would"""
        super().__init__(value)
        self._text = text

    def human_readable(self) -> str:
        return str(cell(self._value)) if self._text is None else self._text

    def __lt__(self, other: object) -> bool:
        return self.human_readable() < _text_of(other)

    def __gt__(self, other: object) -> bool:
        return self.human_readable() > _text_of(other)


def _text_of(value: object) -> str:
    return value.human_readable() if isinstance(value, Shown) else str(value)


def cell(value: Any) -> Any:
    """Return a value as a table shows it: vectors as NAME=amount, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(part)}" for key, part in value.items()) or "-"
    if isinstance(value, list):
        return "\n".join(str(cell(part)) for part in value)
    return value


def _shown(value: Any) -> Any:
    plain = value is not None and not isinstance(value, Mapping | list)
    return value if plain or isinstance(value, Shown) else Shown(value)


def rows(found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Return columns and rows."""
    return tuple(columns), [tuple(_shown(one.get(name)) for name in columns) for one in found]


def pairs(shown: Mapping[str, Any], **texts: str) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return names and values; `texts` say some of them in words."""
    return tuple(shown), tuple(
        Shown(value, texts[name]) if name in texts else _shown(value)
        for name, value in shown.items()
    )


def lines(found: Sequence[Any], form: str) -> str:
    """Return a line for each, such as "{at}: {freed}"."""
    return "\n".join(
        form.format(**{name: cell(value) for name, value in one.items()}) for one in found
    )


_PART = re.compile(r"\s*([A-Z][A-Z0-9_]{0,254})\s*=\s*([0-9]{1,16}|none)\s*", re.ASCII)


def vector(text: str) -> dict[str, int | None]:
    """Read VCPU=4,MEMORY_MB=none. Raises ArgumentTypeError."""
    amounts: dict[str, int | None] = {}
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise argparse.ArgumentTypeError(
                f"{part!r} must name a resource class and a whole number from 0, or none, such as "
                "VCPU=4, VCPU=0 or VCPU=none"
            )
        amounts[found[1]] = None if found[2] == "none" else int(found[2])
    return amounts
