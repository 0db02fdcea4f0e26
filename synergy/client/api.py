"""One HTTP exchange with the API: returns its JSON, or raises its error. Must not know
resources."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keystoneauth1.adapter import Adapter
from keystoneauth1.exceptions import ClientException
from requests import Response

from synergy.client.plain import plain

VERSION: Final = "v1"
_MARKERS: Final = ("number", "id", "user_id")  # the key of an entry that is the next page's marker


class ApiError(Exception):
    """An error answer of the API, with its text.

    status      HTTP status
    code        stable error code, for programs
    request_id  to find the request in the service's log
    """

    def __init__(self, text: str, *, status: int = 0, code: str = "", request_id: str = "") -> None:
        super().__init__(text)
        self.status, self.code, self.request_id = status, code, request_id


class Unreachable(ApiError):
    """The API, or Keystone, does not answer."""


class Api:
    """Sends requests to one endpoint through a keystoneauth adapter."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def get(self, path: str, **query: object) -> object:
        """Return the JSON body of a GET; parameters that are None are left out."""
        given = {name: value for name, value in query.items() if value not in (None, [], ())}
        return self._send("GET", path, params=given)

    def pages(self, path: str, plural: str, limit: int | None, **query: object) -> Iterator[Any]:
        """Yield the entries of a list over all its pages, up to `limit`, all for None."""
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
                raise _unexpected_answer(plural)
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

    def delete(self, path: str, *, revision: str | None, params: Mapping[str, str]) -> object:
        """Return the JSON body of a DELETE, None without one."""
        return self._send("DELETE", path, revision, params=params)

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
                f"the Synergy API does not answer: {_short_cause(error)}; is synergy-service "
                "running, is the endpoint right, and does Keystone know you?"
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
            raise ApiError(f"{response.url} did not answer a JSON object: it is not Synergy")
        return body


class Noun:
    """What one kind of resource offers."""

    def __init__(self, api: Api) -> None:
        self._api = api


def part_of(answer: object, name: str) -> Any:
    """Return a part of an answer. Raises ApiError when it is not there."""
    if not isinstance(answer, dict) or name not in answer:
        raise _unexpected_answer(name)
    return answer[name]


def object_in(answer: object, name: str) -> dict[str, Any]:
    """Return an object of an answer. Raises ApiError when there is none."""
    found = part_of(answer, name)
    if not isinstance(found, dict):
        raise _unexpected_answer(name)
    return found


def objects_in(answer: object, name: str) -> list[dict[str, Any]]:
    """Return a list of objects of an answer. Raises ApiError when there is none."""
    found = part_of(answer, name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _unexpected_answer(name)
    return found


def _unexpected_answer(name: str) -> ApiError:
    return ApiError(
        f"the answer has no usable {name!r}: the endpoint is not Synergy, or its version does not "
        "match this client"
    )


def _short_cause(error: Exception) -> str:
    """Return the cause of an error, without the object representations of urllib3."""
    words, _, cause = str(error).partition(": HTTP")
    reason = cause.rpartition("[Errno ")[2].partition("] ")[2].rstrip("\"')")
    return f"{words} ({reason})" if reason else words


def _error_of(response: Response, body: object) -> ApiError:
    errors = body.get("errors") if isinstance(body, dict) else None
    request_id = response.headers.get("X-Openstack-Request-Id", "")
    if not errors or not isinstance(errors, list) or not all(_is_error(one) for one in errors):
        text = f"the API answered {response.status_code} without a reason: is it Synergy?"
        return ApiError(text, status=response.status_code, request_id=request_id)
    text = plain("; ".join(f"{one['detail']} ({one['code']})" for one in errors))
    return ApiError(
        text, status=response.status_code, code=errors[0]["code"], request_id=request_id
    )


def _is_error(errors: object) -> bool:
    return isinstance(errors, dict) and {"detail", "code"} <= errors.keys()
