"""Serves the application on threads of this process, with cheroot."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from cheroot import wsgi

from synergy.api.app import create_app
from synergy.api.services import Services

LOG = logging.getLogger(__name__)
LONGEST_DRAIN: Final = 256 * 1024 * 1024
_Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def reading_to_the_end(app: _Wsgi) -> _Wsgi:
    """Wrap `app` so that what it leaves unread of a body is read and thrown away.

    Closing a connection with unread bytes resets it, and then a client that is still sending sees a
    broken pipe instead of the answer, such as "413: too long". What goes on for more than
    LONGEST_DRAIN bytes, or stops coming, is cut off.
    """

    def served(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = app(environ, start_response)
        left = LONGEST_DRAIN
        try:
            while left > 0 and (chunk := environ["wsgi.input"].read(64 * 1024)):
                left -= len(chunk)
        except (OSError, ValueError) as error:
            LOG.debug("the rest of a body did not arrive: %s", error)
        return answer

    return served


class ApiServer:
    """Listens on the address of [api]."""

    def __init__(self, services: Services, conf: Any) -> None:
        self._server = wsgi.Server(
            (conf.host, conf.port),
            reading_to_the_end(create_app(services)),
            numthreads=conf.threads,
            server_name="synergy",
            shutdown_timeout=2,
        )
        self._thread = threading.Thread(target=self._server.serve, name="api", daemon=True)

    def start(self) -> None:
        """Bind and begin to answer. Raises OSError when the address is taken."""
        self._server.prepare()
        host, port = self._server.bind_addr[:2]
        LOG.info("the API listens on http://%s:%s", host, port)
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop()

    def join(self) -> None:
        """Wait until the server has stopped."""
        self._thread.join()
