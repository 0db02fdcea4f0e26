"""The API's server among strangers: what they may hold, and who is answered meanwhile."""

import gc
import http.client
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.common import resident_bytes
from synergy.api.app import LANE_OF, ROUTES
from synergy.api.routing import Lane
from synergy.api.server import ApiServer
from synergy.service.options import API_OPTIONS
from tests.functional.test_api_process import certificate
from tests.patience import until

HEAD = b"GET /healthcheck/live HTTP/1.1\r\nHost: localhost\r\n"


class Application:
    """Answers with what it was asked; /v1/requests and /v1/usage wait until they are let go."""

    def __init__(self) -> None:
        self.let_go, self.waiting = threading.Event(), 0

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        path = environ["PATH_INFO"]
        if path in ("/v1/requests", "/v1/usage"):
            self.waiting += 1
            self.let_go.wait(20)
        body = environ["wsgi.input"].read()
        shown = {
            "path": path, "query": environ["QUERY_STRING"], "length": len(body),
            "headers": {k: v for k, v in environ.items() if k.startswith("HTTP_")},
            "address": environ["REMOTE_ADDR"],
        }  # fmt: skip
        answer = b"x" * 20_000_000 if path == "/v1/openapi.json" else json.dumps(shown).encode()
        start_response("200 OK", [("Content-Type", "x/y"), ("Content-Length", str(len(answer)))])
        return [answer]


class Served:
    """That application behind the server of the API."""

    def __init__(self, **options: Any) -> None:
        values = {option.dest: option.default for option in API_OPTIONS}
        self.app = Application()
        conf: Any = SimpleNamespace(**values | {"host": "127.0.0.1", "port": 0} | options)
        self.server = ApiServer(self.app, LANE_OF, conf)
        self.tls = None
        if conf.tls_cert_file:
            self.tls = ssl.create_default_context(cafile=str(conf.tls_cert_file))
        self.open = self.server._listener.connections
        self.stack = ExitStack()
        self.server.start()

    def connect(self) -> socket.socket:
        return self.stack.enter_context(socket.create_connection(self.server.address, timeout=10))

    def ask(
        self,
        path: str = "/healthcheck/live",
        method: str = "GET",
        body: bytes | Iterator[bytes] | None = None,
        timeout_s: int = 10,
        **headers: Any,
    ) -> tuple[int, bytes, HTTPMessage]:
        host, port = self.server.address
        if self.tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(
                "localhost", port, timeout=timeout_s, context=self.tls
            )
        try:
            named = {name.replace("__", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers
        finally:
            connection.close()

    def lives(self) -> None:
        began_s = time.monotonic()
        assert self.ask()[0] == 200
        assert time.monotonic() - began_s < 5

    def close(self) -> None:
        self.stack.close()
        self.app.let_go.set()
        self.server.stop()
        self.server.join()


@contextmanager
def serving(**options: Any) -> Iterator[Served]:
    made = Served(**options)
    try:
        yield made
    finally:
        made.close()


def is_over(connection: socket.socket) -> bool:
    """Return whether the other side ended a connection, reading what it said before."""
    connection.settimeout(0.05)
    try:
        while connection.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="silent"),
        pytest.param(HEAD + b"X-A: a", id="half a header"),
        pytest.param(
            b"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{",
            id="half a body",
        ),
        pytest.param(HEAD + b"\r\n", id="idle after its answer"),
        pytest.param(b"\x00\xff garbage\r\n\r\n", id="garbage"),
    ],
)
def test_more_slow_connections_than_there_may_be_keep_nobody_out(first: bytes) -> None:
    with serving(connections=16, connections_per_address=16, read_threads=1) as served:
        for _ in range(150):
            with suppress(OSError):  # the server may end it at once
                served.connect().sendall(first)
        served.lives()
        assert served.ask("/v1/projects")[0] == 200
        until(lambda: len(served.open) <= 16 + 64)  # it ends them one after the other


def test_one_address_does_not_take_every_connection() -> None:
    with serving(connections=200, connections_per_address=5) as served:
        silent = [served.connect() for _ in range(30)]
        served.lives()
        until(lambda: sum(is_over(one) for one in silent) >= 25)
        assert len(served.open) <= 5


