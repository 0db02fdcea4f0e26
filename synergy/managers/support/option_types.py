"""Types of options that oslo.config lacks; a wrong value is told with all others at the start.

A type raises ValueError naming the value and what is allowed, as those of oslo.config do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from oslo_config import cfg, types

from synergy.core.declared.fields import Setting
from synergy.core.declared.kinds import RESOURCE_CLASS, Amounts, Choice, Flag, Kind, OrNone, plain
from synergy.core.declared.sentences import sentence_of
from synergy.core.membership import Manage

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


class ManageText(types.String):
    """A rule of which projects are managed: listed, all, or domains:NAME_OR_ID,..."""

    def __init__(self) -> None:
        super().__init__(type_name="rule value")

    def __call__(self, value: object) -> str:
        return str(Manage.read(super().__call__(value)))


@dataclass(frozen=True, slots=True)
class Given:
    """A value as JSON; an option that is not set is None, so null needs a value of its own."""

    json: Any

    def __str__(self) -> str:
        return str(self.json)


class SettingText(types.String):
    """The value of a setting as text, checked by its kind, as `Given`.

    Amounts are CLASS:N,CLASS:N; `none` is null, where a setting can be null.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(type_name=f"{plain(setting.kind).words()} value")
        self._setting = setting
        self._validator = Draft202012Validator(setting.kind.schema())

    def __call__(self, value: object) -> Any:
        if isinstance(value, Given):
            return value
        text = super().__call__(value).strip()
        given = _json_of(text, self._setting.kind)
        error = best_match(self._validator.iter_errors(given))
        if error is not None:
            raise ValueError(f"{text!r} cannot be used: {sentence_of(error)}")
        return Given(given)


def _json_of(text: str, kind: Kind) -> Any:
    """Return text as the JSON that it stands for; what cannot be read stays text."""
    if text == "none" and isinstance(kind, OrNone):
        return None
    if isinstance(plain(kind), Amounts):
        pairs = [part.partition(":") for part in text.split(",") if part.strip()]
        return {name.strip(): _number_or_text(amount.strip()) for name, _, amount in pairs}
    if isinstance(plain(kind), Flag):
        return {"true": True, "false": False}.get(text.lower(), text)
    return text if isinstance(plain(kind), Choice) else _number_or_text(text)


def _number_or_text(text: str) -> int | str | None:
    if text == "none":
        return None
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 16 else text


TEMPLATE: Final = "template_"


def template_options(table: Iterable[Setting]) -> list[cfg.Opt]:
    """Return an option for each setting, unset by default, named after it."""
    return [
        cfg.Opt(
            TEMPLATE + one.name,
            type=SettingText(one),
            mutable=True,
            help=f"For projects that are taken in by rule. {one.help} Default: that of a project "
            "added by hand without this option.",
        )
        for one in table
    ]


def template_of(conf: Any, table: Iterable[Setting]) -> dict[str, Any]:
    """Return the settings that the options of `template_options` set, as JSON by name."""
    found = {one.name: conf[TEMPLATE + one.name] for one in table}
    return {name: value.json for name, value in found.items() if value is not None}
