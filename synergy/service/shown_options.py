"""Shows the configuration as the service would use it: each value, and which file it comes from.

Why: with several files, folders and the defaults of libraries, nobody can tell from a file what
holds. Secrets are masked, since the output ends in tickets. Must not change a value.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from oslo_config import cfg

from synergy.service.options import groups, library_groups, sections_of
from synergy.service.reload import MASKED

DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownOption:
    """An option with its effective value.

    value   as a file would have it; None if there is none; masked if the option is secret
    source  "default", the path of a file, "command line" or the name of an environment variable
    """

    group: str
    option: str
    value: str | None
    source: str


def shown_options(conf: cfg.ConfigOpts) -> list[ShownOption]:
    """Return every option of Synergy and of the libraries below it, by section."""
    return [*_shown(conf)]


def _shown(conf: cfg.ConfigOpts) -> Iterator[ShownOption]:
    named = [sections.get("keystone_authtoken", {}) for _, sections in sections_of(conf)]
    auth_types = [values["auth_type"][-1] for values in named if "auth_type" in values]
    merged: dict[str, list[cfg.Opt]] = {name: list(options) for name, options in groups().items()}
    for group, options in library_groups(*auth_types[-1:]).items():
        merged.setdefault(group, []).extend(options)
    for group, options in merged.items():
        place = None if group == "DEFAULT" else group
        for option in {one.dest: one for one in options}.values():
            conf.register_opt(option, group=place)
            yield _shown_option(conf, group, option)


def _shown_option(conf: cfg.ConfigOpts, group: str, option: cfg.Opt) -> ShownOption:
    place = None if group == "DEFAULT" else group
    found = conf[option.dest] if place is None else conf[place][option.dest]
    value = None if found is None else _written(found)
    return ShownOption(
        group=group,
        option=option.name.replace("-", "_"),
        value=MASKED if option.secret and value else value,
        source=_source(conf, place, option),
    )


def _written(value: object) -> str:
    """Return a value as a file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    if isinstance(value, dict):
        return ",".join(f"{key}:{one}" for key, one in value.items())
    return " ".join(str(value).splitlines())


def _source(conf: cfg.ConfigOpts, group: str | None, option: cfg.Opt) -> str:
    found = conf.get_location(option.dest, group)
    if found is None or not found.location.is_user_controlled:
        return DEFAULT
    return "command line" if found.location is cfg.Locations.command_line else str(found.detail)


def as_file(options: Sequence[ShownOption]) -> Iterator[str]:
    """Yield the lines of a configuration file; what has no value is a comment."""
    group = ""
    for one in options:
        if one.group != group:
            group = one.group
            yield f"[{group}]"
        source = "" if one.source == DEFAULT else f"  # {one.source}"
        if one.value is None:
            yield f"# {one.option} ="
        else:
            yield f"{one.option} = {one.value}{source}"
