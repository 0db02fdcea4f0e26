"""The listening socket of the API, and how many connections it lets strangers hold.

Why: HTTP servers count requests, but what exhausts a process are connections that never become
one: silent ones, unfinished TLS handshakes, headers a byte at a time. They are limited here, before
TLS and before HTTP, whatever server answers above. A connection with a request at hand is left
alone; of the others the one that has waited for its other side for longest makes room for a new
one, so that anyone who has a question gets in. Must not know HTTP. Everything here runs on the
event loop's thread.
"""

import asyncio
import logging
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

LOG = logging.getLogger(__name__)
Peer = tuple[str, int]
SWEEP_S: Final = 0.5
LOG_EVERY_S: Final = 60.0
_CLOSING: Final = 64  # those that were ended, and the event loop has not closed yet
_CLOSING_S: Final = 5.0  # then nobody waits for them any more
_AT_WORK: Final = 64  # those above the limit while none of the others can make room
_UNACCEPTED: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """How many connections there may be, and how long one may last without a request."""

    connections: int
    per_address: int
    idle_s: float


class Connection(socket.socket):
    """One accepted connection; it leaves the count when it is closed."""

    peer: Peer
    connections: "Connections"
    since_s: float  # when it began to wait for its other side, or was ended
    idle: bool  # there is no request, not even a part of its body

    def close(self) -> None:
        """Close it."""
        self.connections.closed(self)
        super().close()

    def cut(self) -> None:
        """End it from here; the event loop sees its end and closes it."""
        with suppress(OSError):  # the other side was quicker
            self.shutdown(socket.SHUT_RDWR)


class Connections:
    """The open connections of one listener.

    One that was ended is in no limit and no list any more, except that of those being closed:
    its request may still be at an end when others make room, and must not bring it back.
    """

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._open: dict[Peer, Connection] = {}  # without those that were ended
        # Those that wait for their other side, the longest first; and the same by address.
        self._waiting: dict[Peer, Connection] = {}
        self._waiting_of: dict[str, dict[Peer, Connection]] = {}
        self._of_address: Counter[str] = Counter()
        self._closing: dict[Connection, None] = {}  # ended and not closed yet, the longest first
        self._ended: Counter[str] = Counter()
        self._logged_s = time.monotonic()

    def __len__(self) -> int:
        return len(self._open) + len(self._closing)

    def many_are_closing(self) -> bool:
        """Return whether the event loop has to close connections before it accepts more."""
        return len(self._closing) >= _CLOSING

    def admit(self, connection: Connection) -> bool:
        """Take a new connection in, ending another one if need be; False when there is no room."""
        address = connection.peer[0]
        self.end(connection.peer, "a new one of the same port")  # its other side is long gone
        if self._of_address[address] >= self._limits.per_address:
            self._make_room(self._waiting_of.get(address, {}), "too many of one address")
        elif len(self._open) >= self._limits.connections:
            self._make_room(self._waiting, "too many connections")
        if (
            self._of_address[address] >= self._limits.per_address + _AT_WORK
            or len(self._open) >= self._limits.connections + _AT_WORK
        ):
            self._ended["no room"] += 1
            return False
        self._open[connection.peer] = connection
        self._of_address[address] += 1
        self._waits(connection, idle=True)
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._closing.pop(connection, None)
        if self._open.get(connection.peer) is connection:
            self._forget(connection)

    @contextmanager
    def with_request(self, peer: Peer | None) -> Iterator[None]:
        """While a request is read, answered and its answer sent, its own limits of time hold."""
        self._waits_again(peer, idle=False)
        try:
            yield
        finally:
            self._waits_again(peer, idle=True)

    @contextmanager
    def at_work(self, peer: Peer | None) -> Iterator[None]:
        """While we work for it, a connection makes room for nobody."""
        if peer is not None:
            self._waits_no_more(peer)
        try:
            yield
        finally:
            self._waits_again(peer, idle=False)

    def end(self, peer: Peer | None, cause: str) -> None:
        """End a connection whose other side takes too long."""
        connection = self._open.get(peer) if peer is not None else None
        if connection is not None:
            self._ended[cause] += 1
            self._forget(connection)
            connection.since_s = time.monotonic()
            self._closing[connection] = None
            connection.cut()

    async def sweep(self) -> None:
        """End connections without a request for too long, again and again."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.end_idle(time.monotonic())

    def end_idle(self, now_s: float) -> None:
        """End what has had no request for `idle_s`, and log now and then how many were ended.

        Nobody waits longer than _CLOSING_S for the event loop to close what was ended.
        """
        latest_s = now_s - self._limits.idle_s
        for connection in list(self._waiting.values()):
            if connection.idle and connection.since_s <= latest_s:
                self.end(connection.peer, f"no request within {self._limits.idle_s:g} s")
        for connection in list(self._closing):
            if connection.since_s <= now_s - _CLOSING_S:
                self._ended[f"{_CLOSING_S:g} s without being closed"] += 1
                del self._closing[connection]
        if self._ended and now_s >= self._logged_s + LOG_EVERY_S:
            ended = sorted(self._ended.items())
            counts = ", ".join(f"{count} for {cause}" for cause, count in ended)
            LOG.warning("the API ended connections: %s", counts)
            self._logged_s = now_s
            self._ended.clear()

    def _make_room(self, waiting: dict[Peer, Connection], cause: str) -> None:
        if waiting:
            self.end(next(iter(waiting)), cause)

    def _forget(self, connection: Connection) -> None:
        peer = connection.peer
        del self._open[peer]
        self._waits_no_more(peer)
        self._of_address[peer[0]] -= 1
        if not self._of_address[peer[0]]:
            del self._of_address[peer[0]]

    def _waits_again(self, peer: Peer | None, *, idle: bool) -> None:
        connection = self._open.get(peer) if peer is not None else None
        if connection is not None:
            self._waits_no_more(connection.peer)
            self._waits(connection, idle=idle)

    def _waits(self, connection: Connection, *, idle: bool) -> None:
        connection.since_s, connection.idle = time.monotonic(), idle
        self._waiting[connection.peer] = connection
        self._waiting_of.setdefault(connection.peer[0], {})[connection.peer] = connection

    def _waits_no_more(self, peer: Peer) -> None:
        self._waiting.pop(peer, None)
        of_address = self._waiting_of.get(peer[0], {})
        of_address.pop(peer, None)
        if not of_address:
            self._waiting_of.pop(peer[0], None)


class Listener(socket.socket):
    """A bound TCP socket whose connections are limited."""

    connections: Connections

    def listen(self, _backlog: int = 0, /) -> None:
        """Let the kernel keep many connections, however few are accepted in one go."""
        super().listen(_UNACCEPTED)

    def accept(self) -> tuple[socket.socket, object]:
        """Accept a connection. Raises ConnectionAbortedError for one that there is no room for.

        Raises BlockingIOError while many connections are being closed: a newcomer waits in the
        kernel's queue for the moment that this takes, and is not refused.
        """
        if self.connections.many_are_closing():
            raise BlockingIOError("connections are being closed first")
        plain, address = super().accept()
        made = Connection(plain.family, plain.type, plain.proto, fileno=plain.detach())
        made.peer, made.connections = (str(address[0]), int(address[1])), self.connections
        if not self.connections.admit(made):
            made.close()
            raise ConnectionAbortedError("there are too many connections")
        return made, address


def listen(host: str, port: int, limits: ConnectionLimits) -> Listener:
    """Bind to an address. Raises OSError when it is taken or does not exist."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = Listener(family, kind, protocol)
    listener.connections = Connections(limits)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener
