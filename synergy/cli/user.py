"""`synergy user ...`"""

import argparse
from typing import Any, Final

from synergy.cli.command import Lister, ShowOne, client_of
from synergy.cli.project import shares
from synergy.cli.render import pairs, rows
from synergy.client import ApiError

_COLUMNS: Final = ("user_id", "name", "raw_shares", "priority", "active")


class ListUsers(Lister):
    """List the users of a managed project with their shares."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Any:
        return rows(client_of(self).projects.users(parsed.project), _COLUMNS)


class SetUser(ShowOne):
    """Change a user's shares or priority within a managed project."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        parser.add_argument("user", help="Name or id of the user.")
        parser.add_argument(
            "--raw-shares", type=shares, metavar="N|parent",
            help="Shares among the project's users; 'parent': none of its own.",
        )  # fmt: skip
        parser.add_argument(
            "--priority", type=int, metavar="N",
            help="Priority of the association factor; it counts before the project's.",
        )  # fmt: skip
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Any:
        given = {"raw_shares": parsed.raw_shares, "priority": parsed.priority}
        settings = {name: value for name, value in given.items() if value is not None}
        if not settings:
            raise ApiError("nothing to set: give --raw-shares or --priority")
        return pairs(client_of(self).projects.set_user(parsed.project, parsed.user, **settings))
