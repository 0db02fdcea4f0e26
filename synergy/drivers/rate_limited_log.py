"""Logs warnings about messages of others: one short line each, and few lines when many come.

Why: nobody who can send a message may be able to fill the disk. Must not know what a message is.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

INTERVAL_S: Final = 60.0
BURST: Final = 5  # lines of one kind in INTERVAL_S


class RateLimitedLog:
    """Logs the first warnings of a kind in each interval, and later how many more there were."""

    def __init__(
        self, log: logging.Logger, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._log, self._monotonic_s = log, monotonic_s
        self._since_s: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def warning(self, kind: str, detail: str) -> None:
        """Log a warning, unless too many came; `kind` is the text, with one %s for the detail."""
        now_s = self._monotonic_s()
        if now_s - self._since_s.get(kind, float("-inf")) >= INTERVAL_S:
            if (more := self._counts.get(kind, 0) - BURST) > 0:
                self._log.warning("%d more of these: " + kind, more, detail)
            self._since_s[kind], self._counts[kind] = now_s, 0
        self._counts[kind] += 1
        if self._counts[kind] <= BURST:
            self._log.warning(kind, detail)
