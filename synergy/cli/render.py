"""Converts JSON to the columns and rows that cliff prints: text for people, values for programs."""

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from cliff.columns import FormattableColumn

from synergy.client.plain import csv_cell, plain, plain_lines, shell_word

_FORMS: Final[Mapping[str, Callable[[str], str]]] = {
    "table": str, "csv": csv_cell, "value": str, "shell": shell_word
}  # fmt: skip
Row = tuple[object, ...]  # values of JSON
Pairs = tuple[tuple[str, ...], Row]
Table = tuple[tuple[str, ...], list[Row]]


class Shown(FormattableColumn[object]):
    """A JSON value with a readable form for tables."""

    def __init__(self, value: object, text: str | None = None) -> None:
        """text  the readable form, where that of `cell` is not enough"""
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


def cell(value: object) -> object:
    """Return a value as a table shows it: vectors as NAME=amount, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(part)}" for key, part in value.items()) or "-"
    if isinstance(value, list):
        return "\n".join(str(cell(part)) for part in value)
    return value


def _shown(value: object) -> object:
    plain = value is not None and not isinstance(value, Mapping | list)
    return value if plain or isinstance(value, Shown) else Shown(value)


class EscapingFormatter:
    """Wraps a cliff formatter and escapes cells for what displays them: terminal, spreadsheet,
    shell.

    Why: names come from users and could hold control sequences or formulas. JSON and YAML escape by
    themselves.
    """

    def __init__(self, formatter: Any, form: str) -> None:
        self._formatter, self._form = formatter, form

    def emit_list(
        self, names: Sequence[str], data: Iterable[Iterable[object]], *rest: object
    ) -> None:
        """Write rows."""
        shown = [tuple(escaped(value, self._form) for value in row) for row in data]
        self._formatter.emit_list(names, shown, *rest)

    def emit_one(self, names: Sequence[str], data: Iterable[object], *rest: object) -> None:
        """Write the values of one object."""
        shown = tuple(escaped(value, self._form) for value in data)
        self._formatter.emit_one(names, shown, *rest)


def escaped(value: object, form: str) -> object:
    """Return a cell, escaped for an output format."""
    if form not in _FORMS:
        return value
    if form == "table":
        shown = value.human_readable() if isinstance(value, FormattableColumn) else value
        return plain_lines(shown) if isinstance(shown, str) else shown
    raw = value.machine_readable() if isinstance(value, FormattableColumn) else value
    if raw is None or isinstance(raw, int | float):
        return raw
    return _FORMS[form](plain(str(raw)))


def rows(found: Sequence[Mapping[str, object]], columns: Sequence[str]) -> Table:
    """Return columns and rows."""
    return tuple(columns), [tuple(_shown(one.get(name)) for name in columns) for one in found]


def with_quota(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request of which people read that it may use either quota; programs read `quota`,
    as before, and `quotas`."""
    either = len(request.get("quotas") or ()) > 1
    return {**request, "quota": Shown(request["quota"], "either")} if either else dict(request)


def pairs(shown: Mapping[str, object], **texts: str) -> Pairs:
    """Return names and values; `texts` are the readable forms of some of them."""
    return tuple(shown), tuple(
        Shown(value, texts[name]) if name in texts else _shown(value)
        for name, value in shown.items()
    )


def lines(found: Sequence[Mapping[str, object]], form: str) -> str:
    """Return one formatted line for each, such as "{at}: {freed}"."""
    return "\n".join(
        form.format(**{name: cell(value) for name, value in one.items()}) for one in found
    )


_PART = re.compile(r"\s*([A-Z][A-Z0-9_]{0,254})\s*=\s*([0-9]{1,16}|none)\s*", re.ASCII)


def vector(text: str) -> dict[str, int | None]:
    """Parse VCPU=4,MEMORY_MB=none. Raises ArgumentTypeError."""
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
