"""`synergy expiry ...`"""

import argparse
from typing import Final

from synergy.cli.command import Lister, ShowOne, add_limit, add_project, client_of, project_id_of
from synergy.cli.options import add_options, duration_s, given
from synergy.cli.render import Pairs, Table, lines, pairs, rows
from synergy.client.types import Expiry
from synergy.core.declared.command import DRY_RUN
from synergy.core.declared.filters import MARKER

_COLUMNS: Final = (
    "id", "name", "project_id", "user_id", "flavor", "expires_at", "ttl_s", "reason",
)  # fmt: skip


class ListEnding(Lister):
    """List shared servers by their ends, the first to end first; overdue ones are among them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--within",
            type=duration_s,
            metavar="DURATION",
            help="Only those that end so soon: 24h.",
        )
        add_project(parser)
        add_options(parser, [MARKER])
        add_limit(parser, "servers", usual=None)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        project_id = project_id_of(client, parsed.project)
        found = client.reports.ending(
            limit=parsed.limit,
            within_s=parsed.within,
            project_id=project_id,
            **given(parsed, [MARKER]),
        )
        return rows(list(found), _COLUMNS)


class ShowExpiry(ShowOne):
    """Show whether expiry is running, how many servers are due, and which Nova refuses to end."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _pairs(client_of(self).reports.expiry())


class ResumeExpiry(ShowOne):
    """Resume expiry: end all servers that are due by the current wall clock."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_options(parser, [DRY_RUN])
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _pairs(client_of(self).reports.resume_expiry(**given(parsed, [DRY_RUN])))


def _pairs(shown: Expiry) -> Pairs:
    refused = lines(shown["refused"], "{id}: {why}; next try {next_try_at}")
    named = {f"clock_{name}": value for name, value in shown["clock"].items()}
    others = {name: value for name, value in shown.items() if name != "clock"}
    return pairs(others | named, refused=refused)
