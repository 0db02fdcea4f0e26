"""Brokers over TLS and on several hosts: a real RabbitMQ behind an end of TLS of our own."""

import socket
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

import pytest

from lab.steps import Lab
from synergy.drivers.nova_rpc.broker import FOREIGN, Broker
from synergy.drivers.nova_rpc.publisher import Outgoing, Publisher
from tests.unit.drivers.test_address import certificate

pytestmark = pytest.mark.openstack


def carry(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_before(
    target: tuple[str | None, int | None], cert: Path, secret: Path
) -> Iterator[tuple[int, Callable[[], None]]]:
    """An end of TLS before a broker; yields its port, and what closes it with all connections."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, secret)
    listener = socket.create_server(("127.0.0.1", 0))
    carried: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                ours, _ = listener.accept()
                wrapped = context.wrap_socket(ours, server_side=True)
            except OSError:
                if listener.fileno() < 0:
                    return
                continue
            theirs = socket.create_connection(target)
            carried.extend((wrapped, theirs))
            for pair in ((wrapped, theirs), (theirs, wrapped)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    def close() -> None:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in carried:
            with suppress(OSError):
                one.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], close
    finally:
        close()


@pytest.fixture
def vhost(lab: Lab) -> Iterator[SplitResult]:
    name = f"tls-{uuid.uuid4().hex[:8]}"
    yield urlsplit(lab.add_vhost(name))
    lab.remove_vhost(name)


def url_of(vhost: SplitResult, *ports: int, **query: object) -> str:
    account = vhost.netloc.rpartition("@")[0]
    hosts = ",".join(f"{account}@localhost:{port}" for port in ports)
    said = "&".join(f"{name}={value}" for name, value in query.items())
    return f"rabbit://{hosts}{vhost.path}?{said}"


def test_messages_pass_over_tls_and_the_next_host_takes_over(
    vhost: SplitResult, tmp_path: Path
) -> None:
    cert, secret = certificate(tmp_path, "localhost")
    target = vhost.hostname, vhost.port
    with (
        tls_before(target, cert, secret) as (first, close_first),
        tls_before(target, cert, secret) as (second, _),
    ):
        url = url_of(vhost, first, second, ssl=1, ssl_ca_file=cert)
        with Broker.of(url).connect() as connection:
            connection.channel().queue_declare("q", durable=False, auto_delete=False)
        publisher = Publisher(url)
        publisher.publish(Outgoing(body=b"1", exchange="", routing_key="q"))
        close_first()
        publisher.close()
        publisher.publish(Outgoing(body=b"2", exchange="", routing_key="q"))
        assert publisher.waiting("q") == 2
        publisher.close()


def test_a_broker_whose_certificate_nobody_vouches_for_is_not_spoken_to(
    vhost: SplitResult, tmp_path: Path
) -> None:
    cert, secret = certificate(tmp_path, "localhost")
    with (
        tls_before((vhost.hostname, vhost.port), cert, secret) as (port, _),
        pytest.raises(FOREIGN, match="certificate"),
    ):
        Broker.of(url_of(vhost, port, ssl=1)).connect()
