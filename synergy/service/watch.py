"""Looks every few seconds after what the managers cannot see themselves.

Why: the leadership has to be kept alive, a key that an operator changed taken over, a thread that
died replaced, and managers woken that rest because the database was away. It is one thread, so
that one place tells how the service itself is. Must not know what the managers do.
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


class Watch:
    """The service's look at itself, on a thread of its own."""

    def __init__(
        self, host: Host, leadership: Leadership, vault: Vault, on_deposed: Callable[[], None]
    ) -> None:
        self._host, self._leadership, self._vault = host, leadership, vault
        self._on_deposed = on_deposed
        self._store_trouble = ""
        self._looked_s = time.monotonic()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ending.set()
        self._thread.join(_END_S)

    def troubles(self) -> list[str]:
        """Return what is wrong with the service besides its managers."""
        found = ["nothing can be written to the database"] if self._store_trouble else []
        age_s = time.monotonic() - self._looked_s
        if age_s > LAPSE_S:
            found.append(f"the service has not looked after itself for {age_s:.0f} s")
        return found

    def _loop(self) -> None:
        while not self._ending.wait(BEAT_S):
            self.look()

    def look(self) -> None:
        """Look once."""
        for part in (self._beat, self._follow_keys, self._host.revive):
            try:
                part()
            except Exception:  # none of them may keep the others from being done
                LOG.exception("the service could not look after itself")
        self._looked_s = time.monotonic()

    def _follow_keys(self) -> None:
        try:
            if self._vault.refresh():
                LOG.info("another key seals now: %s", self._vault.sealing_key)
        except ConfigurationInvalid as error:
            LOG.error("the keys stay as they are: %s", error)

    def _beat(self) -> None:
        try:
            self._leadership.beat(self._vault.sealing_key)
        except Deposed as error:
            self._store_trouble = str(error)
            LOG.critical("%s", error)
            self._on_deposed()
        except StoreUnavailable as error:
            if str(error) != self._store_trouble:
                LOG.error("nothing can be written: %s", error)
            self._store_trouble = str(error)
        else:
            if self._store_trouble:
                LOG.info("the database can be written to again")
                self._store_trouble = ""
                self._host.end_rest(StoreUnavailable)
