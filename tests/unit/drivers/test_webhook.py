"""A webhook is told what it asked for, and whatever it does holds nobody up."""

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from synergy.drivers.webhook import OPTIONS, SIGNATURE, WithWebhook, problems_of
from tests.patience import until

NAME = "synergy.request.expiring"


class Inner:
    active = False
    dropped = 0

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False

    def send(self, name: str, priority: str, payload: Mapping[str, object]) -> None:
        self.sent.append(name)

    def close(self) -> None:
        self.closed = True


class Listener:
    """Somebody who is told, and answers with `statuses` in turn, then with 200."""

    def __init__(self) -> None:
        self.got: list[tuple[int, Any, bytes, str | None]] = []
        self.statuses: list[int] = []
        self.hangs, self.released = threading.Event(), threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.hangs.is_set():
                    outer.released.wait(30)
                    return
                status = outer.statuses.pop(0) if outer.statuses else 200
                outer.got.append((status, json.loads(body), body, self.headers.get(SIGNATURE)))
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: str) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


def conf_of(**values: Any) -> Any:
    conf = cfg.ConfigOpts()
    conf.register_opts(OPTIONS, group="webhook")
    conf([], default_config_files=[], default_config_dirs=[])
    for name, value in values.items():
        conf.set_override(name, value, group="webhook")
    return conf.webhook


@pytest.fixture
def listener() -> Iterator[Listener]:
    found = Listener()
    yield found
    found.close()


@pytest.fixture
def hook_of(listener: Listener) -> Iterator[Callable[..., Any]]:
    made = []

    def make(**values: Any) -> WithWebhook:
        made.append(WithWebhook(Inner(), conf_of(**{"url": listener.url} | values), rest_s=0.01))
        return made[-1]

    yield make
    listener.released.set()
    for one in made:
        one.close()


def test_what_is_wished_is_posted_signed_and_the_rest_is_not(
    listener: Listener, hook_of: Callable[..., Any]
) -> None:
    hook = hook_of(events=["synergy.request.exp*"], secret="key")
    hook.send("synergy.request.queued", "INFO", {"number": 1})
    hook.send(NAME, "INFO", {"number": 2})
    until(lambda: len(listener.got) == 1)
    ((_, told, body, signature),) = listener.got
    assert (told["event_type"], told["payload"]) == (NAME, {"number": 2})
    assert signature == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert hook._inner.sent == ["synergy.request.queued", NAME]


def test_a_refusal_is_tried_again_and_then_dropped_and_said(
    listener: Listener, hook_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    hook = hook_of()
    listener.statuses = [500, 302]
    hook.send(NAME, "INFO", {"number": 1})
    until(lambda: len(listener.got) == 3)
    assert [status for status, *_ in listener.got] == [500, 302, 200]
    assert hook.dropped == 0
    listener.statuses = [404] * 3
    hook.send(NAME, "INFO", {"number": 2})
    until(lambda: hook.dropped == 1)
    assert "dropped: it answers 404" in caplog.text
    assert listener.url not in caplog.text


def test_one_that_hangs_holds_nobody_up_and_memory_is_bounded(
    listener: Listener, hook_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    listener.hangs.set()
    hook = hook_of(queue_size=3, timeout_s=30.0)
    for number in range(100):
        hook.send(NAME, "INFO", {"number": number})  # returns at once, or the test takes an hour
    assert hook.dropped >= 96
    assert hook._waiting.qsize() <= 3
    assert "queue_size=3" in caplog.text


def test_a_certificate_that_nobody_known_signed_is_refused(
    hook_of: Callable[..., Any], tmp_path: Path
) -> None:
    """The far end hears a TLS greeting, and no notification."""
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(4096))

        threading.Thread(target=answer, daemon=True).start()
        port = server.getsockname()[1]
        hook = hook_of(url=f"https://127.0.0.1:{port}/", timeout_s=2.0)
        hook.send(NAME, "INFO", {"number": 12345})
        until(lambda: hook.dropped == 1)
    assert heard
    assert not any(b"12345" in data for data in heard)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (None, None),
        ("https://host.example/hook", None),
        ("http://127.0.0.1:8080/", None),
        ("http://[::1]/", None),
        ("http://localhost/", None),
        ("http://host.example/hook", "is http on host host.example, but must be https"),
        ("host.example", "must look like https://host/path"),
        ("ftp://host.example/", "must look like https://host/path"),
        ("https://host:port/", "must look like https://host/path"),
    ],
)
def test_only_an_address_that_is_private_to_both_is_taken(
    url: str | None, problem: str | None
) -> None:
    found = problems_of(conf_of(url=url))
    assert (found == []) if problem is None else problem in found[0]


def test_closing_ends_the_thread_and_what_is_behind() -> None:
    inner = Inner()
    hook = WithWebhook(inner, conf_of(url="http://127.0.0.1:9/"))
    assert hook.active
    assert not WithWebhook(inner, conf_of()).active
    hook.send(NAME, "INFO", {})
    hook.close()
    assert inner.closed
    assert hook._thread is not None
    hook._thread.join(10)
    assert not hook._thread.is_alive()
