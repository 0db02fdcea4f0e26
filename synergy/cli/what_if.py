"""`synergy what-if` and `synergy policy diff`"""

import argparse
import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from synergy.cli.command import ShowOne, client_of
from synergy.cli.options import duration_s
from synergy.cli.render import Pairs, lines, pairs, vector
from synergy.client import ApiError
from synergy.core.declared.supposed import FORMER_NAMES, POLICY

_OF_PROJECT: Final = "PROJECT=CLASS=N,..."
_PROJECT: Final = (
    "{name}: {earlier} earlier, {later} later, {same} the same, {never} no longer, "
    "{after_all} only then; mean {mean_change_s:+.0f} s"
)
_CLASS: Final = (
    "{project_id} {demand}: {earlier} earlier, {later} later; mean {mean_change_s:+.0f} s"
)
_REQUEST: Final = "{id}: {before} -> {after}"


class AskWhatIf(ShowOne):
    """Show who would start earlier or later under other shares, quotas, rules or hosts.

    The queue is run to its end as things are and as they are supposed to be. Nothing is changed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        for option, metavar, what in (
            ("--shares", "PROJECT=N", "Shares of a project."),
            ("--private", _OF_PROJECT, "Private quota of a project."),
            ("--borrow-limit", _OF_PROJECT, "Limit of a project on the shared quota."),
            ("--suspend", "PROJECT", "A project whose requests wait."),
            ("--option", "NAME=VALUE", f"An option of the scheduler: {', '.join(POLICY)}."),
            ("--host-down", "HOST", "A host that takes no more servers; those on it go on."),
            ("--host-added", "CLASS=N,...", "A host that there will be."),
            ("--request", "PROJECT:FLAVOR[:COUNT]", "Servers that a project asks for now."),
            ("--withdraw", "ID", "A waiting request that is withdrawn."),
        ):
            more = f"{what} May be given several times."
            parser.add_argument(option, action="append", default=[], metavar=metavar, help=more)
        parser.add_argument(
            "--half-life",
            type=duration_s,
            metavar="DURATION",
            help="Time after which usage counts half from now on, such as 24h; 0: it never fades.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        projects: dict[str, dict[str, object]] = {}
        for text in parsed.shares:
            name, value = _split(text, "--shares", "PROJECT=N")
            projects.setdefault(name, {})["raw_shares"] = _whole(value, "--shares")
        for option, key in (("--private", "private"), ("--borrow-limit", "borrow_limit")):
            for text in getattr(parsed, key):
                name, value = _split(text, option, _OF_PROJECT)
                projects.setdefault(name, {})[key] = _amounts(value, option)
        for name in parsed.suspend:
            projects.setdefault(name, {})["suspended"] = True
        supposed = {
            "projects": projects,
            "policy": dict(
                _option(*_split(text, "--option", "NAME=VALUE")) for text in parsed.option
            ),
            "half_life_s": parsed.half_life,
            "hosts_down": parsed.host_down,
            "hosts_added": [_amounts(text, "--host-added") for text in parsed.host_added],
            "requests": [_request(text) for text in parsed.request],
            "withdraw": parsed.withdraw,
        }
        given = {key: value for key, value in supposed.items() if value not in (None, [], {})}
        return _pairs(client_of(self).requests.what_if(given))


class DiffPolicy(ShowOne):
    """Show who would start earlier or later with the scheduler's options of a configuration file.

    Compares [scheduler] and decay_half_life_s of [fairshare] with what the service runs with. Other
    options of these sections are named, and not compared. Nothing is changed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("file", type=Path, metavar="FILE", help="A file such as synergy.conf.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        supposed, others = _of_file(parsed.file)
        found = _pairs(client_of(self).requests.what_if(supposed))
        return (*found[0], "not_compared"), (*found[1], ", ".join(others))


def _of_file(path: Path) -> tuple[dict[str, object], list[str]]:
    """Return what a configuration file supposes, and its options that cannot be compared."""
    file = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    try:
        file.read_string(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeError, configparser.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ApiError(f"{path}: {reason}") from error
    policy: dict[str, object] = {}
    others = []
    for given, value in file["scheduler"].items() if "scheduler" in file else ():
        name = FORMER_NAMES.get(given, given)
        if name in POLICY:
            key, read = _option(name, value or "", f"{path}: [scheduler] {name}")
            policy[key] = read
        elif name not in file.defaults():
            others.append(f"[scheduler] {name}")
    supposed: dict[str, object] = {"policy": policy} if policy else {}
    for name, value in file["fairshare"].items() if "fairshare" in file else ():
        if name == "decay_half_life_s":
            supposed["half_life_s"] = _real(value or "", f"{path}: [fairshare] {name}")
        elif name not in file.defaults():
            others.append(f"[fairshare] {name}")
    if not supposed:
        raise ApiError(
            f"{path} has none of the options that can be compared: [fairshare] decay_half_life_s, "
            f"[scheduler] {', '.join(POLICY)}"
        )
    return supposed, others


def _pairs(found: Mapping[str, Any]) -> Pairs:
    before, after = found["before"], found["after"]
    values = {name: {"before": before[name], "after": after[name]} for name in before}
    words = {name: f"{_word(before[name])} -> {_word(after[name])}" for name in before}
    names = ("projects", "classes", "most_earlier", "most_later", "hypothetical", "until",
             "seconds", "round_id")  # fmt: skip
    return pairs(
        {"supposed": found["supposed"], **values, **{name: found[name] for name in names}},
        supposed=", ".join(found["supposed"]),
        projects=lines(found["projects"], _PROJECT),
        classes=lines(found["classes"], _CLASS),
        most_earlier=lines(found["most_earlier"], _REQUEST),
        most_later=lines(found["most_later"], _REQUEST),
        **words,
    )


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "never" if value is None else str(value)


def _split(text: str, option: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not (name and found and value):
        raise ApiError(f"{option} is {text!r}, but must be {form}")
    return name, value


def _option(name: str, value: str, where: str | None = None) -> tuple[str, object]:
    where = where or f"--option {name}"
    if name not in POLICY:
        raise ApiError(f"{where} is unknown: it must be one of {', '.join(POLICY)}")
    kind = POLICY[name]["type"]
    if kind == "integer":
        return name, _whole(value, where)
    if kind == "number":
        return name, _real(value, where)
    if kind == "object":
        return name, _weights(value, where)
    return name, value


def _weights(text: str, where: str) -> dict[str, float]:
    """Read what the option has in a configuration file: VCPU:1000,MEMORY_MB:2.5."""
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, colon, value = (one.strip() for one in part.partition(":"))
        if not (name and colon):
            raise ApiError(f"{where} has {part!r}, but must have CLASS:WEIGHT such as VCPU:1000")
        found[name] = _real(value, f"{where} {name}", "a number")
    return found


def _whole(text: str, where: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ApiError(f"{where} is {text!r}, but must be a whole number from 0")
    return int(text)


def _real(text: str, where: str, what: str = "a number of seconds") -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ApiError(f"{where} is {text!r}, but must be {what}") from error


def _amounts(text: str, option: str) -> dict[str, int]:
    """Read amounts as `project set` does, but for none: what there is not is not supposed."""
    try:
        found = vector(text)
    except argparse.ArgumentTypeError as error:
        raise ApiError(f"{option}: {error}") from error
    return {name: _known(name, amount, option) for name, amount in found.items()}


def _known(name: str, amount: int | None, option: str) -> int:
    if amount is None:
        raise ApiError(f"{option}: {name} is none, but must be a whole number such as {name}=4")
    return amount


def _request(text: str) -> dict[str, object]:
    project, *rest = text.split(":")
    if not project or len(rest) not in (1, 2) or not rest[0]:
        raise ApiError(f"--request is {text!r}, but must be PROJECT:FLAVOR[:COUNT]")
    found: dict[str, object] = {"project": project, "flavor": rest[0]}
    if len(rest) == 2:
        found["count"] = _whole(rest[1], "--request COUNT")
    return found
