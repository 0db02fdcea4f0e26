"""A transport_url of nova.conf is understood as it stands: several hosts, TLS, percent signs."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from synergy.core.errors import InvalidInput
from synergy.drivers.nova_rpc.address import Host, Tls, read_address
from synergy.drivers.nova_rpc.broker import FOREIGN, Broker


def test_several_hosts_each_with_an_account_and_a_port() -> None:
    found = read_address("rabbit://u:p%40ss@h1:1,v:q@[::1]:2,h3/v%2Fhost")
    assert found.hosts == (
        Host(name="h1", port=1, user="u", password="p@ss"),
        Host(name="::1", port=2, user="v", password="q"),
        Host(name="h3", port=5672, user="v", password="q"),
    )
    assert (found.vhost, found.tls) == ("v/host", None)


def test_tls_is_said_in_the_url_or_by_options_and_the_url_comes_first(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    url = f"rabbit://u:p@h/v?ssl=1&ssl_ca_file={ca}&heartbeat_timeout_threshold=5&unknown=1"
    found = read_address(
        url, {"ssl": False, "ssl_version": "TLSv1_3", "kombu_reconnect_delay": 9.0}
    )
    assert found.tls == Tls(ca_file=str(ca), version="TLSv1_3")
    assert (found.hosts[0].port, found.heartbeat_s, found.reconnect_s) == (5671, 5.0, 9.0)
    assert read_address("rabbit://u:p@h/v", {"ssl": True}).tls == Tls()
    assert read_address("rabbit://u:p@h/v?ssl=0", {"ssl": True}).tls is None


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h/v", "begin with rabbit://"),
        ("rabbit:///v", "a host is missing"),
        ("rabbit://u:hidden@h1,,h3/v", "a host is missing"),
        ("rabbit://u:hidden@h:port/v", "host 'h:port'"),
        ("rabbit://u:hidden@h:99999/v", "host 'h:99999'"),
        ("rabbit://u:hidden@h/v?ssl=perhaps", "ssl=perhaps in the URL must be true or false"),
        ("rabbit://u:hidden@h/v?ssl=1&ssl_version=SSLv3", "ssl_version=SSLv3 in the URL"),
        ("rabbit://u:hidden@h/v?ssl=1&ssl_ca_file=/no/ca", "ssl_ca_file /no/ca: No such file"),
        ("rabbit://u:hidden@h/v?ssl=1&ssl_key_file=/etc/hostname", "needs ssl_cert_file"),
        ("rabbit://u:hidden@[h/v", "must look like rabbit://"),
        ("rabbit://u:hidden@h/v?heartbeat_timeout_threshold=-1", "heartbeat_timeout_threshold=-1"),
    ],
)
def test_what_cannot_be_used_is_told_without_the_password(url: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_address(url)
    assert told in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_no_password_shows_where_an_address_is_printed() -> None:
    broker = Broker.of("rabbit://u:hidden@h1,u:hidden@h2:7/v?ssl=1")
    assert str(broker) == "amqps://h1:5671,h2:7/v"
    assert "hidden" not in f"{broker} {broker.address!r}"


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    handle(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_each_host_is_asked_in_turn_and_the_next_time_begins_behind_the_dead_one() -> None:
    asked: list[str] = []
    with (
        listening(lambda one: asked.append("first")) as first,
        listening(lambda one: asked.append("second")) as second,
    ):
        broker = Broker.of(f"rabbit://u:p@127.0.0.1:{first},u:p@127.0.0.1:{second}/v")
        for _ in range(2):
            with pytest.raises(FOREIGN):
                broker.connect()
    assert asked[:4] == ["first", "second", "first", "second"]


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject)
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert, secret = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ))  # fmt: skip
    return cert, secret


@pytest.mark.parametrize(
    ("name", "trusted", "greeted"), [("localhost", True, True), ("localhost", False, False),
                                     ("elsewhere", True, False)],
)  # fmt: skip
def test_a_certificate_is_verified_and_has_to_name_the_host(
    tmp_path: Path, name: str, trusted: bool, greeted: bool
) -> None:
    cert, secret = certificate(tmp_path, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, secret)
    heard: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                heard.append(wrapped.recv(8))
        except OSError:
            heard.append(b"")

    with listening(handle) as port:
        ca = f"&ssl_ca_file={cert}" if trusted else ""
        with pytest.raises(FOREIGN):
            Broker.of(f"rabbit://u:p@localhost:{port}/v?ssl=1{ca}").connect()
    assert (b"AMQP\x00\x00\x09\x01" in heard) is greeted
