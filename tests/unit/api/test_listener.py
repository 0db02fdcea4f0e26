"""Who may come in: a real listening socket, whose event loop is the test."""

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from synergy.api.listener import Connection, ConnectionLimits, listen

CLOSING = 64


class Loop:
    """Accepts connections as an event loop does, and closes the ended ones when it is asked to."""

    def __init__(self, connections: int = 1, per_address: int = 1000, idle_s: float = 60.0) -> None:
        limits = ConnectionLimits(connections=connections, per_address=per_address, idle_s=idle_s)
        self.listener = listen("127.0.0.1", 0, limits)
        self.listener.settimeout(5)
        self.listener.listen()
        self.connections = self.listener.connections
        self.accepted: list[Connection] = []
        self.stack = ExitStack()
        self.stack.callback(self.close_all)
        self.stack.callback(self.listener.close)

    def arrive(self) -> socket.socket:
        """Let one more connect: the kernel takes it."""
        return self.stack.enter_context(socket.create_connection(self.listener.getsockname()))

    def accept(self) -> Connection:
        accepted, _ = self.listener.accept()
        assert isinstance(accepted, Connection)
        self.accepted.append(accepted)
        return accepted

    def close_all(self) -> None:
        for one in self.accepted:
            one.close()

    def close_ended(self) -> None:
        """Close every connection that was ended."""
        for one in [one for one in self.accepted if ended(one)]:
            self.accepted.remove(one)
            one.close()


def ended(connection: socket.socket) -> bool:
    """Return whether a connection was ended from here; no client of these tests says anything."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.fixture
def loop(request: pytest.FixtureRequest) -> Iterator[Loop]:
    made = Loop(**getattr(request, "param", {}))
    with made.stack:
        yield made


def test_a_newcomer_waits_while_many_connections_are_closing_and_is_served_then(loop: Loop) -> None:
    newcomers = [loop.arrive() for _ in range(1 + CLOSING + 1)]
    for _ in range(1 + CLOSING):
        loop.accept()
    assert loop.connections.many_are_closing()
    with pytest.raises(BlockingIOError):  # and not refused: the kernel keeps it
        loop.accept()
    loop.close_ended()
    assert len(loop.connections) == 1
    served = loop.accept()
    served.sendall(b"welcome")
    newcomers[-1].settimeout(5)
    assert newcomers[-1].recv(100) == b"welcome"


def test_a_newcomer_waits_no_longer_than_for_the_next_one_that_is_closed(loop: Loop) -> None:
    for _ in range(1 + CLOSING + 1):
        loop.arrive()
    for _ in range(1 + CLOSING):
        loop.accept()
    loop.accepted.pop(0).close()
    assert not loop.connections.many_are_closing()
    loop.accept()


@pytest.mark.parametrize("loop", [{"connections": 16, "per_address": 16}], indirect=True)
def test_a_request_of_an_ended_connection_does_not_bring_it_back(loop: Loop) -> None:
    """It would make room again and again, and nobody else would: newcomers were refused."""
    for _ in range(32):
        loop.arrive()
        loop.accept()
    gone = [one for one in loop.accepted if ended(one)]
    assert len(gone) == 16
    for one in gone:  # what they had sent before is read now
        with loop.connections.with_request(one.peer), loop.connections.at_work(one.peer):
            pass
    for _ in range(CLOSING - len(gone)):
        loop.arrive()
        newest = loop.accept()
        assert not ended(newest)
    assert sum(not ended(one) for one in loop.accepted) == 16
    assert loop.connections.many_are_closing()


@pytest.mark.parametrize("loop", [{"connections": 4}], indirect=True)
def test_who_is_refused_when_none_can_make_room_is_refused_late(loop: Loop) -> None:
    """Connections that we work for make room for nobody."""
    with ExitStack() as work:
        for _ in range(4 + CLOSING):
            loop.arrive()
            work.enter_context(loop.connections.at_work(loop.accept().peer))
        loop.arrive()
        with pytest.raises(ConnectionAbortedError):
            loop.accept()
    assert not any(ended(one) for one in loop.accepted)
    loop.arrive()
    loop.accept()
    assert sum(ended(one) for one in loop.accepted) == 1


def test_a_connection_that_the_loop_does_not_close_keeps_nobody_waiting_for_long(
    loop: Loop,
) -> None:
    for _ in range(1 + CLOSING + 1):
        loop.arrive()
    for _ in range(1 + CLOSING):
        loop.accept()
    ended_s = [one.since_s for one in loop.accepted if ended(one)]
    loop.connections.end_idle(min(ended_s) + 4.9)
    assert loop.connections.many_are_closing()
    loop.connections.end_idle(max(ended_s) + 5)
    assert not loop.connections.many_are_closing()
    loop.accept()


@pytest.mark.parametrize("loop", [{"connections": 3, "per_address": 2}], indirect=True)
def test_a_port_that_comes_again_before_its_old_connection_is_closed_is_counted_once(
    loop: Loop,
) -> None:
    def arrive(port: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # resets
        client.bind(("127.0.0.1", port))
        client.connect(loop.listener.getsockname())
        return client

    port = 0
    for _ in range(5):
        client = arrive(port)
        port = client.getsockname()[1]
        loop.accept()
        client.close()
    assert {one.peer for one in loop.accepted} == {("127.0.0.1", port)}
    loop.close_ended()
    assert len(loop.connections) == 0
    for _ in range(2):
        loop.arrive()
        loop.accept()
    assert not any(ended(one) for one in loop.accepted)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("loop", [{"connections": 8, "per_address": 6}], indirect=True)
def test_nobody_is_refused_whatever_comes_ends_and_works_meanwhile(loop: Loop, seed: int) -> None:
    """Unless 64 more than there may be are being worked for, which 6 cannot."""
    rng = random.Random(seed)
    working: dict[Connection, ExitStack] = {}
    for _ in range(400):
        loop.arrive()
        with suppress(BlockingIOError):
            assert not ended(loop.accept())
        living = [one for one in loop.accepted if not ended(one)]
        for one in rng.sample(loop.accepted, min(3, len(loop.accepted))):  # ended ones too
            if one in working:
                working.pop(one).close()
            elif len(working) < 5:
                request = working[one] = ExitStack()
                request.enter_context(loop.connections.with_request(one.peer))
                if one in living:
                    request.enter_context(loop.connections.at_work(one.peer))
        if rng.random() < 0.05:
            loop.close_ended()
        assert len(loop.connections) <= 8 + CLOSING
    for request in working.values():
        request.close()
    loop.close_ended()
    assert len(loop.connections) == len(loop.accepted) <= 8
