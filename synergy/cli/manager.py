"""`synergy manager ...`"""

import argparse
import json

from cliff.command import Command

from synergy.cli.command import Lister, ShowOne, client_of
from synergy.cli.options import add_options, given
from synergy.cli.render import Pairs, Table, lines, pairs, rows
from synergy.client import ApiError
from synergy.core.declared.command import DRY_RUN

_COLUMNS = (
    "name", "status", "runs", "failures", "last_run_at", "next_run_at", "lag_s", "hindrance",
    "last_error",
)  # fmt: skip


class ListManagers(Lister):
    """List the managers of the service with their status."""

    def take_action(self, parsed: argparse.Namespace) -> Table:
        return rows(client_of(self).managers.list(), _COLUMNS)


class _OneManager(ShowOne):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("manager", help="Name of the manager.")
        return parser


class ShowManager(_OneManager):
    """Show one manager with its commands."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        shown = client_of(self).managers.show(parsed.manager)
        return pairs(shown, commands=lines(shown["commands"], "{name}: {help}"))


class StartManager(_OneManager):
    """Start a stopped manager."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        shown = client_of(self).managers.start(parsed.manager)
        return pairs({name: value for name, value in shown.items() if name in _COLUMNS})


class StopManager(_OneManager):
    """Stop a manager after its current run, and show what that means until it is started."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_options(parser, [DRY_RUN])
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        found = client_of(self).managers.stop(parsed.manager, **given(parsed, [DRY_RUN]))
        shown_fields = (*_COLUMNS, "stopped_means")
        return pairs({name: value for name, value in found.items() if name in shown_fields})


class ExecuteManager(Command):
    """Run a command of a manager, and print its JSON result."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("manager", help="Name of the manager.")
        parser.add_argument("manager_command", metavar="command", help="Name of the command.")
        parser.add_argument(
            "arguments",
            nargs="*",
            metavar="NAME=VALUE",
            help="Arguments; a value is parsed as JSON if possible, else taken as text.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> None:
        arguments = dict(_argument(text) for text in parsed.arguments)
        answer = client_of(self).managers.execute(parsed.manager, parsed.manager_command, arguments)
        self.app.stdout.write(f"{json.dumps(answer, indent=2)}\n")


def _argument(text: str) -> tuple[str, object]:
    name, found, value = text.partition("=")
    if not found:
        raise ApiError(f"{text!r} must have the form NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
