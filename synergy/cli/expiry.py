"""`synergy expiry ...`"""

import argparse

from synergy.cli.command import ShowOne, client_of
from synergy.cli.options import add_options, given
from synergy.cli.render import Pairs, lines, pairs
from synergy.client.types import Expiry
from synergy.core.declared.commands import DRY_RUN


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
