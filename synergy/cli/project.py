"""`synergy project ...`"""

import argparse
from collections.abc import Mapping
from typing import Any, Final

from cliff.command import Command

from synergy.cli.command import Lister, ShowOne, client_of
from synergy.cli.options import add_options, given
from synergy.cli.render import lines, pairs, rows
from synergy.client import ApiError
from synergy.core.declared.settings import PROJECT_SETTINGS

_COLUMNS: Final = ("id", "name", "raw_shares", "default_quota", "ttl_s", "private", "handover")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add_options(parser, PROJECT_SETTINGS)
    parser.add_argument(
        "--dry-run", action="store_true", help="Change nothing, and tell what would happen."
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="Do it although the private quotas then exceed the cloud, or no host has a class.",
    )


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
        settings: dict[str, Any] = given(parsed, PROJECT_SETTINGS) | _how(parsed)
        return _shown(client_of(self).projects.add(parsed.project, **settings))


class SetProject(_OneProject):
    """Change a managed project."""

    settings = True

    def take_action(self, parsed: argparse.Namespace) -> Any:
        settings = given(parsed, PROJECT_SETTINGS)
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
