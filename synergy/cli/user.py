"""`synergy user ...`"""

import argparse
from typing import Final

from synergy.cli.command import Lister, ShowOne, client_of
from synergy.cli.options import add_options, given, name_of
from synergy.cli.render import Pairs, Table, pairs, rows
from synergy.client import ApiError
from synergy.core.declared.settings import USER_SETTINGS

_COLUMNS: Final = ("user_id", "name", "raw_shares", "priority", "active")


class ListUsers(Lister):
    """List the users of a managed project with their shares."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        return rows(client_of(self).projects.users(parsed.project), _COLUMNS)


class SetUser(ShowOne):
    """Change a user's shares or priority within a managed project."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("project", help="Name or id of the project.")
        parser.add_argument("user", help="Name or id of the user.")
        add_options(parser, USER_SETTINGS)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        settings = given(parsed, USER_SETTINGS)
        if not settings:
            options = " or ".join(name_of(one) for one in USER_SETTINGS)
            raise ApiError(f"nothing to set: give {options}")
        return pairs(client_of(self).projects.set_user(parsed.project, parsed.user, **settings))
