"""Slurm's notation: times, TRES amounts, flags and numbers as they stand in slurm.conf.

Must not know what the values are used for. Every reader raises InvalidInput naming the thing, the
value and what is allowed.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from synergy.core.errors import InvalidInput

UNLIMITED_S: Final = 4294967295 * 60.0  # how Slurm counts on with no limit
_TIME: Final = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_TRES: Final = re.compile(r"([a-z][a-z0-9_/:.\-]*)=(\d+(?:\.\d+)?)([KMGTP]?)", re.IGNORECASE)
_MEGABYTES: Final = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}
_THOUSANDS: Final = {"": 1.0, "K": 1024.0, "M": 1024.0**2, "G": 1024.0**3, "T": 1024.0**4}
_IN_MEGABYTES: Final = frozenset({"mem", "bb", "vmem"})


def number(value: Any, what: str, *, lowest: float = -math.inf, highest: float = math.inf) -> float:
    """Read a finite number, given as such or as text."""
    wrong = isinstance(value, bool) or not isinstance(value, int | float | str)
    try:
        read = math.nan if wrong else float(value)
    except (ValueError, OverflowError):
        read = math.nan
    if not (math.isfinite(read) and lowest <= read <= highest):
        bounds = _bounds(lowest, highest)
        raise InvalidInput(f"{what} is {_shown(value)}, but must be a number{bounds}")
    return read


def integer(value: Any, what: str, *, lowest: int, highest: int) -> int:
    """Read a whole number, given as such or as text."""
    read = number(value, what, lowest=lowest, highest=highest)
    if not read.is_integer():
        raise InvalidInput(f"{what} is {_shown(value)}, but must be a whole number")
    return int(read)


def seconds(text: Any, what: str) -> float:
    """Read a time: minutes, h:mm:ss, m:ss, d-h, d-h:mm, d-h:mm:ss, or UNLIMITED."""
    if isinstance(text, str) and text.upper() in ("UNLIMITED", "INFINITE"):
        return UNLIMITED_S
    found = _TIME.fullmatch(str(text)) if isinstance(text, int | str) else None
    if found is None or isinstance(text, bool):
        raise InvalidInput(
            f"{what} is {_shown(text)}, but must be minutes, h:mm:ss, d-h or UNLIMITED"
        )
    days, *rest = found.groups()
    first, *parts = [int(part) for part in rest if part is not None]
    if days is not None:  # d-h[:m[:s]]
        units = (3600, 60, 1)
    elif len(parts) == 1:  # m:ss
        units = (60, 1, 1)
    else:  # m, or h:mm:ss
        units = (3600, 60, 1) if parts else (60, 1, 1)
    return int(days or 0) * 86_400.0 + sum(
        amount * unit for amount, unit in zip((first, *parts), units, strict=False)
    )


def tres(text: Any, what: str) -> dict[str, float]:
    """Read TRES amounts such as "cpu=9,mem=40000M,node=2", memory in MB, names in small letters."""
    return {name: value * scale for name, (value, scale) in _pairs(text, what).items()}


def tres_weights(text: Any, what: str) -> dict[str, float]:
    """Read TRES weights such as "CPU=1.0,Mem=0.25G"; one for a GB is made one for a MB."""
    return {name: value / scale for name, (value, scale) in _pairs(text, what).items()}


def flags(text: Any, what: str, known: frozenset[str]) -> frozenset[str]:
    """Read flags separated by commas; a remark in parentheses stands for none."""
    if text is None or (isinstance(text, str) and text.startswith("(")):
        return frozenset()
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is {_shown(text)}, but must be flags separated by commas")
    found = frozenset(flag.strip().upper() for flag in text.split(",") if flag.strip())
    for flag in sorted(found - known):
        raise InvalidInput(f"{what}: {flag!r} is not one of {', '.join(sorted(known))}")
    return found


def yes(value: Any, what: str) -> bool:
    """Read YES or NO."""
    if isinstance(value, bool):
        return value
    answers = {"YES": True, "NO": False, "TRUE": True, "FALSE": False, "1": True, "0": False}
    if str(value).upper() not in answers:
        raise InvalidInput(f"{what} is {_shown(value)}, but must be YES or NO")
    return answers[str(value).upper()]


def known_keys(entry: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    """Refuse a key that means nothing here. Raises InvalidInput."""
    for key in entry:
        if key not in known:
            raise InvalidInput(f"{what}: {_shown(key)} is not one of {', '.join(sorted(known))}")


def _pairs(text: Any, what: str) -> dict[str, tuple[float, float]]:
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is {_shown(text)}, but must be text such as cpu=2,mem=400M")
    pairs = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _TRES.fullmatch(part)
        if found is None:
            raise InvalidInput(f"{what}: {part!r} must be a name and an amount, such as mem=400M")
        name, amount, suffix = found[1].lower(), float(found[2]), found[3].upper()
        scales = _MEGABYTES if name.split("/")[0] in _IN_MEGABYTES else _THOUSANDS
        pairs[name] = amount, scales.get(suffix, 1.0)
    return pairs


def _bounds(lowest: float, highest: float) -> str:
    if math.isfinite(lowest) and math.isfinite(highest):
        return f" from {lowest:.17g} to {highest:.17g}"
    return f" >= {lowest:.17g}" if math.isfinite(lowest) else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
