"""Where brokers are and how they are reached: URLs and options as oslo.messaging has them.

Why: an operator copies the transport_url of nova.conf, with several hosts and TLS in it. Must not
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
        help="Speak TLS with the brokers, as Nova does with [oslo_messaging_rabbit] ssl. Their "
        "certificates are always verified. This and the following may also be said in a URL, where "
        "they come first: rabbit://user:password@host:5671/vhost?ssl=1&ssl_ca_file=/etc/ssl/ca.pem.",
    ),
    cfg.StrOpt(
        "ssl_ca_file",
        help="File with the certificates that the brokers' are verified with. Default: those of "
        "the system.",
    ),
    cfg.StrOpt("ssl_cert_file", help="File with Synergy's own certificate, if brokers ask for it."),
    cfg.StrOpt("ssl_key_file", help="File with the key of that certificate."),
    cfg.StrOpt(
        "ssl_version",
        choices=[(_VERSIONS[0], "TLS 1.2 or later."), (_VERSIONS[1], "TLS 1.3 or later.")],
        help="Lowest version of TLS that is spoken. Default: what the system allows.",
    ),
    cfg.IntOpt(
        "heartbeat_timeout_threshold",
        default=30,
        min=0,
        max=3600,
        help="Seconds without a word of a broker after which its connection counts as dead; with 0 "
        "nobody asks.",
    ),
    cfg.FloatOpt(
        "kombu_reconnect_delay",
        default=1.0,
        min=0.1,
        max=300,
        help="Seconds before a connection that broke is tried again, at first.",
    ),
    cfg.StrOpt(
        "kombu_failover_strategy",
        default="round-robin",
        choices=[("round-robin", "As they stand in the URL."), ("shuffle", "By chance.")],
        help="In which order the hosts of a URL are tried when one is away.",
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
    """How the brokers' certificates are verified, and what is shown of ours."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A vhost on one or several hosts, any of which serves."""

    hosts: tuple[Host, ...]
    vhost: str
    tls: Tls | None = None
    heartbeat_s: float = 30.0
    reconnect_s: float = 1.0
    shuffled: bool = False

    def __str__(self) -> str:
        """Return what may be logged."""
        hosts = ",".join(f"{host.name}:{host.port}" for host in self.hosts)
        return f"{'amqps' if self.tls else 'amqp'}://{hosts}/{self.vhost}"


def read_address(url: str, options: Mapping[str, object] | None = None) -> Address:
    """Read the URL of a broker; `options` hold for what it does not say itself.

    Raises InvalidInput, which repeats no password.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InvalidInput(f"it must look like {FORM}: {error}") from error
    if parts.scheme not in ("rabbit", "amqp", "amqps"):
        raise InvalidInput(f"it must look like {FORM}, and begin with rabbit://")
    said = _said(parts.query, options or {})
    tls = None
    if said["ssl"] or parts.scheme == "amqps":
        tls = Tls(
            ca_file=_readable(said, "ssl_ca_file"),
            cert_file=_readable(said, "ssl_cert_file"),
            key_file=_readable(said, "ssl_key_file"),
            version=said["ssl_version"] or None,
        )
        if tls.key_file and not tls.cert_file:
            raise InvalidInput("ssl_key_file is of no use without ssl_cert_file")
    return Address(
        hosts=_hosts(parts.netloc, TLS_PORT if tls else PORT),
        vhost=unquote(parts.path[1:]) or "/",
        tls=tls,
        heartbeat_s=float(said["heartbeat_timeout_threshold"]),
        reconnect_s=float(said["kombu_reconnect_delay"]),
        shuffled=said["kombu_failover_strategy"] == "shuffle",
    )


def _hosts(netloc: str, port: int) -> tuple[Host, ...]:
    """Read the hosts; one without an account of its own uses that of the one before."""
    found: list[Host] = []
    user, password = "guest", "guest"
    for one in netloc.split(","):
        account, _, place = one.rpartition("@")
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


def _said(query: str, options: Mapping[str, object]) -> dict[str, Any]:
    """Return every option: as the URL says it, else as given, else its default."""
    known: dict[str, object] = {
        option.name: options.get(option.name, option.default) for option in OPTIONS
    }
    for name, text in parse_qsl(query, keep_blank_values=True):
        option = next((one for one in OPTIONS if one.name == name), None)
        if option is None:
            continue  # one of oslo.messaging that means nothing here
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


def _readable(said: Mapping[str, Any], name: str) -> str | None:
    path = said[name]
    if not path:
        return None
    try:
        with Path(path).open("rb"):
            return str(path)
    except OSError as error:
        raise InvalidInput(f"{name} {path}: {error.strerror}") from error
