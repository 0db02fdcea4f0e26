"""Serves the application on threads of this process, with cheroot."""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from cheroot import wsgi
from cheroot.ssl.builtin import BuiltinSSLAdapter

from synergy.api.errors import Wsgi

LOG = logging.getLogger(__name__)
LONGEST_DRAIN: Final = 256 * 1024 * 1024


def reading_to_the_end(app: Wsgi) -> Wsgi:
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

    def __init__(self, app: Wsgi, conf: Any) -> None:
        """app  is served with TLS when [api] tls_cert_file is given. Raises OSError or ValueError
        when certificate and key cannot be used."""
        self._server = wsgi.Server(
            (conf.host, conf.port),
            reading_to_the_end(app),
            numthreads=conf.threads,
            server_name="synergy",
            shutdown_timeout=2,
        )
        self._scheme = "http"
        if conf.tls_cert_file:
            self._server.ssl_adapter = BuiltinSSLAdapter(conf.tls_cert_file, conf.tls_key_file)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve, name="api", daemon=True)

    def start(self) -> None:
        """Bind and begin to answer. Raises OSError when the address is taken."""
        self._server.prepare()
        host, port = self._server.bind_addr[:2]
        LOG.info("the API listens on %s://%s:%s", self._scheme, host, port)
        self._thread.start()

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop()

    def join(self) -> None:
        """Wait until the server has stopped."""
        self._thread.join()
