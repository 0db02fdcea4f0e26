"""A gate in a TCP connection: lets a test stop what goes one way, and keep it from arriving."""

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit


class Gate:
    """Stands before one address. What is sent while its way is closed arrives when it opens again,
    or never if who sent it dies first."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = parts.hostname, parts.port
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(
            parts._replace(netloc=parts.netloc.replace(str(parts.port), str(port)))
        )
        self.to_broker, self.from_broker = threading.Event(), threading.Event()
        self.open()
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        self.to_broker.set()
        self.from_broker.set()

    def close(self) -> None:
        self.open()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(ours,), daemon=True).start()

    def _carry(self, ours: socket.socket) -> None:
        with ours, socket.create_connection(self._target) as theirs:
            back = threading.Thread(target=_pump, args=(theirs, ours, self.from_broker, ours))
            back.start()
            _pump(ours, theirs, self.to_broker, ours)
            back.join()


def _pump(
    source: socket.socket, sink: socket.socket, way: threading.Event, ours: socket.socket
) -> None:
    """Carry bytes; those that wait at a closed way are lost when Synergy's end dies."""
    with suppress(OSError):
        while data := source.recv(65536):
            while not way.wait(0.05):
                if _is_dead(ours):
                    break
            else:
                sink.sendall(data)
                continue
            break
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def _is_dead(connection: socket.socket) -> bool:
    """Return whether the other end of a connection is closed, without taking what it sent."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
