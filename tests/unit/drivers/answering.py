"""A Keystone, Nova and Placement that answer what a test tells them to, over HTTP on loopback."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KINDS = ("identity", "compute", "placement", "image")


class Answering:
    """`answers` maps (method, beginning of a path) to (status, body), or to a list of those, the
    last of which stays; a body that is no JSON value is sent as it is, and None is never answered.

    asked      (method, path) of each request, in order
    received   (headers, body) of the same
    catalogue  the path of each service's endpoint, as the token names it
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        """tls: certificate and key, to answer over TLS as "localhost"."""
        self.answers: dict[tuple[str, str], Any] = {}  # bodies are JSON
        self.asked: list[tuple[str, str]] = []
        self.received: list[tuple[dict[str, str], Any]] = []
        self.released = threading.Event()
        self.catalogue = {"identity": "/v3", "compute": "/v2.1", "placement": "", "image": ""}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.answer(self)

            do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *args: str) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
            self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        sent = json.loads(handler.rfile.read(length) or b"null")
        self.asked.append((handler.command, handler.path))
        self.received.append((dict(handler.headers), sent))
        found = [
            given
            for (method, begin), given in self.answers.items()
            if method == handler.command and handler.path.startswith(begin)
        ]
        given = found[-1] if found else self._usual(handler)
        if isinstance(given, list):
            given = given.pop(0) if len(given) > 1 else given[0]
        status, body = given
        if body is None:
            self.released.wait(30)
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        if handler.path.endswith("/auth/tokens"):
            handler.send_header("X-Subject-Token", "a-token")
        handler.end_headers()
        handler.wfile.write(data)

    def _usual(self, handler: BaseHTTPRequestHandler) -> tuple[int, dict[str, Any]]:
        if handler.path.endswith("/auth/tokens"):
            return 201, {"token": self._token()}
        kind = handler.path.split("/")[1]
        versions = {
            "identity": ("v3.14", f"{self.url}/identity/v3"),
            "compute": ("v2.1", f"{self.url}/compute/v2.1/"),
            "placement": ("v1.0", f"{self.url}/placement/"),
            "image": ("v2.9", f"{self.url}/image/v2/"),
        }
        if kind in versions and len(handler.path.strip("/").split("/")) <= 2:
            version, url = versions[kind]
            one = {
                "id": version,
                "status": "CURRENT",
                "version": "1.39" if kind == "placement" else "2.96",
                "max_version": "1.39" if kind == "placement" else "2.96",
                "min_version": "1.0" if kind == "placement" else "2.1",
                "links": [{"rel": "self", "href": url}],
            }
            if kind == "identity":
                return 200, {"version": one}
            return (200, {"version": one, "versions": [one]})
        return 404, {"itemNotFound": {"message": f"no {handler.path}", "code": 404}}

    def _token(self) -> dict[str, Any]:
        return {
            "methods": ["password"],
            "user": {"id": "me", "name": "synergy", "domain": {"id": "default", "name": "D"}},
            "project": {"id": "p", "name": "service", "domain": {"id": "default", "name": "D"}},
            "roles": [{"id": "r", "name": "admin"}],
            "expires_at": "2999-01-01T00:00:00.000000Z",
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "catalog": [
                {
                    "id": kind,
                    "type": kind,
                    "name": kind,
                    "endpoints": [
                        {
                            "id": kind,
                            "interface": "internal",
                            "region": "R",
                            "region_id": "R",
                            "url": f"{self.url}/{kind}{self.catalogue[kind]}",
                        }
                    ],
                }
                for kind in KINDS
            ],
        }
