"""What the API refuses: values that make no sense, bodies that are none, and who may not ask."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import World, rid, world
from tests.served import Api

OWN = "project-A"


@pytest.fixture
def made() -> Iterator[World]:
    with world() as found:
        found.add(default_quota="shared", ttl_s=600)
        found.add("B", default_quota="shared", ttl_s=600)
        found.run(1)
        yield found


@pytest.fixture
def api(made: World) -> Api:
    return Api(made).as_admin()


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        ("GET", "/v1/requests?limit=0", None, "limit is 0, but must be at least 1"),
        ("GET", "/v1/requests?limit=99999999999999999999", None, "limit is '9999"),
        ("GET", "/v1/requests?limit=١", None, "must be a whole number"),
        ("GET", "/v1/requests?limit=1&limit=2", None, "limit is given 2 times"),
        ("GET", "/v1/requests?colour=red", None, "'colour' is unknown; there are"),
        (
            "GET",
            "/v1/requests?state=SLEEPY",
            None,
            'state is "SLEEPY", but must be one of RECEIVED, QUEUED',
        ),
        (
            "GET",
            "/v1/requests?sort_key=secret",
            None,
            'sort_key is "secret", but must be one of received',
        ),
        ("GET", "/v1/requests?name=%00", None, "without control characters"),
        ("GET", "/v1/events?marker=-1", None, "marker is '-1'"),
        ("POST", "/v1/projects", {}, "project is missing"),
        ("POST", "/v1/projects", {"project": "A", "x": 1}, "'x' is unknown; there are"),
        ("POST", "/v1/projects", {"project": 7}, "project is 7, but must be text"),
        ("PATCH", "/v1/projects/A", {}, "nothing is given: give one of raw_shares, priority"),
        ("PATCH", "/v1/projects/A", {"force": True}, "nothing is given: give one of raw_shares"),
        ("PATCH", "/v1/projects/A", {"private": {"vcpu": 1}}, "private: 'vcpu'"),
        ("PATCH", "/v1/projects/A", {"raw_shares": -1}, "raw_shares"),
        ("POST", "/v1/managers/queue/start", {"now": True}, "takes no body"),
        (
            "POST",
            "/v1/simulate",
            {"flavor": "small", "count": 0},
            "count is 0, but must be at least 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name_and_value(
    api: Api, method: str, path: str, body: dict[str, dict[str, int] | int | str] | None, told: str
) -> None:
    status, found, _ = api.ask(method, path, body)
    assert (status, found["errors"][0]["code"]) == (400, "invalid_input")
    assert told in found["errors"][0]["detail"]


def test_a_number_that_json_has_not_is_named(api: Api) -> None:
    status, found = api.raw("PATCH", "/v1/projects/A", data=b'{"raw_shares": NaN}')
    assert (status, "NaN is no number of JSON" in found["errors"][0]["detail"]) == (400, True)


@pytest.mark.parametrize(
    "data", [b"{", b"[]", b'"text"', b'{"raw_shares": NaN}', b"[" * 100_000, b"\xff\xfe{}"]
)
def test_a_body_that_is_no_json_object_is_refused(api: Api, data: bytes) -> None:
    status, found = api.raw("PATCH", "/v1/projects/A", data=data)
    assert (status, found["errors"][0]["code"]) == (400, "invalid_input")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nosuch", 404, "not_found"),
        ("PUT", "/v1/projects/A", 405, "method_not_allowed"),
        ("GET", f"/v1/requests/{rid(9)}", 404, "not_found"),
        ("GET", f"/v1/requests?marker={rid(9)}", 404, "not_found"),
        ("GET", "/v1/projects/'; DROP TABLE projects; --", 404, "not_found"),
        ("GET", "/v1/managers/nosuch", 404, "not_found"),
        ("POST", "/v1/managers/queue/commands/nosuch", 404, "not_found"),
    ],
)
def test_what_is_not_there_is_said_in_the_one_shape(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    found = api.raw(method, path)
    assert (found[0], found[1]["errors"][0]["code"]) == (status, code)


def test_a_body_that_is_too_long_is_refused(api: Api) -> None:
    status, found = api.raw("POST", "/v1/projects", data=b" " * (1024 * 1024 + 1))
    assert (status, found["errors"][0]["code"]) == (413, "request_entity_too_large")
    assert found["errors"][0]["detail"] == "the body is longer than 1048576 bytes"


def test_a_token_of_no_project_sees_no_project(api: Api) -> None:
    api.as_("reader")
    for path in ("/v1/projects", "/v1/requests", "/v1/shares", "/v1/usage", "/v1/quotas"):
        status, told, _ = api.ask("GET", path)
        assert (status, told["errors"][0]["code"]) == (403, "policy_denied")


def test_a_policy_file_changes_who_may(made: World, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text('"synergy:metrics:get": "role:reader"\n')
    api = Api(made, policy_file=path).as_("reader", project=OWN)
    assert api.ask("GET", "/metrics")[0] == 200


def test_a_policy_file_that_changes_is_read_again_within_5_seconds(
    made: World, tmp_path: Path
) -> None:
    path, now_s = tmp_path / "policy.yaml", [0.0]
    path.write_text('"synergy:metrics:get": "role:reader"\n')
    api = Api(made, policy_file=path, monotonic_s=lambda: now_s[0]).as_("reader", project=OWN)
    assert api.ask("GET", "/metrics")[0] == 200
    path.write_text('"synergy:metrics:get": "role:admin"\n')
    os.utime(path, (2e9, 2e9))
    now_s[0] = 5.1
    assert api.ask("GET", "/metrics")[0] == 403
