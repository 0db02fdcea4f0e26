"""`synergy project ...`"""

import argparse
from typing import Any, Final

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from synergy.cli.client import ApiError, client_of
from synergy.cli.render import pairs, rows, vector

_COLUMNS: Final = ("id", "name", "raw_shares", "default_quota", "ttl_s", "private", "handover")
_CHOICES: Final = {
    "default_quota": ["private", "shared", "private_then_shared"],
    "on_private_full": ["reject", "queue", "shared"],
    "expiry_action": ["delete", "shelve", "stop", "snapshot_delete"],
}
_NUMBERS: Final = {
    "priority": "Priority of the association factor; that of a user counts before the project's.",
    "ttl_s": "Longest lifetime of a shared server, seconds.",
    "max_waiting": "Most requests that may wait.",
    "max_waiting_per_user": "Most requests of one user that may wait.",
}
_VECTORS: Final = {
    "private": "Private quota.",
    "borrow_limit": "Most that may be held on the shared quota; 'none' for no limit.",
    "lend_limit": "Most of the private quota that is lent while idle; 'none' for no limit.",
}


def _limit(text: str) -> dict[str, int] | None:
    return None if text == "none" else vector(text)


def _shares(text: str) -> int | str:
    if text != "parent" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 0, or 'parent'")
    return text if text == "parent" else int(text)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--raw-shares",
        type=_shares,
        metavar="N|parent",
        help="Shares among the projects, or users, beside it; 'parent': none of its own.",
    )
    for name, text in _NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=text)
    for name, choices in _CHOICES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", choices=choices)
    for name, text in _VECTORS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_limit,
            default=argparse.SUPPRESS,
            metavar="CLASS=N,...",
            help=text,
        )
    parser.add_argument(
        "--suspended",
        action=argparse.BooleanOptionalAction,
        help="Let its requests wait, or no longer.",
    )


def _settings(parsed: argparse.Namespace) -> dict[str, Any]:
    plain = ["raw_shares", *_NUMBERS, *_CHOICES, "suspended"]
    given = {name: getattr(parsed, name) for name in plain if getattr(parsed, name) is not None}
    return given | {name: getattr(parsed, name) for name in _VECTORS if hasattr(parsed, name)}


def _shown(project: dict[str, Any]) -> Any:
    users = project.get("users", [])
    text = "\n".join(f"{user['name']}: {user['raw_shares']} share(s)" for user in users)
    return pairs(project | {"users": text})


class ListProjects(Lister):
    """List the projects that Synergy manages."""

    def take_action(self, parsed: argparse.Namespace) -> Any:
        return rows(client_of(self).get("/projects")["projects"], _COLUMNS)


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
        return _shown(client_of(self).get(f"/projects/{parsed.project}")["project"])


class AddProject(_OneProject):
    """Manage a project: its quota moves into Synergy, its requests are queued."""

    settings = True

    def take_action(self, parsed: argparse.Namespace) -> Any:
        body = {"project": parsed.project, **_settings(parsed)}
        return _shown(client_of(self).post("/projects", body)["project"])


class SetProject(_OneProject):
    """Change a managed project, or the shares of one of its users."""

    settings = True

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--user", help="Change the --raw-shares or --priority of this user instead."
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Any:
        settings = _settings(parsed)
        path = f"/projects/{parsed.project}"
        if parsed.user is None:
            return _shown(client_of(self).patch(path, settings)["project"])
        if not settings or not settings.keys() <= {"raw_shares", "priority"}:
            raise ApiError("--user goes with --raw-shares or --priority, and with nothing else")
        return pairs(client_of(self).patch(f"{path}/users/{parsed.user}", settings)["user"])


class RemoveProject(Command):
    """Manage a project no longer: Nova gets back the quota it had."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> None:
        client_of(self).delete(f"/projects/{parsed.project}")
