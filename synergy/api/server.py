"""Serves an application on threads of this process, with uvicorn on an event loop of its own.

Why uvicorn: one thread keeps all the connections, TLS handshakes included, so strangers who connect
and say nothing hold no thread; it is small, well kept, and bounds headers (h11). What it does not
bound, `listener` and `gateway` do.
"""

import asyncio
import asyncio.sslproto
import logging
import resource
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Final

import uvicorn
from oslo_config import cfg

from synergy.api.authentication import NONE
from synergy.api.errors import Wsgi
from synergy.api.gateway import BodyLimits, Gateway, LaneOf
from synergy.api.lanes import LaneThreads
from synergy.api.listener import ConnectionLimits, Connections, Listener, listen
from synergy.api.local import is_loopback

LOG = logging.getLogger(__name__)
LONGEST_STOP_S: Final = 2
_TLS_BUFFER_BYTES: Final = 16 * 1024  # one record of TLS
_QUEUED_READS: Final = 128  # they are short
_ACCEPTED_AT_ONCE: Final = 64  # then those that were accepted before have their turn


class ServerThread:
    """An event loop on a thread, which serves one listening socket."""

    def __init__(
        self,
        name: str,
        gateway: Gateway,
        lanes: Mapping[str, LaneThreads],
        listener: socket.socket,
        *,
        header_bytes: int,
        idle_s: float,
        tls: ssl.SSLContext | None = None,
        connections: Connections | None = None,
    ) -> None:
        config = uvicorn.Config(
            gateway,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            backlog=_ACCEPTED_AT_ONCE,
            proxy_headers=False,
            server_header=False,
            h11_max_incomplete_event_size=header_bytes,
            timeout_keep_alive=max(1, int(idle_s)),
            timeout_graceful_shutdown=LONGEST_STOP_S,
        )
        config.load()
        config.ssl = tls
        self._server, self._listener = uvicorn.Server(config), listener
        self._lanes, self._connections = lanes, connections
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name=name, daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._listener.listen()  # from here on connections wait for the loop
        for lane in self._lanes.values():
            lane.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop answering; what is being answered has LONGEST_STOP_S seconds."""
        self._server.should_exit = True
        for lane in self._lanes.values():
            lane.stop()

    def join(self) -> None:
        """Wait until the server has stopped."""
        self._thread.join()

    async def _serve(self) -> None:
        sweeping = None if self._connections is None else self._connections.sweep()
        task = None if sweeping is None else asyncio.create_task(sweeping)
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            if task is not None:
                task.cancel()


class ApiServer:
    """Listens on the address of [api]."""

    def __init__(self, app: Wsgi, lane_of: LaneOf, conf: cfg.ConfigOpts.GroupAttr) -> None:
        """app  is served with TLS when [api] tls_cert_file is given. Raises OSError or ValueError
        when the address is taken, or certificate and key cannot be used."""
        tls = tls_of(conf.tls_cert_file, conf.tls_key_file) if conf.tls_cert_file else None
        self._scheme = "http" if tls is None else "https"
        maximum = connections_of(conf.connections)
        self._listener: Listener = listen(
            conf.host,
            conf.port,
            ConnectionLimits(
                connections=maximum,
                per_address=min(maximum, conf.connections_per_address),
                idle_s=conf.idle_s,
            ),
        )
        if conf.auth_strategy == NONE and not is_loopback(self.address[0]):
            self._listener.close()
            raise ValueError(
                f"[api] host {conf.host} is {self.address[0]}, which is not loopback, as "
                "auth_strategy=none needs"
            )
        lanes = {
            # Never refused: no more than one of each connection waits, and each is short.
            "health": LaneThreads("health", 2, queued=maximum + _ACCEPTED_AT_ONCE),
            # More than one, since those who wait for the same collection hold a thread each.
            "metrics": LaneThreads("metrics", 4),
            "costly": LaneThreads("costly", conf.costly_threads),
            "reads": LaneThreads("reads", conf.read_threads, queued=_QUEUED_READS),
            "changes": LaneThreads("changes", conf.threads),
        }
        limits = BodyLimits(
            body_bytes=conf.longest_body_bytes, body_s=conf.body_s, answer_s=conf.answer_s
        )
        connections = self._listener.connections
        self._server = ServerThread(
            "api",
            Gateway(app, lanes, lane_of, limits, connections),
            lanes,
            self._listener,
            header_bytes=conf.header_bytes,
            idle_s=conf.idle_s,
            tls=tls,
            connections=connections,
        )

    @property
    def address(self) -> tuple[str, int]:
        """Return where it listens."""
        host, port = self._listener.getsockname()[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Begin to answer."""
        host, port = self.address
        shown = f"[{host}]" if ":" in host else host
        self._server.start()
        LOG.info("the API listens on %s://%s:%s", self._scheme, shown, port)

    def stop(self) -> None:
        """Stop answering."""
        self._server.stop()

    def join(self) -> None:
        """Wait until the server has stopped."""
        self._server.join()


def tls_of(cert_file: str, key_file: str) -> ssl.SSLContext:
    """Return what TLS needs. Raises OSError when the files cannot be used.

    asyncio gives each TLS connection a buffer of 256 KB before its handshake, and a handshake that
    fails leaves it in a cycle until the next full collection: a flood of them took 800 MB.
    """
    asyncio.sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.load_cert_chain(cert_file, key_file)
    return context


def connections_of(wanted: int) -> int:
    """Return how many connections there may be: the database and the cloud need descriptors too."""
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY or wanted <= descriptors // 2:
        return wanted
    LOG.warning(
        "[api] connections is %d, but the process may have %d file descriptors: %d are used",
        wanted, descriptors, descriptors // 2,
    )  # fmt: skip
    return descriptors // 2
