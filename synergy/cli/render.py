"""JSON to the columns and rows that cliff prints."""

from collections.abc import Mapping, Sequence
from typing import Any

Table = tuple[tuple[str, ...], list[tuple[Any, ...]]]


def cell(value: Any) -> Any:
    """Return a value as a table shows it: vectors as NAME=amount, nothing as a dash."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(part)}" for key, part in value.items()) or "-"
    if isinstance(value, list):
        return "\n".join(str(cell(part)) for part in value)
    return value


def rows(found: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Table:
    """Return columns and rows."""
    return tuple(columns), [tuple(cell(one.get(name)) for name in columns) for one in found]


def pairs(shown: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """Return names and values."""
    return tuple(shown), tuple(cell(value) for value in shown.values())


def vector(text: str) -> dict[str, int]:
    """Read VCPU=4,MEMORY_MB=8192. Raises ValueError, which argparse shows."""
    amounts = {}
    for part in text.split(",") if text else ():
        name, _, amount = part.partition("=")
        amounts[name.strip()] = int(amount)
    return amounts
