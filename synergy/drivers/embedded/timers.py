"""Delayed actions of the embedded cloud, such as a boot or an image.

Must not know what they do. The caller must hold the cloud's lock.
"""

import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

from synergy.ports import Clock


class Timers:
    """Callables by the instant at which they are due, in the order in which they were set."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[datetime, int, Callable[[], None]]] = []
        self._count = 0

    def next_at(self) -> datetime | None:
        """Return when the next one is due."""
        return self._due[0][0] if self._due else None

    def catch_up(self) -> None:
        """Run everything that is due by now."""
        while self._due and self._due[0][0] <= self._clock.now():
            heapq.heappop(self._due)[2]()

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay_s` seconds, or at once when that is not positive."""
        if delay_s <= 0:
            action()
            return
        self._count += 1
        due_at = self._clock.now() + timedelta(seconds=delay_s)
        heapq.heappush(self._due, (due_at, self._count, action))
