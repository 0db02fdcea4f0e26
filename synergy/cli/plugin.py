"""The `openstack synergy` commands: the functions and names that osc-lib expects of a plugin."""

import argparse
from typing import Any, Final

from synergy.client import Client

DEFAULT_API_VERSION: Final = "1"
API_VERSION_OPTION: Final = "os_synergy_api_version"
API_NAME: Final = "synergy"
API_VERSIONS: Final = ("1",)


def make_client(instance: Any) -> Client:
    """Return a client for the cloud that `openstack` uses."""
    return Client(
        instance.session,
        region_name=instance.region_name,
        interface=instance.interface,
        endpoint_override=instance._cli_options.config.get(  # noqa: SLF001 - as every plugin
            "synergy_endpoint_override"
        ),
    )


def build_option_parser(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the option that chooses the version of the API."""
    parser.add_argument(
        "--os-synergy-api-version",
        metavar="<synergy-api-version>",
        default=DEFAULT_API_VERSION,
        help=f"Synergy API version, default={DEFAULT_API_VERSION} (Env: OS_SYNERGY_API_VERSION)",
    )
    return parser
