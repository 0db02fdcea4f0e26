"""The `synergy` command: finds its subcommands by entry point. Must not import the service."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from cliff.app import App
from cliff.commandmanager import CommandManager
from pbr.version import VersionInfo

from synergy.cli.client import Client


class SynergyApp(App):
    """One client for all subcommands."""

    def __init__(self) -> None:
        super().__init__(
            description="A fair, shared queue for OpenStack clouds.",
            version=VersionInfo("synergy").release_string(),
            command_manager=CommandManager("synergy.cli"),
            deferred_help=True,
        )

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: Any = None
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().build_option_parser(
            description, version, argparse_kwargs
        )
        parser.add_argument(
            "--endpoint",
            default=os.environ.get("SYNERGY_ENDPOINT", "http://127.0.0.1:8051"),
            help="URL of the Synergy API (environment: SYNERGY_ENDPOINT; "
            "default: http://127.0.0.1:8051).",
        )
        return parser

    @property
    def client(self) -> Client:
        """Return a client for the endpoint that was asked for."""
        return Client(self.options.endpoint)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return int(SynergyApp().run(sys.argv[1:] if argv is None else list(argv)))
