"""Logs what is wrong with messages of others: short, on one line, and not a line for each of many.

Why: whoever may send a message must not be able to fill the disk. Must not know what a message is.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 60.0
AT_ONCE: Final = 5  # lines of a kind in EVERY_S


class Complaints:
    """Warns; of a kind that comes often it tells the first ones, and later how many came."""

    def __init__(
        self, log: logging.Logger, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._monotonic_s = log, monotonic_s
        self._since_s: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def tell(self, kind: str, detail: str) -> None:
        """Warn of one message; `kind` is the text, with one %s for the detail."""
        now_s = self._monotonic_s()
        if now_s - self._since_s.get(kind, float("-inf")) >= EVERY_S:
            if (more := self._counts.get(kind, 0) - AT_ONCE) > 0:
                self._log.warning("%d more like that: " + kind, more, detail)
            self._since_s[kind], self._counts[kind] = now_s, 0
        self._counts[kind] += 1
        if self._counts[kind] <= AT_ONCE:
            self._log.warning(kind, detail)
