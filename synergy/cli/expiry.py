"""`synergy expiry ...`"""

import argparse

from synergy.cli.command import ShowOne, client_of
from synergy.cli.render import Pairs, lines, pairs
from synergy.client.types import Expiry


class ShowExpiry(ShowOne):
    """Show whether expiry is running, how many servers are due, and which Nova refuses to end."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _pairs(client_of(self).reports.expiry())


class ResumeExpiry(ShowOne):
    """Resume expiry: end all servers that are due by the current wall clock."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _pairs(client_of(self).reports.resume_expiry())


def _pairs(shown: Expiry) -> Pairs:
    refused = lines(shown["refused"], "{id}: {why}; next try {next_try_at}")
    named = {f"clock_{name}": value for name, value in shown["clock"].items()}
    others = {name: value for name, value in shown.items() if name != "clock"}
    return pairs(others | named, refused=refused)
