"""The `synergy` command: finds its subcommands by entry point. Must not import the service."""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from cliff.app import App
from pbr.version import VersionInfo

from synergy.cli.commands import Commands
from synergy.client import Client, connect

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8051"


class SynergyApp(App):
    """One client for all subcommands.

    With a cloud or an auth_url, Keystone issues a token and its catalogue has the endpoint. Without
    either, requests have no token, which a service on the embedded cloud accepts.
    """

    def __init__(self, argv: Sequence[str] = ()) -> None:
        """argv  decides the authentication plugin, and so which options exist"""
        self._argv = list(argv)
        super().__init__(
            description="A fair, shared queue for OpenStack clouds.",
            version=VersionInfo("synergy").release_string(),
            command_manager=Commands(),
            deferred_help=True,
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, object] | None = None,
    ) -> argparse.ArgumentParser:
        from openstack.config import OpenStackConfig

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
        # clouds.yaml and the environment are read later, when a subcommand needs the client.
        self._clouds = OpenStackConfig()
        self._clouds.register_argparse_arguments(parser, self._argv)
        return parser

    @property
    def client_manager(self) -> "SynergyApp":
        """Return the holder of the client, as the `openstack` command does."""
        return self

    @cached_property
    def synergy(self) -> Client:
        """Return a client for the given cloud or endpoint."""
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    from openstack.exceptions import ConfigException

    try:
        given = sys.argv[1:] if argv is None else list(argv)
        app = SynergyApp(given)
    except ConfigException as error:  # clouds.yaml is read while options are declared
        sys.stderr.write(f"{error}\n")
        return 1
    return int(app.run(given))
