"""A manager in one file: it counts the servers that became active, and says so."""

import logging
from typing import Any

from oslo_config import cfg

from synergy.core.events import ServersActive
from synergy.managers.base import Manager, command, on

LOG = logging.getLogger(__name__)


class HeartbeatManager(Manager):
    """Tells at every run how many servers booted since the last one."""

    name = "heartbeat"
    options = (
        cfg.StrOpt("greeting", default="alive", mutable=True, help="What to say at every run."),
    )

    def __init__(self, conf: Any) -> None:
        self._conf = conf
        self._new = self._total = 0

    @on(ServersActive)
    def count(self, fact: ServersActive) -> None:
        self._new += len(fact.requests)

    def task(self) -> None:
        LOG.info("%s: %d new server(s)", self._conf.greeting, self._new)
        self._total, self._new = self._total + self._new, 0

    @command()
    def do_total(self) -> dict[str, int]:
        """Show how many servers booted since the start."""
        return {"total": self._total + self._new}
