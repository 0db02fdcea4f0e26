"""`synergy expiry ...`"""

import argparse
from typing import Any

from synergy.cli.command import ShowOne, client_of
from synergy.cli.render import lines, pairs


class ShowExpiry(ShowOne):
    """Show whether servers are ended, how many are due, and which Nova refuses to end."""

    def take_action(self, parsed: argparse.Namespace) -> Any:
        return _pairs(client_of(self).reports.expiry())


class ResumeExpiry(ShowOne):
    """Let servers be ended again: all that are due, by the wall clock as it is."""

    def take_action(self, parsed: argparse.Namespace) -> Any:
        return _pairs(client_of(self).reports.resume_expiry())


def _pairs(shown: dict[str, Any]) -> Any:
    clock = shown.pop("clock")
    refused = lines(shown["refused"], "{id}: {why}; next try {next_try_at}")
    named = {f"clock_{name}": value for name, value in clock.items()}
    return pairs(shown | named, refused=refused)
