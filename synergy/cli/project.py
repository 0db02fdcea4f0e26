"""`synergy project ...`"""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from cliff.command import Command

from synergy.cli.command import Lister, ShowOne, client_of
from synergy.cli.render import lines, pairs, rows, vector
from synergy.client import ApiError

_COLUMNS: Final = ("id", "name", "raw_shares", "default_quota", "ttl_s", "private", "handover")
_CHOICES: Final = {
    "default_quota": (
        ["private", "shared", "private_then_shared"],
        "Quota of requests that do not choose one.",
    ),
    "on_private_full": (
        ["reject", "queue", "shared"],
        "What becomes of a request that the private quota cannot hold now.",
    ),
    "expiry_action": (
        ["delete", "shelve", "stop", "snapshot_delete"],
        "What is done to a shared server whose lifetime is over.",
    ),
    "on_build_failure": (
        ["keep", "delete"],
        "What is done to a server whose build Nova gave up.",
    ),
    "on_lost": (
        ["tell", "error", "rebuild_by_user"],
        "What is done to a server that Nova's conductor got and does not build.",
    ),
}
_NUMBERS: Final = {
    "priority": "Priority of the association factor; that of a user counts before the project's.",
    "ttl_s": "Longest lifetime of a shared server, seconds.",
    "max_waiting": "Most requests that may wait.",
    "max_waiting_per_user": "Most requests of one user that may wait.",
}
_LIMITS: Final = {
    "private": "Private quota; classes that are not named stay. CLASS=none: no limit of its own.",
    "max_private_servers": "Most servers on the private quota; 'none' for no limit.",
    "borrow_limit": "Most that may be held on the shared quota; 'none' for no limit.",
    "lend_limit": "Most of the private quota that is lent while idle; 'none' for no limit.",
}


class _Amounts(argparse.Action):
    """Adds up repeated options; a class that is named twice has its last amount."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        before = getattr(namespace, self.dest, None)
        both = values if values is None or before is None else {**before, **values}
        setattr(namespace, self.dest, both)


def _limit(text: str) -> dict[str, int | None] | None:
    return None if text == "none" else vector(text)


def _amount_of_numbers(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 16:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0")
    return int(text)


def _count(text: str) -> int | None:
    if text != "none" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0, or 'none'")
    return None if text == "none" else int(text)


def shares(text: str) -> int | str:
    """Read raw shares. Raises ArgumentTypeError."""
    if text != "parent" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0, or 'parent'")
    return text if text == "parent" else int(text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw-shares",
        type=shares,
        metavar="N|parent",
        help="Shares among the projects, or users, beside it; 'parent': none of its own.",
    )
    for name, text in _NUMBERS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=_amount_of_numbers, metavar="N", help=text
        )
    for name, (choices, text) in _CHOICES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", choices=choices, help=text)
    for name, text in _LIMITS.items():
        of_servers = name == "max_private_servers"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_count if of_servers else vector if name == "private" else _limit,
            action="store" if of_servers else _Amounts,
            default=argparse.SUPPRESS,
            metavar="N" if of_servers else "CLASS=N,...",
            help=text,
        )
    parser.add_argument(
        "--suspended",
        action=argparse.BooleanOptionalAction,
        help="Let its requests wait, or no longer.",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Change nothing, and tell what would happen."
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="Do it although the private quotas then exceed the cloud, or no host has a class.",
    )


def _settings(parsed: argparse.Namespace) -> dict[str, Any]:
    plain = ["raw_shares", *_NUMBERS, *_CHOICES, "suspended"]
    given = {name: getattr(parsed, name) for name in plain if getattr(parsed, name) is not None}
    return given | {name: getattr(parsed, name) for name in _LIMITS if hasattr(parsed, name)}


def _how(parsed: argparse.Namespace) -> dict[str, bool]:
    return {name: True for name in ("dry_run", "force") if getattr(parsed, name)}


def _shown(project: Mapping[str, Any]) -> Any:
    shown = pairs(project, users=lines(project.get("users", []), "{name}: {raw_shares} share(s)"))
    if "effects" not in project:
        return shown
    return pairs({"would_happen": project["effects"]["text"], **project})


class ListProjects(Lister):
    """List the projects that Synergy manages."""

    def take_action(self, parsed: argparse.Namespace) -> Any:
        return rows(client_of(self).projects.list(), _COLUMNS)


class _OneProject(ShowOne):
    settings = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        if self.settings:
            _add_settings(parser)
        return parser


class ShowProject(_OneProject):
    """Show a managed project with its users."""

    def take_action(self, parsed: argparse.Namespace) -> Any:
        return _shown(client_of(self).projects.show(parsed.project))


class AddProject(_OneProject):
    """Manage a project: its quota moves into Synergy, its requests are queued."""

    settings = True

    def take_action(self, parsed: argparse.Namespace) -> Any:
        settings: dict[str, Any] = _settings(parsed) | _how(parsed)
        return _shown(client_of(self).projects.add(parsed.project, **settings))


class SetProject(_OneProject):
    """Change a managed project."""

    settings = True

    def take_action(self, parsed: argparse.Namespace) -> Any:
        settings = _settings(parsed)
        if not settings:
            raise ApiError("nothing to set: give one of the options, such as --raw-shares")
        return _shown(client_of(self).projects.set(parsed.project, **(settings | _how(parsed))))


class RemoveProject(Command):
    """Manage a project no longer: Nova gets back the quota it had."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        parser.add_argument(
            "--servers",
            choices=["keep", "expire"],
            default="keep",
            help="What becomes of its servers on the shared quota. keep: they have no end any "
            "more. expire: they are deleted at the end that they have.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> None:
        client_of(self).projects.remove(parsed.project, servers=parsed.servers)
