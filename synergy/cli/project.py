"""`synergy project ...`"""

import argparse
from typing import Final

from cliff.command import Command

from synergy.cli.command import Lister, ShowOne, client_of
from synergy.cli.options import add_options, given
from synergy.cli.render import Pairs, Table, lines, pairs, rows
from synergy.client import ApiError
from synergy.client.types import Project, ProjectRule
from synergy.core.declared.command import DRY_RUN
from synergy.core.declared.commands import CAREFULLY, RULE, SERVERS
from synergy.core.declared.settings import PROJECT_SETTINGS

_COLUMNS: Final = ("id", "name", "raw_shares", "default_quota", "ttl_s", "private", "handover")


def _shown(project: Project) -> Pairs:
    shown = pairs(project, users=lines(project.get("users", []), "{name}: {raw_shares} share(s)"))
    if "effects" not in project:
        return shown
    return pairs({"would_happen": project["effects"]["text"], **project})


class ListProjects(Lister):
    """List the projects that Synergy manages."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--rule",
            action="store_true",
            help="Show also by which part of the rule each is managed, or that it was added by "
            "hand.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        columns = (*_COLUMNS, "managed_by") if parsed.rule else _COLUMNS
        return rows(client_of(self).projects.list(), columns)


class ShowRule(ShowOne):
    """Show whom [project] manage takes in and lets go, or what another rule would do."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_options(parser, RULE)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _rule(client_of(self).projects.rule(**given(parsed, RULE)))


class ResumeRule(ShowOne):
    """Let all projects leave that [project] manage manages no longer."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _rule(client_of(self).projects.resume_rule())


def _rule(shown: ProjectRule) -> Pairs:
    return pairs(
        shown,
        who_comes=lines(shown["who_comes"], "{name} ({id}): {why} {error}"),
        who_leaves=lines(shown["who_leaves"], "{name} ({id}): {why}; {waiting} request(s) wait"),
        who_is_excepted=lines(shown["who_is_excepted"], "{name} ({id}): {why}"),
    )


class _OneProject(ShowOne):
    settings = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        if self.settings:
            add_options(parser, [*PROJECT_SETTINGS, *CAREFULLY])
        return parser


class ShowProject(_OneProject):
    """Show a managed project with its users."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _shown(client_of(self).projects.show(parsed.project))


class AddProject(_OneProject):
    """Manage a project: its quota moves into Synergy, and its requests are queued."""

    settings = True

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        settings = given(parsed, [*PROJECT_SETTINGS, *CAREFULLY])
        return _shown(client_of(self).projects.add(parsed.project, **settings))


class SetProject(_OneProject):
    """Change a managed project."""

    settings = True

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        settings = given(parsed, PROJECT_SETTINGS)
        if not settings:
            raise ApiError("nothing to set: give one of the options, such as --raw-shares")
        settings |= given(parsed, CAREFULLY)
        return _shown(client_of(self).projects.set(parsed.project, **settings))


class RemoveProject(Command):
    """Stop managing a project: its quota is restored in Nova.

    A dry run prints in numbers what that would do.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        add_options(parser, [SERVERS, DRY_RUN])
        return parser

    def take_action(self, parsed: argparse.Namespace) -> None:
        projects, how = client_of(self).projects, given(parsed, [SERVERS])
        if given(parsed, [DRY_RUN]):
            self.app.stdout.write(f"{projects.try_remove(parsed.project, **how)['text']}\n")
        else:
            projects.remove(parsed.project, **how)
