"""Tokens before the API: keystonemiddleware asks a Keystone that answers, refuses, or is away."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg
from werkzeug.test import Client, TestResponse

from synergy.api.app import served
from synergy.api.policies import new_enforcer
from synergy.service.options import set_library_defaults
from tests.builders import world
from tests.served import WorldServices

OF_TOKEN: dict[str, Any] = {
    "of-admin": ("admin", "project-admin"),
    "of-alice": ("reader", "project-A"),
    "ours": ("service", "service"),
}


class Keystone:
    """Knows two tokens; what it is asked for is what keystonemiddleware was seen to ask."""

    def __init__(self) -> None:
        self.status: int | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if outer.status is not None:
                    return self._answer(outer.status, {})
                if not self.path.startswith("/v3/auth/tokens"):
                    return self._answer(200, outer.versions())
                found = OF_TOKEN.get(self.headers["X-Subject-Token"])
                if found is None:
                    return self._answer(404, {"error": {"code": 404, "message": "no"}})
                return self._answer(200, outer.token(*found))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if outer.status is not None:
                    return self._answer(outer.status, {})
                return self._answer(
                    201, outer.token("service", "service"), ("X-Subject-Token", "ours")
                )

            def _answer(
                self, status: int, body: dict[str, dict[str, Any]], *headers: tuple[str, str]
            ) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                for name, value in (*headers, ("Content-Length", str(len(data)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: str) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def versions(self) -> dict[str, dict[str, list[dict[str, Any]] | str]]:
        links = [{"rel": "self", "href": f"{self.url}/v3/"}]
        return {"version": {"id": "v3.14", "status": "stable", "links": links}}

    def token(self, role: str, project: str) -> dict[str, dict[str, Any]]:
        return {
            "token": {
                "methods": ["password"],
                "issued_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "expires_at": (datetime.now(UTC) + timedelta(hours=1)).strftime(
                    "%Y-%m-%dT%H:%M:%S.%fZ"
                ),
                "roles": [{"id": role, "name": role}],
                "project": {"id": project, "name": project, "domain": {"id": "d", "name": "d"}},
                "user": {"id": "u", "name": "u", "domain": {"id": "d", "name": "d"}},
                "catalog": [
                    {
                        "type": "identity", "name": "keystone", "id": "k",
                        "endpoints": [
                            {"id": i, "interface": i, "url": f"{self.url}/v3",
                             "region": "R", "region_id": "R"}
                            for i in ("public", "internal", "admin")
                        ],
                    }
                ],
            }
        }  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def keystone() -> Iterator[Keystone]:
    made = Keystone()
    yield made
    made.close()


@pytest.fixture
def client(keystone: Keystone, tmp_path: Path) -> Iterator[Client]:
    yield from clients(keystone, tmp_path)


def clients(keystone: Keystone, tmp_path: Path, **options: Any) -> Iterator[Client]:
    """Yield a client of the API; the options are of [keystone_authtoken]."""
    more = "\n".join(f"{name} = {value}" for name, value in options.items())
    path = tmp_path / "synergy.conf"
    set_library_defaults()
    path.write_text(f"""
[cors]
allowed_origin = https://horizon.example.com
[keystone_authtoken]
auth_type = password
auth_url = {keystone.url}/v3
username = synergy
password = secret
project_name = service
user_domain_id = default
project_domain_id = default
http_request_max_retries = 0
http_connect_timeout = 2
{more}
""")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(path)], project="synergy")
    with world() as made:
        made.add(default_quota="shared")
        made.run(1)
        app = served(
            WorldServices(made), new_enforcer(conf), conf, strategy="keystone", longest_body=1024
        )
        yield Client(app)


def ask(client: Client, path: str, token: str | None = None) -> TestResponse:
    headers = {} if token is None else {"X-Auth-Token": token}
    answer = client.get(path, headers=headers)
    assert answer.headers["X-Openstack-Request-Id"].startswith("req-")
    return answer


def test_a_token_says_whose_a_request_is(client: Client) -> None:
    assert ask(client, "/v1/managers", "of-admin").status_code == 200
    refused = ask(client, "/v1/managers", "of-alice")
    assert (refused.status_code, refused.get_json()["errors"][0]["code"]) == (403, "policy_denied")
    assert len(ask(client, "/v1/projects", "of-alice").get_json()["projects"]) == 1


@pytest.mark.parametrize("token", [None, "expired", "x" * 5000, "é"])
def test_without_a_valid_token_one_is_nobody(client: Client, token: str | None) -> None:
    answer = ask(client, "/v1/projects", token)
    assert (answer.status_code, answer.get_json()["errors"][0]["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Keystone")
    assert ask(client, "/healthcheck", token).status_code == 200


def test_nobody_passes_for_another_by_a_header(client: Client) -> None:
    answer = client.get(
        "/v1/projects",
        headers={"X-Identity-Status": "Confirmed", "X-Roles": "admin", "X-Project-Id": "p"},
    )
    assert answer.status_code == 401


@pytest.mark.parametrize("status", [500, 503, 401])
def test_while_keystone_is_down_it_says_when_to_come_back(
    client: Client, keystone: Keystone, status: int
) -> None:
    keystone.status = status
    answer = ask(client, "/v1/projects", "of-alice")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "30"
    assert answer.get_json()["errors"][0] == {
        "status": 503, "code": "upstream_unavailable",
        "detail": "Keystone cannot validate the token now",
    }  # fmt: skip
    keystone.status = None
    assert ask(client, "/v1/projects", "of-alice").status_code == 200


HORIZON = "https://horizon.example.com"


def preflight(
    client: Client, origin: str, method: str = "PATCH", headers: str = "X-Auth-Token, If-Match"
) -> TestResponse:
    return client.options(
        "/v1/projects/A",
        headers={
            "Origin": origin, "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": headers,
        },
    )  # fmt: skip


def test_a_page_of_an_allowed_origin_may_ask_before_it_has_a_token(client: Client) -> None:
    answer = preflight(client, HORIZON)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == HORIZON
    assert answer.headers["Access-Control-Allow-Methods"] == "PATCH"


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://elsewhere.example.com", "PATCH", "X-Auth-Token"),
        (HORIZON, "TRACE", "X-Auth-Token"),
        (HORIZON, "PATCH", "X-Roles"),
    ],
)
def test_another_origin_method_or_header_is_not_allowed(
    client: Client, origin: str, method: str, headers: str
) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(client, origin, method, headers).headers


def test_an_answer_to_an_allowed_page_lets_it_read_the_headers_of_the_api(client: Client) -> None:
    answer = client.get("/v1/projects", headers={"X-Auth-Token": "of-alice", "Origin": HORIZON})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == HORIZON
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert {"ETag", "Retry-After", "X-Openstack-Request-Id"} <= set(exposed.split(","))


def test_a_refusal_says_why_to_an_allowed_page_too(client: Client) -> None:
    answer = client.get("/v1/projects", headers={"Origin": HORIZON})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == HORIZON
