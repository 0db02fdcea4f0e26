"""The `synergy` command: finds its subcommands by entry point. Must not import the service.

Why so much is imported where it is used: openstacksdk and keystoneauth take longer than a command
that needs no cloud, and help needs neither.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from autopage.argparse import help_pager
from cliff.app import App
from cliff.help import HelpExit

from synergy.cli.auth_options import add_auth_options
from synergy.cli.commands import Commands, NotInstalled
from synergy.packages import version

if TYPE_CHECKING:
    from synergy.client import Client

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8051"
_HELP: Final = (["-h"], ["--help"])


class InvalidClouds(Exception):
    """clouds.yaml, or the authentication type, is wrong; known while options are declared."""


class SynergyApp(App):
    """One client for all subcommands.

    With a cloud or an auth_url, Keystone issues a token and its catalogue has the endpoint. Without
    either, requests have no token, which a service on the embedded cloud accepts.
    """

    def __init__(self, argv: Sequence[str] = ()) -> None:
        """argv  decides the authentication plugin, and so which options exist"""
        self._argv = list(argv)
        self._clouds: Any = None
        self._commands = Commands()
        super().__init__(
            description="A fair, shared queue for OpenStack clouds.",
            version=version(),
            command_manager=self._commands,
            deferred_help=True,
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, object] | None = None,
    ) -> argparse.ArgumentParser:
        # With abbreviations, argparse would take `usage report --end` for --endpoint.
        exact = {**(argparse_kwargs or {}), "allow_abbrev": False}
        parser: argparse.ArgumentParser = super().build_option_parser(description, version, exact)
        parser.add_argument(
            "--endpoint",
            metavar="URL",
            default=os.environ.get("SYNERGY_ENDPOINT"),
            help="URL of the Synergy API (environment: SYNERGY_ENDPOINT). Default: the endpoint in "
            f"Keystone's catalogue, or {DEFAULT_ENDPOINT} without a cloud.",
        )
        if self._argv in _HELP or not _names_a_cloud(self._argv):
            add_auth_options(parser)
            return parser
        from openstack.config import OpenStackConfig
        from openstack.exceptions import ConfigException

        # clouds.yaml and the environment are read later, when a subcommand needs the client.
        try:
            self._clouds = OpenStackConfig()
            self._clouds.register_argparse_arguments(parser, self._argv)
        except ConfigException as error:
            raise InvalidClouds(str(error)) from error
        return parser

    def print_help_if_requested(self) -> None:
        """Print the options and a line for each command, without importing the commands."""
        if not self.options.deferred_help:
            return
        with help_pager(self.stdout) as out:
            self.parser.print_help(out)
            out.write("\nCommands:\n")
            for name, summary in self._commands.summaries():
                out.write(f"  {name:<16}  {summary}\n")
        raise HelpExit

    @property
    def client_manager(self) -> "SynergyApp":
        """Return the holder of the client, as the `openstack` command does."""
        return self

    @cached_property
    def synergy(self) -> "Client":
        """Return a client for the given cloud or endpoint."""
        from synergy.client import Client, connect

        named = self.options.os_cloud or getattr(self.options, "os_auth_url", None)
        if not (named or os.environ.get("OS_CLOUD") or os.environ.get("OS_AUTH_URL")):
            verify = self.options.os_cacert or not self.options.insecure
            return connect(self.options.endpoint or DEFAULT_ENDPOINT, verify=verify)
        region = self._clouds.get_one(argparse=self.options)
        return Client(
            region.get_session(),
            endpoint_override=self.options.endpoint or region.get_endpoint("synergy"),
            region_name=region.region_name,
            interface=str(region.config.get("interface") or "public"),
        )


def _names_a_cloud(argv: Sequence[str]) -> bool:
    """Return whether an option or the environment may say how to authenticate."""
    return any(one.startswith("--os") for one in argv) or any(
        name.startswith("OS_") for name in os.environ
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if argv is None else list(argv)
    try:
        return int(SynergyApp(given).run(given))
    except (InvalidClouds, NotInstalled) as error:
        sys.stderr.write(f"{error}\n")
        return 1
