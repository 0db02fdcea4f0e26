"""The watchdog: every few seconds it does what the managers cannot do for themselves.

Why: the leadership needs a heartbeat, changed keys must be reloaded, dead threads replaced, and
managers woken that back off because the database was away. One thread does all of it, so that one
place knows the health of the service itself. Must not know what the managers do.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from synergy.core.errors import ConfigurationInvalid, Deposed, StoreUnavailable
from synergy.db.leadership import BEAT_S, LAPSE_S, Leadership
from synergy.db.vault import Vault
from synergy.service.host import Host

LOG = logging.getLogger(__name__)
_END_S: Final = 15.0


class Watchdog:
    """Checks the service itself, on its own thread."""

    def __init__(
        self,
        host: Host,
        leadership: Leadership,
        vault: Vault,
        on_deposed: Callable[[], None],
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """alive  called after each check, for anyone who restarts a service that hangs"""
        self._host, self._leadership, self._vault = host, leadership, vault
        self._on_deposed, self._alive = on_deposed, alive
        self._store_error = ""
        self._checked_s = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start checking."""
        self._thread.start()

    def stop(self) -> None:
        """Stop checking."""
        self._ending.set()
        self._thread.join(_END_S)

    def problems(self) -> list[str]:
        """Return what is wrong with the service besides its managers."""
        found = ["nothing can be written to the database"] if self._store_error else []
        age_s = time.monotonic() - self._checked_s
        if age_s > LAPSE_S:
            found.append(f"the watchdog has not run for {age_s:.0f} s")
        return found

    def _loop(self) -> None:
        while not self._ending.wait(BEAT_S):
            self.check()

    def check(self) -> None:
        """Check once."""
        for part in (self._beat, self._follow_keys, self._host.revive, self._alive):
            try:
                part()
            except Exception:  # a failing part must not prevent the others
                LOG.exception("a check of the watchdog failed")
        self._checked_s = time.monotonic()

    def _follow_keys(self) -> None:
        try:
            if self._vault.refresh():
                LOG.info("messages are now sealed with another key: %s", self._vault.sealing_key)
        except ConfigurationInvalid as error:
            LOG.error("the key file is not reloaded: %s", error)

    def _beat(self) -> None:
        try:
            self._leadership.beat(self._vault.sealing_key)
        except Deposed as error:
            self._store_error = str(error)
            LOG.critical("%s", error)
            self._on_deposed()
        except StoreUnavailable as error:
            if str(error) != self._store_error:
                LOG.error("nothing can be written to the database: %s", error)
            self._store_error = str(error)
        else:
            if self._store_error:
                LOG.info("the database can be written to again")
                self._store_error = ""
                self._host.end_rest(StoreUnavailable)
