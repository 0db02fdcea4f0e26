"""A RabbitMQ from Debian's package, alone on loopback, that a test starts, stops and starts again.

Why: the lab brings up a whole OpenStack, which takes minutes; what concerns the broker alone is
tried in seconds wherever `rabbitmq-server` is installed.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import OperationalError

from lab.packages import RABBIT
from lab.processes import Processes
from tests.absent import absent
from tests.patience import until
from tests.processes import free_port

ACCOUNT = "synergy:secret"
PATIENCE_S = 300.0
_CONFIGURATION = """
listeners.tcp.1 = 127.0.0.1:{port}
loopback_users = none
log.console = false
disk_free_limit.absolute = 50MB
default_user = synergy
default_pass = secret
default_vhost = /
"""
_LOOPBACK = "-kernel inet_dist_use_interface {127,0,0,1}"


class RabbitMQ:
    """One broker, with its data in one folder.

    settings  of the application rabbit, such as "consumer_timeout 1000"
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port, self._epmd = free_port(), str(free_port())
        self._processes = Processes(folder)
        (folder / "rabbitmq.conf").write_text(_CONFIGURATION.format(port=self.port))
        (folder / "enabled_plugins").write_text("[].\n")
        self._env = {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": "tests@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": self._epmd,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_SERVER_START_ARGS": _LOOPBACK,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(f"-rabbit {one}" for one in settings),
        }

    @property
    def url(self) -> str:
        """The address of its only vhost."""
        return f"rabbit://{ACCOUNT}@127.0.0.1:{self.port}//"

    def add_vhost(self, name: str) -> str:
        """Create a vhost, and return its URL."""
        self.control("add_vhost", name)
        self.control("set_permissions", "-p", name, "synergy", ".*", ".*", ".*")
        return f"{self.url[:-1]}{name}"

    def control(self, *words: str) -> None:
        """Run rabbitmqctl."""
        command = [str(RABBIT / "rabbitmqctl"), "-q", "-n", "tests@localhost", *words]
        done = subprocess.run(
            command, env=os.environ | self._env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def connect(self, url: str = "") -> Connection:
        """Return a connection that is open."""
        connection = Connection((url or self.url).replace("rabbit:", "pyamqp:"))
        connection.ensure_connection(max_retries=0)
        return connection

    def publish(self, exchange: str, key: str, *bodies: bytes, **properties: Any) -> None:
        """Publish to an exchange that is there, as oslo.messaging does."""
        described = {"content_type": "application/json", "content_encoding": "utf-8"}
        with self.connect() as connection:
            for body in bodies:
                connection.Producer().publish(
                    body, exchange=exchange, routing_key=key, delivery_mode=2,
                    **described | properties,
                )  # fmt: skip

    def waiting(self, queue: str) -> int:
        """Return how many messages of a queue no consumer has."""
        with self.connect() as connection:
            return int(connection.channel().queue_declare(queue, passive=True).message_count)

    def start(self) -> None:
        self._processes.start("rabbitmq", [str(RABBIT / "rabbitmq-server")], self._env)
        # A busy machine takes minutes for what takes 8 s on an idle one.
        self._processes.wait_for_port("rabbitmq", self.port, timeout_s=PATIENCE_S)
        until(self._answers, PATIENCE_S, 0.2)

    def _answers(self) -> bool:
        with suppress(OSError, OperationalError), self.connect():
            return True
        return False

    def stop(self) -> None:
        self._processes.stop(["rabbitmq"])

    def close(self) -> None:
        self.stop()
        subprocess.run(["epmd", "-port", self._epmd, "-kill"], capture_output=True, check=False)


@contextmanager
def running(folder: Path, *settings: str) -> Iterator[RabbitMQ]:
    """A broker for a while. Skips the test where Debian's package is not installed."""
    if not (RABBIT / "rabbitmq-server").exists():
        absent("rabbitmq-server")
    made = RabbitMQ(folder, *settings)
    try:
        made.start()
        yield made
    finally:
        made.close()
