"""Tokens before the API with [keystone_authtoken] memcached_servers: what Keystone said is kept
there, and asked of Keystone again while no memcached answers."""

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import Client

from tests.functional import test_tokens
from tests.functional.test_tokens import Keystone, ask

keystone = test_tokens.keystone


class Memcached(socketserver.ThreadingTCPServer):
    """Keeps what is set for as long as it runs, in memcached's protocol of lines."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, bytes]] = {}
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Handler(socketserver.StreamRequestHandler):
    server: Memcached

    def handle(self) -> None:
        for line in self.rfile:
            command, *rest = line.decode().split()
            if command == "set":
                key, flags, _, length = rest[:4]
                self.server.kept[key] = flags, self.rfile.read(int(length) + 2)[:-2]
                self.wfile.write(b"STORED\r\n")
            elif command in ("get", "gets"):
                for key in rest:
                    if key in self.server.kept:
                        flags, data = self.server.kept[key]
                        head = f"VALUE {key} {flags} {len(data)}\r\n".encode()
                        self.wfile.write(head + data + b"\r\n")
                self.wfile.write(b"END\r\n")
            else:
                self.wfile.write(b"ERROR\r\n")


@pytest.fixture
def memcached() -> Iterator[Memcached]:
    made = Memcached()
    yield made
    made.close()


@pytest.fixture
def client(keystone: Keystone, tmp_path: Path, memcached: Memcached) -> Iterator[Client]:
    yield from test_tokens.clients(
        keystone, tmp_path, memcached_servers=memcached.address, memcache_pool_socket_timeout=1
    )


def test_what_keystone_said_of_a_token_is_kept_in_memcached(
    client: Client, keystone: Keystone, memcached: Memcached
) -> None:
    assert ask(client, "/v1/projects", "of-alice").status_code == 200
    assert memcached.kept
    assert not any("of-alice" in key for key in memcached.kept)
    keystone.status = 503
    assert ask(client, "/v1/projects", "of-alice").status_code == 200
    assert ask(client, "/v1/projects", "of-admin").status_code == 503


# python-memcached leaves the socket of a refused connection to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_without_the_memcached_keystone_is_asked(
    client: Client, keystone: Keystone, memcached: Memcached
) -> None:
    memcached.server_close()
    assert ask(client, "/v1/projects", "of-alice").status_code == 200
