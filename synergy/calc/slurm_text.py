"""Parses Slurm's notation: times, TRES amounts, flags and names, as in slurm.conf.

Must not know what the values are used for. Every parser raises InvalidInput naming the key, the
value and what is allowed.
"""

import re
from collections.abc import Collection, Mapping
from typing import Final

from synergy.core.errors import InvalidInput
from synergy.core.numbers import number, shown

UNLIMITED_S: Final = 4294967295 * 60.0  # Slurm's value for no limit
MAX_POINTS: Final = 2**32 - 1  # maximum of a priority, a weight or a QOS
_MAX_TRES: Final = 2.0**64  # Slurm stores them in 64 bits
_TIME: Final = re.compile(r"(?:([0-9]{1,12})-)?([0-9]{1,12})(?::([0-9]{1,12}))?(?::([0-9]{1,12}))?")
_TRES: Final = re.compile(
    r"([a-z][a-z0-9_/:.\-]*)=([0-9]{1,20}(?:\.[0-9]{1,12})?)([KMGTP]?)", re.IGNORECASE | re.ASCII
)
_MEGABYTES: Final = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}
_THOUSANDS: Final = {
    "": 1.0, "K": 1024.0, "M": 1024.0**2, "G": 1024.0**3, "T": 1024.0**4, "P": 1024.0**5,
}  # fmt: skip
_IN_MEGABYTES: Final = frozenset({"mem", "bb", "vmem"})
_MAX_NAME_CHARS: Final = 255


def seconds(text: object, what: str) -> float:
    """Parse a time: minutes, h:mm:ss, m:ss, d-h, d-h:mm, d-h:mm:ss, or UNLIMITED."""
    if isinstance(text, str) and text.upper() in ("UNLIMITED", "INFINITE"):
        return UNLIMITED_S
    found = _TIME.fullmatch(_as_text(text))
    if found is None:
        raise InvalidInput(
            f"{what} is {shown(text)}, but must be minutes, h:mm:ss, d-h or UNLIMITED"
        )
    days, *rest = found.groups()
    first, *parts = [int(part) for part in rest if part is not None]
    if days is not None:  # d-h[:m[:s]]
        units = (3600, 60, 1)
    elif len(parts) == 1:  # m:ss
        units = (60, 1, 1)
    else:  # m, or h:mm:ss
        units = (3600, 60, 1) if parts else (60, 1, 1)
    read = int(days or 0) * 86_400.0 + sum(
        amount * unit for amount, unit in zip((first, *parts), units, strict=False)
    )
    if read > UNLIMITED_S:
        raise InvalidInput(f"{what} is {shown(text)}, but must be at most 4294967295 minutes")
    return read


def tres(text: object, what: str) -> dict[str, float]:
    """Parse TRES amounts such as "cpu=9,mem=40000M,node=2"; memory in MB, names in lower case."""
    return {
        name: number(value * scale, f"{what}: {name}", lowest=0, highest=_MAX_TRES)
        for name, (value, scale) in _pairs(text, what).items()
    }


def tres_weights(text: object, what: str) -> dict[str, float]:
    """Parse TRES weights such as "CPU=1.0,Mem=0.25G"; a weight per GB is converted to per MB."""
    return {
        name: number(value, f"{what}: {name}", lowest=0, highest=MAX_POINTS) / scale
        for name, (value, scale) in _pairs(text, what).items()
    }


def flags(text: object, what: str, known: frozenset[str]) -> frozenset[str]:
    """Parse flags separated by commas; a text in parentheses, such as "(null)", means none."""
    if text is None or (isinstance(text, str) and text.startswith("(")):
        return frozenset()
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is {shown(text)}, but must be flags separated by commas")
    found = frozenset(flag.strip().upper() for flag in text.split(",") if flag.strip())
    for flag in sorted(found - known):
        raise InvalidInput(f"{what}: {shown(flag)} is not one of {', '.join(sorted(known))}")
    return found


def yes(value: object, what: str) -> bool:
    """Parse YES or NO."""
    answers = {"YES": True, "NO": False, "TRUE": True, "FALSE": False, "1": True, "0": False}
    answer = answers.get(str(value).upper()) if isinstance(value, bool | int | str) else None
    if answer is None:
        raise InvalidInput(f"{what} is {shown(value)}, but must be YES or NO")
    return answer


def choice(value: object, what: str, allowed: Collection[str]) -> str:
    """Parse one of several words, ignoring case."""
    for word in allowed:
        if isinstance(value, str) and value.lower() == word.lower():
            return word
    raise InvalidInput(f"{what} is {shown(value)}, but must be one of {', '.join(allowed)}")


def name(value: object, what: str) -> str:
    """Parse a name: printable text that is not too long for a column."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > _MAX_NAME_CHARS:
        raise InvalidInput(
            f"{what} is {shown(value)}, but must be a name: printable, and of at most "
            f"{_MAX_NAME_CHARS} characters"
        )
    return value


def known_keys(entry: Mapping[str, object], known: frozenset[str], what: str) -> None:
    """Raise InvalidInput for an unknown key."""
    for key in entry:
        if key not in known:
            raise InvalidInput(f"{what}: {shown(key)} is not one of {', '.join(sorted(known))}")


def _as_text(value: object) -> str:
    """Return a text unchanged, a small whole number in digits, and "" for anything else."""
    if isinstance(value, str):
        return value
    small = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**12
    return str(value) if small else ""


def _pairs(text: object, what: str) -> dict[str, tuple[float, float]]:
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is {shown(text)}, but must be text such as cpu=2,mem=400M")
    pairs = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        found = _TRES.fullmatch(part)
        if found is None:
            raise InvalidInput(
                f"{what}: {shown(part)} must be a name and an amount, such as mem=400M"
            )
        tres_name, amount, suffix = found[1].lower(), float(found[2]), found[3].upper()
        scales = _MEGABYTES if tres_name.split("/")[0] in _IN_MEGABYTES else _THOUSANDS
        pairs[tres_name] = amount, scales[suffix]
    return pairs
