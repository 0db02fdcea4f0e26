"""Serves the application on threads of this process, with cheroot."""

import logging
import threading
from typing import Any

from cheroot import wsgi

from synergy.api.app import create_app
from synergy.api.services import Services

LOG = logging.getLogger(__name__)


class ApiServer:
    """Listens on the address of [api]."""

    def __init__(self, services: Services, conf: Any) -> None:
        self._server = wsgi.Server(
            (conf.host, conf.port),
            create_app(services),
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
