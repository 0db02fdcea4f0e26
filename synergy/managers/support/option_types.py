"""Types of options that oslo.config lacks; a wrong value is told with all others at the start.

A type raises ValueError naming the value and what is allowed, as those of oslo.config do.
"""

from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from oslo_config import types

from synergy.core.model import RESOURCE_CLASS

HIGHEST = 1e12


class Numbers(types.Dict):
    """Numbers >= 0 by name, such as normal:0,urgent:100."""

    def __init__(self) -> None:
        super().__init__(value_type=types.String())

    def __call__(self, value: object) -> Any:
        return {name: _number(name, text) for name, text in super().__call__(value).items()}


class ResourceNumbers(Numbers):
    """Numbers >= 0 by resource class, such as VCPU:1.0,MEMORY_MB:0.00025."""

    def __call__(self, value: object) -> Any:
        read = super().__call__(value)
        for name in read:
            if not RESOURCE_CLASS.fullmatch(name):
                raise ValueError(f"{name!r} is not a resource class such as VCPU")
        return read


class TimeZone(types.String):
    """A name of the IANA time zone database, such as Europe/Rome."""

    def __call__(self, value: object) -> str:
        name: str = super().__call__(value)
        zone_of(name)
        return name


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= HIGHEST:
        raise ValueError(f"{name} is {text!r}, but must be a number from 0 to {HIGHEST:.0e}")
    return number


def zone_of(name: str) -> tzinfo:
    """Return a time zone by name. Raises ValueError."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"{name!r} is not a time zone of this machine (tzdata)") from error
