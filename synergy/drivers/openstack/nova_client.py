"""python-novaclient, opened as a service needs it.

Why: the client is made for a shell, too. Left to itself it writes what it lists below the home
folder, for completion; logs answers, which hold the user data of servers, under a name that no
default level keeps quiet; and fails on an error whose body is not Nova's, such as a proxy sends.
Must not know which requests are made.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from novaclient import client, exceptions

MICROVERSION: Final = (
    "2.53"  # first with flavors inside servers and with Placement's ids of hypervisors
)
_API: Final = "2.1"  # to be looked for where an endpoint of the catalogue names no version
_NO_FOLDER: Final = os.devnull


class _HttpClient(client.SessionClient):  # type: ignore[misc]
    """Raises the client's own error for each status, whatever the body is."""

    def request(self, url: str, method: str, **kwargs: Any) -> tuple[Any, Any]:
        response, body = super().request(url, method, raise_exc=False, **kwargs)
        if response.status_code >= 400:
            foreign = {"message": response.text.strip() or response.reason}
            shown = body if _is_error_of_nova(body) else foreign
            raise exceptions.from_response(response, shown, url, method)
        return response, body


def _is_error_of_nova(body: object) -> bool:
    """Return whether the body is one that the client can read: a message, or one below a name."""
    return (
        isinstance(body, Mapping)
        and bool(body)
        and ("message" in body or isinstance(next(iter(body.values())), Mapping))
    )


def connect(session: Any, conf: Any) -> Any:
    """Return the client, without connecting yet. conf is the option group."""
    os.environ.setdefault("NOVACLIENT_UUID_CACHE_DIR", _NO_FOLDER)
    nova = client.Client(MICROVERSION, session=session)
    nova.client = _HttpClient(
        session=session,
        api_version=nova.api_version,
        service_type="compute",
        interface=conf.interface,
        region_name=conf.region_name,
        min_version=_API,
        max_version=_API,
        user_agent="synergy",
        logger=logging.getLogger("keystoneauth.session"),
        connect_retries=conf.connect_retries,
        connect_retry_delay=conf.connect_retry_delay,
        status_code_retries=conf.status_code_retries,
        status_code_retry_delay=conf.status_code_retry_delay,
    )
    return nova


def pages(after: Callable[..., Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Yield the pages of a list of the client, which takes a `marker`.

    The list ends with an empty page: a short one may only mean that Nova gives fewer at a time
    ([api] max_limit) than it was asked for.
    """
    marker = None
    while page := after(marker=marker):
        yield page
        marker = page[-1].id
