"""Whoever answers in Synergy's place, and whatever it answers, is one sentence for the caller."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from requests import Response

from synergy.client.api import Api, ApiError
from synergy.client.client import Managers, Projects, Reports, Requests

NONSENSE = [
    b"[]",
    b"null",
    b"{}",
    b'"managers"',
    b"5",
    b"<html>",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"errors": ["no"]}',
    b'{"errors": 5}',
    b'{"errors": [{"detail": "half of one"}]}',
    b"""{"managers": null, "projects": 5, "requests": [1], "events": [{}], "priorities": [[]],
    "shares": {}, "usage": "x", "quota": [], "expiry": [], "round": 1, "manager": [],
    "project": "x", "user": 1, "users": [5], "request": 4, "explanation": null,
    "simulation": [], "audit": {}}""",
    b"""{"requests": [{}], "events": [{}], "priorities": [{}], "users": [{}], "projects": [{}],
    "audit": [{}], "next": "more"}""",
]
CALLS = [
    (noun, name)
    for noun in (Managers, Projects, Requests, Reports)
    for name, _ in inspect.getmembers(noun, inspect.isfunction)
    if not name.startswith("_")
]


# What has no answer that could be wrong, and what shows the rows of another answer as they are.
BLIND = {(Projects, "remove", 200), (Reports, "ending", 200)}


class Stranger:
    """A server that gives one answer to everything."""

    def __init__(self, status: int, content: bytes) -> None:
        self._status, self._content = status, content

    def request(self, path: str, method: str, **options: Any) -> Response:
        answer = Response()
        answer.status_code, answer._content, answer.url = self._status, self._content, "http://x"
        return answer


def stranger(status: int, content: bytes) -> Any:  # stands for an adapter of keystoneauth
    return Stranger(status, content)


def call(api: Api, noun: Callable[[Any], Any], name: str) -> Any:
    """Call a method with an "x" for each argument that it needs, a body with one, and read all that
    it returns."""
    method = getattr(noun(api), name)
    needed = [
        {"x": "x"} if "Mapping" in str(one.annotation) else "x"
        for one in inspect.signature(method).parameters.values()
        if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    found = method(*needed)
    return list(found) if inspect.isgenerator(found) else found


@pytest.mark.parametrize(("noun", "name"), CALLS, ids=lambda one: getattr(one, "__name__", one))
@pytest.mark.parametrize("status", [200, 404, 500])
def test_what_is_not_synergy_is_said_so(noun: type[Any], name: str, status: int) -> None:
    api_of = [Api(stranger(status, content)) for content in NONSENSE]
    if (noun, name, status) in BLIND:
        api_of = api_of[:1]
    for api in api_of:
        with pytest.raises(ApiError, match=r"Synergy|half") as caught:
            call(api, noun, name)
        assert "Traceback" not in str(caught.value)


def test_a_reason_of_synergys_own_is_told_with_its_code() -> None:
    told = b'{"errors": [{"detail": "no such thing", "code": "not_found", "status": 404}]}'
    with pytest.raises(ApiError, match=r"^no such thing \(not_found\)$") as caught:
        call(Api(stranger(404, told)), Projects, "show")
    assert (caught.value.status, caught.value.code) == (404, "not_found")
