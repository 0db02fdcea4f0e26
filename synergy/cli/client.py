"""An HTTP client for the API: one session, one way to show an error."""

from collections.abc import Mapping
from typing import Any

from keystoneauth1 import adapter, session
from keystoneauth1.exceptions import ClientException
from keystoneauth1.noauth import NoAuth

VERSION = "v1"


class ApiError(Exception):
    """What the API answered, in its own words; cliff prints it and exits with 1."""


class Client:
    """Speaks to one endpoint; without authentication, which the embedded cloud does not have."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._adapter = adapter.Adapter(
            session.Session(auth=NoAuth(endpoint=self._endpoint), timeout=60),
            endpoint_override=f"{self._endpoint}/{VERSION}",
            user_agent="synergy-cli",
        )

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON body of a GET; parameters that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._send("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON body of a POST."""
        return self._send("POST", path, json=dict(body or {}))

    def patch(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON body of a PATCH."""
        return self._send("PATCH", path, json=dict(body))

    def delete(self, path: str) -> None:
        """Send a DELETE."""
        self._send("DELETE", path)

    def _send(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._adapter.request(path, method, raise_exc=False, **options)
        except ClientException as error:
            raise ApiError(
                f"the Synergy API at {self._endpoint} does not answer: {error}; "
                "is synergy-service running, and is --endpoint right?"
            ) from error
        try:
            body = response.json() if response.content else None
        except ValueError as error:
            raise ApiError(
                f"{self._endpoint} answered {response.status_code} without JSON"
            ) from error
        if response.status_code >= 400:
            raise ApiError(_in_words(body, response.status_code))
        return body


def client_of(command: Any) -> Client:
    """Return the client of the application that a cliff command belongs to."""
    client: Client = command.app.client
    return client


def _in_words(body: Any, status: int) -> str:
    errors = body.get("errors") if isinstance(body, dict) else None
    if not errors:
        return f"the API answered {status}"
    return "; ".join(f"{error['detail']} ({error['code']})" for error in errors)
