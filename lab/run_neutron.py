"""A stub of Neutron that suffices for servers without networks: run_neutron.py PORT."""

import json
import sys
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from waitress import serve

EMPTY = ("ports", "networks", "subnets", "floatingips", "security-groups", "extensions")


def answer(path: str) -> tuple[str, dict[str, Any]]:
    """Return the status and body for a path."""
    last = path.rstrip("/").rpartition("/")[2]
    if path.rstrip("/") in ("", "/v2.0"):
        return "200 OK", {"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}
    if last in EMPTY:
        return "200 OK", {last.replace("-", "_"): []}
    if "/quotas" in path:
        return "200 OK", {"quota": dict.fromkeys(("port", "network", "security_group"), -1)}
    detail = {"type": "NotFound", "message": f"{path} is not answered here", "detail": ""}
    return "404 Not Found", {"NeutronError": detail}


def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """The WSGI application."""
    status, body = answer(environ["PATH_INFO"])
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


if __name__ == "__main__":
    serve(application, host="127.0.0.1", port=int(sys.argv[1]), threads=4)
