"""How long to wait after each of several failures in a row.

Why: whatever is tried again waits longer each time, and gives up or goes on for ever; said once, it
overflows nowhere and is the same everywhere. Must not know clocks, nor what failed.
"""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Waits that grow from `initial_s` by `factor` to `max_s`.

    tries  how many failures there are before it is given up, None for ever
    """

    initial_s: float
    factor: float = 2.0
    max_s: float = inf
    tries: int | None = None

    def delay_s(self, failures: int) -> float:
        """Return how long to wait after the n-th failure in a row, n >= 1."""
        try:
            grown_s = self.initial_s * self.factor ** (failures - 1)
        except OverflowError:
            grown_s = inf
        return min(grown_s, self.max_s)

    def next_s(self, last_s: float) -> float:
        """Return the wait that follows one of `last_s`, 0 if there was none."""
        return min(max(self.initial_s, last_s * self.factor), self.max_s)

    def gives_up(self, failures: int) -> bool:
        """Return whether so many failures in a row are enough."""
        return self.tries is not None and failures >= self.tries
