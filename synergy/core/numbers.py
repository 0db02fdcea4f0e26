"""Parses a number from a person or a file, within bounds that the caller must give.

Why: float() and int() accept nan, 1e999, 1_000 and the digits of every script, and a forgotten
bound shows up far away, as an endless loop or as NaN in a result. Must not know what the numbers
are used for.
"""

import math
import re
from typing import Any, Final

from synergy.core.errors import InvalidInput

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,40}")
_MAX_SHOWN_CHARS: Final = 60


def number(value: object, what: str, *, lowest: float, highest: float) -> float:
    """Parse a finite number from a number or a text. Raises InvalidInput naming `what`, the value
    and what is allowed."""
    read = _float(value)
    if not lowest <= read <= highest:  # NaN is in no range
        raise InvalidInput(
            f"{what} is {shown(value)}, but must be a number {_range(lowest, highest)}"
        )
    return read


def integer(value: Any, what: str, *, lowest: int, highest: int) -> int:
    """Parse a whole number from a number or a text; 2.0 is one. Raises InvalidInput likewise."""
    exact = isinstance(value, str) and _INTEGER.fullmatch(value)  # also beyond 2^53
    read: float = int(value) if exact or _is_integer(value) else _float(value)
    if not (lowest <= read <= highest and read == math.floor(read)):
        raise InvalidInput(
            f"{what} is {shown(value)}, but must be a whole number {_range(lowest, highest)}"
        )
    return int(read)


def shown(value: object) -> str:
    """Return a value for an error message: shortened, and without terminal control characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists within lists
        return f"too long a {type(value).__name__}"
    return text if len(text) <= _MAX_SHOWN_CHARS else f"{text[: _MAX_SHOWN_CHARS - 3]}..."


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _float(value: Any) -> float:
    """Return the number, NaN if the value is not one."""
    plain = _is_integer(value) or isinstance(value, float)
    if not plain and not (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return math.nan
    try:
        return float(value)
    except OverflowError:  # an integer beyond every double
        return math.inf if value > 0 else -math.inf


def _range(lowest: float, highest: float) -> str:
    return f"from {_plain(lowest)} to {_plain(highest)}"


def _plain(bound: float) -> str:
    return repr(bound).removesuffix(".0")
