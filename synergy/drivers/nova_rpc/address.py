"""Broker addresses: URLs and options in the format of oslo.messaging.

Why: an operator copies transport_url from nova.conf, with several hosts and TLS in it. Must not
open a connection.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from oslo_config import cfg

from synergy.core.errors import InvalidInput

PORT: Final = 5672
TLS_PORT: Final = 5671
FORM: Final = "rabbit://user:password@host:5672/vhost"
_VERSIONS: Final = ("TLSv1_2", "TLSv1_3")
OPTIONS: Final = (
    cfg.BoolOpt(
        "ssl",
        default=False,
        help="Use TLS to the brokers, as Nova does with [oslo_messaging_rabbit] ssl. Their "
        "certificates are always verified. This and the following options may also be given in a "
        "URL, which takes precedence: "
        "rabbit://user:password@host:5671/vhost?ssl=1&ssl_ca_file=/etc/ssl/ca.pem.",
    ),
    cfg.StrOpt(
        "ssl_ca_file",
        help="File with the CA certificates that verify the brokers. Default: those of "
        "the system.",
    ),
    cfg.StrOpt(
        "ssl_cert_file",
        help="File with Synergy's client certificate, for brokers that require one.",
    ),
    cfg.StrOpt("ssl_key_file", help="File with the private key of that certificate."),
    cfg.StrOpt(
        "ssl_version",
        choices=[(_VERSIONS[0], "TLS 1.2 or later."), (_VERSIONS[1], "TLS 1.3 or later.")],
        help="Lowest TLS version to accept. Default: what the system allows.",
    ),
    cfg.IntOpt(
        "heartbeat_timeout_threshold",
        default=30,
        min=0,
        max=3600,
        help="Seconds without a heartbeat after which a broker's connection counts as dead; 0 "
        "disables heartbeats.",
    ),
    cfg.FloatOpt(
        "kombu_reconnect_delay",
        default=1.0,
        min=0.1,
        max=300,
        help="Seconds before the first attempt to reconnect after a connection broke.",
    ),
    cfg.StrOpt(
        "kombu_failover_strategy",
        default="round-robin",
        choices=[("round-robin", "In the order of the URL."), ("shuffle", "In random order.")],
        help="In which order to try the hosts of a URL when one is down.",
    ),
)  # fmt: skip
_TRUE: Final = ("1", "true", "yes", "on")
_FALSE: Final = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host of a broker."""

    name: str
    port: int
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How to verify the brokers' certificates, and the client certificate to present."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A vhost on one or several hosts, any of which can serve it."""

    hosts: tuple[Host, ...]
    vhost: str
    tls: Tls | None = None
    heartbeat_s: float = 30.0
    reconnect_s: float = 1.0
    shuffled: bool = False

    def __str__(self) -> str:
        """Return the address without passwords, for logs."""
        hosts = ",".join(f"{host.name}:{host.port}" for host in self.hosts)
        return f"{'amqps' if self.tls else 'amqp'}://{hosts}/{self.vhost}"


def read_address(url: str, configured: Mapping[str, object] | None = None) -> Address:
    """Parse the URL of a broker; `configured` options apply where the URL sets none.

    Raises InvalidInput, whose message contains no password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidInput(f"it must look like {FORM}: {error}") from error
    if parts.scheme not in ("rabbit", "amqp", "amqps"):
        raise InvalidInput(f"it must look like {FORM}, and begin with rabbit://")
    options = _merged_options(parts.query, configured or {})
    tls = None
    if options["ssl"] or parts.scheme == "amqps":
        tls = Tls(
            ca_file=_readable(options, "ssl_ca_file"),
            cert_file=_readable(options, "ssl_cert_file"),
            key_file=_readable(options, "ssl_key_file"),
            version=options["ssl_version"] or None,
        )
        if tls.key_file and not tls.cert_file:
            raise InvalidInput("ssl_key_file needs ssl_cert_file")
    return Address(
        hosts=_hosts(parts.netloc, TLS_PORT if tls else PORT),
        vhost=unquote(parts.path[1:]) or "/",
        tls=tls,
        heartbeat_s=float(options["heartbeat_timeout_threshold"]),
        reconnect_s=float(options["kombu_reconnect_delay"]),
        shuffled=options["kombu_failover_strategy"] == "shuffle",
    )


def _hosts(netloc: str, port: int) -> tuple[Host, ...]:
    """Parse the hosts; one without its own user and password takes those of the host before it."""
    found: list[Host] = []
    user, password = "guest", "guest"
    for part in netloc.split(","):
        account, _, place = part.rpartition("@")
        if account:
            name, _, secret = account.partition(":")
            user, password = unquote(name), unquote(secret)
        try:
            parts = urlsplit(f"//{place}")
            host, number = parts.hostname, parts.port
        except ValueError as error:
            raise InvalidInput(f"host {place!r}: {error}") from error
        if not host:
            raise InvalidInput(f"it must look like {FORM}, but a host is missing")
        found.append(Host(name=host, port=number or port, user=user, password=password))
    return tuple(found)


def _merged_options(query: str, configured: Mapping[str, object]) -> dict[str, Any]:
    """Return every option: from the URL, else as configured, else its default."""
    known: dict[str, object] = {
        option.name: configured.get(option.name, option.default) for option in OPTIONS
    }
    for name, text in parse_qsl(query, keep_blank_values=True):
        option = next((one for one in OPTIONS if one.name == name), None)
        if option is None:
            continue  # an option of oslo.messaging that does not apply here
        if isinstance(option, cfg.BoolOpt):
            if text.lower() not in _TRUE + _FALSE:
                raise InvalidInput(f"{name}={text} in the URL must be true or false")
            known[name] = text.lower() in _TRUE
            continue
        try:
            known[name] = option.type(text)
        except ValueError as error:
            raise InvalidInput(f"{name}={text} in the URL: {error}") from error
    return known


def _readable(options: Mapping[str, Any], name: str) -> str | None:
    path = options[name]
    if not path:
        return None
    try:
        with Path(path).open("rb"):
            return str(path)
    except OSError as error:
        raise InvalidInput(f"{name} {path}: {error.strerror}") from error
