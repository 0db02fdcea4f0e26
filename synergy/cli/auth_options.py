"""The options of openstacksdk, declared for commands and help that name no cloud.

Why: importing openstacksdk and keystoneauth takes several times as long as everything else that
help needs. As soon as an option or the environment names a cloud, openstacksdk adds its own. A test
compares the two. Must not import either.
"""

import argparse
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class AuthOption:
    """An option: its flags, its help, and what differs from a plain text option."""

    flags: str  # separated by spaces
    help: str
    more: tuple[tuple[str, Any], ...] = ()

    def add_to(self, group: Any) -> None:
        """Add the option to a parser or to a group of one."""
        flags = self.flags.split()
        dest = flags[0].removeprefix("--").replace("-", "_")
        group.add_argument(*flags, dest=dest, help=self.help, **dict(self.more))


def _hidden(flag: str) -> AuthOption:
    return AuthOption(flag, argparse.SUPPRESS)


_SWITCH: Final = (("action", "store_true"),)
_CLOUD: Final = (
    AuthOption("--os-cloud", "Name of a cloud in clouds.yaml (environment: OS_CLOUD)."),
    AuthOption("--os-auth-type --os-auth-plugin",
               "Plugin of keystoneauth; it decides which further --os options there are.",
               (("default", "password"),)),
    *map(_hidden, ("--http-timeout", "--os-endpoint-type", "--endpoint-type")),
)  # fmt: skip
_CREDENTIALS: Final = (
    AuthOption("--os-auth-url", "URL of Keystone."),
    AuthOption("--os-system-scope", "Ask for a token of the system: all."),
    AuthOption("--os-domain-id", "Ask for a token of the domain with this id."),
    AuthOption("--os-domain-name", "Ask for a token of the domain with this name."),
    AuthOption("--os-project-id --os-tenant-id", "Ask for a token of the project with this id."),
    AuthOption("--os-project-name --os-tenant-name",
               "Ask for a token of the project with this name."),
    AuthOption("--os-project-domain-id", "Id of the domain that the project is in."),
    AuthOption("--os-project-domain-name", "Name of the domain that the project is in."),
    AuthOption("--os-trust-id", "Id of the trust to act on."),
    AuthOption("--os-default-domain-id", "Id of the domain of user and project."),
    AuthOption("--os-default-domain-name", "Name of the domain of user and project."),
    AuthOption("--os-user-id", "Id of the user."),
    AuthOption("--os-username --os-user-name", "Name of the user."),
    AuthOption("--os-user-domain-id", "Id of the domain that the user is in."),
    AuthOption("--os-user-domain-name", "Name of the domain that the user is in."),
    AuthOption("--os-password", "Password of the user."),
)  # fmt: skip
_CONNECTION: Final = (
    AuthOption("--insecure", "Do not verify certificates.", _SWITCH),
    AuthOption("--os-cacert", "File with the certificates of authorities to trust."),
    AuthOption("--os-cert", "File with the client's own certificate."),
    AuthOption("--os-key", "File with the private key of that certificate."),
    AuthOption("--timeout", "Seconds to wait for an answer.", (("default", 600),)),
    AuthOption("--collect-timing", "Measure how long each call takes.", _SWITCH),
    AuthOption("--tls-ciphers", "Ciphers to allow, in the notation of OpenSSL."),
    AuthOption("--tls-min-version", "Oldest version of TLS to allow.",
               (("choices", [None, "1.2", "1.3"]),)),
)  # fmt: skip
_SERVICE: Final = (
    AuthOption("--os-service-type", "Type of the service in the catalogue."),
    AuthOption("--os-service-name", "Name of the service in the catalogue."),
    AuthOption("--os-interface", "Which endpoint to use: public, internal or admin.",
               (("default", "public"),)),
    AuthOption("--os-region-name", "Region to use (environment: OS_REGION_NAME)."),
    AuthOption("--os-endpoint-override", "Endpoint to use instead of the catalogue's."),
    AuthOption("--os-api-version", "Version of the service's API."),
)  # fmt: skip
GROUPS: Final = (
    ("Which cloud", "Every option can also be an environment variable, such as OS_USERNAME.",
     _CLOUD),
    ("Credentials", "Those of the plugin `password`; other plugins have others.", _CREDENTIALS),
    ("Connections", "How to connect to Keystone and to Synergy.", _CONNECTION),
    ("Endpoint", "Which endpoint of Keystone's catalogue to use.", _SERVICE),
)  # fmt: skip


def add_auth_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of openstacksdk for passwords."""
    for title, description, options in GROUPS:
        group = parser.add_argument_group(title, description)
        for option in options:
            option.add_to(group)
