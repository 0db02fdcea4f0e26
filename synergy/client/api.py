"""One HTTP exchange with the API: its words on success, its words on failure. Knows no nouns."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException
from requests import Response

from synergy.client.plain import plain

VERSION: Final = "v1"
_MARKERS: Final = ("number", "id", "user_id")  # what a page ends with, by the kind of its entries


class ApiError(Exception):
    """What the API answered, in its own words.

    status      of HTTP
    code        stable, for programs
    request_id  for whoever reads the service's log
    """

    def __init__(self, text: str, *, status: int = 0, code: str = "", request_id: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.request_id = status, code, request_id


class Unreachable(ApiError):
    """The API, or Keystone before it, does not answer."""


class Api:
    """Speaks to one endpoint through an adapter of keystoneauth."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def get(self, path: str, **query: object) -> object:
        """Return the JSON body of a GET; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value not in (None, [], ())}
        return self._send("GET", path, params=given)

    def pages(self, path: str, plural: str, limit: int | None, **query: object) -> Iterator[Any]:
        """Walk a list over its pages, up to `limit` entries, None for all of them."""
        marker, left = query.pop("marker", None), limit
        while left is None or left > 0:
            size = 1000 if left is None else min(left, 1000)
            page = self.get(path, **query, limit=size, marker=marker)
            entries = objects_in(page, plural)
            yield from entries
            if part_of(page, "next") is None or not entries:
                return
            marker = next((entries[-1][key] for key in _MARKERS if key in entries[-1]), None)
            if marker is None:
                raise _not_synergys(plural)
            left = None if left is None else left - len(entries)

    def post(
        self, path: str, body: Mapping[str, object] | None = None, *, revision: str | None = None
    ) -> object:
        """Return the JSON body of a POST."""
        return self._send("POST", path, revision, json=dict(body or {}))

    def patch(
        self, path: str, body: Mapping[str, object], *, revision: str | None = None
    ) -> object:
        """Return the JSON body of a PATCH."""
        return self._send("PATCH", path, revision, json=dict(body))

    def delete(self, path: str, *, revision: str | None, params: Mapping[str, str]) -> None:
        """Send a DELETE."""
        self._send("DELETE", path, revision, params=params)

    def _send(
        self, method: str, path: str, revision: str | None = None, **options: object
    ) -> object:
        headers = {} if revision is None else {"If-Match": f'"{revision}"'}
        try:
            response = self._adapter.request(
                f"/{VERSION}{path}", method, raise_exc=False, headers=headers, **options
            )
        except ClientException as error:
            raise Unreachable(
                f"the Synergy API does not answer: {_in_short(error)}; is synergy-service running, "
                "is the endpoint right, and does Keystone know you?"
            ) from error
        try:
            body = response.json() if response.content else None
        except (ValueError, RecursionError) as error:
            raise ApiError(
                f"{response.url} answered {response.status_code} without JSON: it is not Synergy",
                status=response.status_code,
            ) from error
        if response.status_code >= 400:
            raise _error_of(response, body)
        if not isinstance(body, dict | None):
            raise ApiError(f"{response.url} answered no JSON object: it is not Synergy")
        return body


def part_of(answer: object, name: str) -> Any:
    """Return a part of an answer. Raises ApiError when it is not there."""
    if not isinstance(answer, dict) or name not in answer:
        raise _not_synergys(name)
    return answer[name]


def object_in(answer: object, name: str) -> dict[str, Any]:
    """Return an object of an answer. Raises ApiError when there is none."""
    found = part_of(answer, name)
    if not isinstance(found, dict):
        raise _not_synergys(name)
    return found


def objects_in(answer: object, name: str) -> list[dict[str, Any]]:
    """Return a list of objects of an answer. Raises ApiError when there is none."""
    found = part_of(answer, name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _not_synergys(name)
    return found


def _not_synergys(name: str) -> ApiError:
    return ApiError(
        f"the answer has no usable {name!r}: who answers at the endpoint is not Synergy, or is of "
        "another version than this client"
    )


def _in_short(error: Exception) -> str:
    """Return what happened, without the objects of urllib3 that it happened in."""
    words, _, cause = str(error).partition(": HTTP")
    reason = cause.rpartition("[Errno ")[2].partition("] ")[2].rstrip("\"')")
    return f"{words} ({reason})" if reason else words


def _error_of(response: Response, body: object) -> ApiError:
    told = body.get("errors") if isinstance(body, dict) else None
    request_id = response.headers.get("X-Openstack-Request-Id", "")
    if not told or not isinstance(told, list) or not all(_is_error(one) for one in told):
        text = f"the API answered {response.status_code} without a reason: is it Synergy?"
        return ApiError(text, status=response.status_code, request_id=request_id)
    text = plain("; ".join(f"{one['detail']} ({one['code']})" for one in told))
    return ApiError(text, status=response.status_code, code=told[0]["code"], request_id=request_id)


def _is_error(told: object) -> bool:
    return isinstance(told, dict) and {"detail", "code"} <= told.keys()
