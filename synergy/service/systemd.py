"""Reports the state of the service to systemd, as sd_notify(3) describes; without systemd it does
nothing.

Why: a unit of Type=notify is started when the service can work, not when its process exists, and a
watchdog restarts a process that hangs. It is a datagram to a socket; no library is needed for that.
Must not know what the service does.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final

LOG = logging.getLogger(__name__)
_PER_S: Final = 1_000_000


class Systemd:
    """The service manager that started this process, if it wants to hear of it."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """environment  has NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, where systemd set them"""
        self._address = environment.get("NOTIFY_SOCKET", "")
        wanted = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period_us = environment.get("WATCHDOG_USEC", "0") if wanted else "0"
        self.watchdog_s = int(period_us) / _PER_S if period_us.isdecimal() else 0.0

    def ready(self) -> None:
        """Say that the service works, at its start or again after a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` has to follow."""
        at_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={at_us}")

    def stopping(self) -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Show a line in `systemctl status`."""
        self._send(f"STATUS={' '.join(text.split())}")

    def alive(self) -> None:
        """Keep the watchdog from restarting the service, if there is one."""
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        # An address in the abstract namespace begins with @, which stands for a zero byte.
        address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), address)
        except OSError as error:  # the service goes on; systemd acts on what it did not hear
            LOG.warning("systemd cannot be notified at %s: %s", self._address, error)