def test_handshakes_that_are_never_finished_keep_nobody_out(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with serving(tls_cert_file=cert, tls_key_file=key, connections=16, idle_s=1.0) as served:
        silent = [served.connect() for _ in range(40)]
        half = [served.connect() for _ in range(3)]
        for connection in half:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # a ClientHello that stops
        served.lives()
        until(lambda: all(is_over(one) for one in silent + half))
        served.lives()


def test_handshakes_that_fail_leave_little_behind(tmp_path: Path) -> None:
    """What a failed handshake leaves is collected late: it must be small."""
    cert, key = certificate(tmp_path)
    with serving(tls_cert_file=cert, tls_key_file=key, connections=16) as served:
        gc.disable()
        try:
            before = resident_bytes()
            for _ in range(400):
                served.connect()
            served.lives()
            assert resident_bytes() - before < 60_000_000  # it was 400 buffers of 256 KB
        finally:
            gc.enable()


def test_only_tls_of_today_is_spoken(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with serving(tls_cert_file=cert, tls_key_file=key) as served:
        assert served.tls is not None
        served.tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        served.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        assert served.ask()[0] == 200
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            served.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            served.ask()


@pytest.mark.parametrize("form", [b"X-Long: %s", b"%s: x", b"\r\n".join([b"X-%d: yyyyyyyyyy"] * 1)])
def test_a_head_without_end_is_cut_at_the_limit(form: bytes) -> None:
    with serving(header_bytes=4096) as served:
        connection = served.connect()
        sent = 0
        with suppress(OSError):
            connection.sendall(HEAD)
            while sent < 50_000_000:
                line = form % sent if b"%d" in form else form % (b"a" * 65_536)
                sent += connection.send(line + (b"\r\n" if b"%d" in form else b""))
        assert sent < 20_000_000  # what the sockets of both sides hold, and no more
        served.lives()


def test_a_connection_without_a_request_is_ended() -> None:
    with serving(idle_s=1.0) as served:
        silent, half, answered = (served.connect() for _ in range(3))
        half.sendall(HEAD)
        answered.sendall(HEAD + b"\r\n")
        until(lambda: all(is_over(one) for one in (silent, half, answered)))
        until(lambda: len(served.open) == 0)


def test_headers_a_byte_at_a_time_have_no_more_time_than_others() -> None:
    with serving(idle_s=1.0) as served:
        connection = served.connect()
        connection.sendall(HEAD + b"X-A: ")

        def dripping() -> bool:
            with suppress(OSError):
                connection.sendall(b"a")
            return is_over(connection)

        until(dripping)


def test_a_body_that_does_not_arrive_is_answered_in_the_one_shape() -> None:
    with serving(body_s=1.0) as served:
        status, body, _ = served.ask("/v1/projects", "POST", iter([b"{"]), Content__Length="100")
        (told,) = json.loads(body)["errors"]
        assert (status, told["code"]) == (408, "request_timeout")
        assert told["detail"] == "the body did not arrive within 1 s"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused_while_it_is_still_sent(chunked: bool) -> None:
    with serving(longest_body_bytes=100_000) as served:
        body = iter([b"x" * 65_536] * 100) if chunked else b"x" * 6_553_600
        status, answer, _ = served.ask("/v1/projects", "POST", body)
        (told,) = json.loads(answer)["errors"]
        assert (status, told["code"]) == (413, "request_entity_too_large")
        assert told["detail"] == "the body is longer than 100000 bytes"
        status, answer, _ = served.ask("/v1/projects", "POST", b"x" * 100_000)
        assert json.loads(answer)["length"] == 100_000


def busy(served: Served, path: str, count: int, method: str = "GET") -> int:
    """Ask `count` times for what is not answered before it is let go."""
    for _ in range(count):
        connection = served.connect()
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return count


def test_health_and_metrics_answer_while_every_worker_is_busy() -> None:
    with serving(read_threads=3, costly_threads=2) as served:
        expected = busy(served, "/v1/requests", 3) + busy(served, "/v1/usage", 2)
        until(lambda: served.app.waiting == expected)
        busy(served, "/v1/requests", 20)
        for path in ("/healthcheck", "/healthcheck/live", "/healthcheck/ready/", "/metrics"):
            assert served.ask(path)[0] == 200
        assert served.app.waiting == expected


def test_costly_questions_keep_ordinary_ones_from_nothing() -> None:
    with serving(read_threads=1, costly_threads=1) as served:
        busy(served, "/v1/usage", 10)
        until(lambda: served.app.waiting == 1)
        assert served.ask("/v1/projects")[0] == 200


def test_changes_that_wait_for_nova_keep_nobody_from_reading() -> None:
    with serving(threads=2, read_threads=1) as served:
        expected = busy(served, "/v1/requests", 2, "DELETE")
        until(lambda: served.app.waiting == expected)
        busy(served, "/v1/requests", 10, "DELETE")
        assert served.ask("/v1/projects")[0] == 200
        assert served.app.waiting == expected


def test_what_cannot_be_answered_soon_is_refused_at_once() -> None:
    with serving(read_threads=1) as served:
        busy(served, "/v1/requests", 1)
        until(lambda: served.app.waiting == 1)
        busy(served, "/v1/requests", 128)

        def refused() -> tuple[int, bytes, HTTPMessage] | None:
            if len(served.open) < 129:
                return None
            found = served.ask("/v1/projects", timeout_s=1)
            return found if found[0] == 503 else None

        _, body, headers = until(refused)
        (told,) = json.loads(body)["errors"]
        assert (told["code"], headers["Retry-After"]) == ("overloaded", "30")
        served.lives()


def test_an_answer_that_nobody_reads_is_given_up() -> None:
    with serving(answer_s=1.0, idle_s=1.0) as served:
        connection = served.connect()
        connection.sendall(b"GET /v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: len(served.open) == 1)
        until(lambda: len(served.open) == 0)
        assert len(served.ask("/v1/openapi.json")[1]) == 20_000_000


def test_a_header_cannot_pass_for_another_one() -> None:
    """In WSGI X_Identity_Status would look like what keystonemiddleware says."""
    with serving() as served:
        told = served.ask(
            "/v1/projects", X_Identity_Status="Confirmed", X__Auth__Token="t", Content__Length="0"
        )[1]
        headers = json.loads(told)["headers"]
        assert headers["HTTP_X_AUTH_TOKEN"] == "t"
        assert "HTTP_X_IDENTITY_STATUS" not in headers


@pytest.mark.parametrize(
    ("asked", "path", "query"),
    [
        ("/v1/a%2Fb%20c?q=%C3%A9&r=1", "/v1/a/b c", "q=%C3%A9&r=1"),
        ("/%ff%00?", "/\xff\x00", ""),
        ("http://elsewhere/v1", "/http://elsewhere/v1", ""),
        ("*", "/*", ""),
    ],
)
def test_a_target_arrives_as_wsgi_tells_it(asked: str, path: str, query: str) -> None:
    with serving() as served:
        found = json.loads(served.ask(asked)[1])
        assert (found["path"], found["query"]) == (path, query)
        assert found["address"] == "127.0.0.1"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_ended(head: bytes) -> None:
    with serving() as served:
        connection = served.connect()
        connection.sendall(head)
        connection.settimeout(10)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 400 ")
        served.lives()


def test_no_stranger_fills_the_log(caplog: pytest.LogCaptureFixture) -> None:
    from synergy.service.logs import BURST, UNTRUSTED_LOGGERS, RateLimitFilter

    filters = {logging.getLogger(name): RateLimitFilter(BURST, 60.0) for name in UNTRUSTED_LOGGERS}
    for logger, one in filters.items():
        logger.addFilter(one)
    try:
        with serving(connections=16) as served, caplog.at_level("INFO"):
            for _ in range(300):
                with suppress(OSError):
                    served.connect().sendall(b"nonsense\r\n\r\n")
            served.lives()
    finally:
        for logger, one in filters.items():
            logger.removeFilter(one)
    assert 0 < len(caplog.records) <= 3 * BURST


def test_the_lanes_are_told_by_the_table_of_routes() -> None:
    lanes = {route.name: route.lane for route in ROUTES}
    assert lanes["healthcheck_live"] is Lane.HEALTH
    assert lanes["metrics"] is Lane.METRICS
    for route in ROUTES:
        path = route.path.replace("{", "").replace("}", "")
        expected = route.lane or (Lane.READS if route.method == "GET" else Lane.CHANGES)
        assert LANE_OF(route.method, path) is expected
        assert LANE_OF(route.method, f"{path}/") is expected
    assert LANE_OF("HEAD", "/healthcheck/live") is Lane.HEALTH
    assert LANE_OF("GET", "/healthcheck/live/x") is Lane.READS
