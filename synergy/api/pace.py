"""How often one caller may ask what is costly: a bucket of tokens for each.

Must not know what is asked, or who callers are.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from synergy.core.errors import TooManyRequests

MAX_CALLERS: Final = 10_000  # the one who asked longest ago is forgotten


class Pace:
    """So many calls a minute for each caller, and as many at once after a minute of rest."""

    def __init__(self, per_minute: int, monotonic_s: Callable[[], float]) -> None:
        self._per_minute, self._monotonic_s = per_minute, monotonic_s
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when

    def wait_s(self, caller: str) -> float:
        """Take a token of the caller's, and return 0; without one return when there is."""
        now_s, per_s = self._monotonic_s(), self._per_minute / 60
        with self._lock:
            left, at_s = self._left.pop(caller, (float(self._per_minute), now_s))
            left = min(float(self._per_minute), left + (now_s - at_s) * per_s)
            allowed = left >= 1
            self._left[caller] = (left - 1 if allowed else left, now_s)
            if len(self._left) > MAX_CALLERS:
                self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / per_s

    def check(self, caller: str, what: str) -> None:
        """Take a token of the caller's. Raises TooManyRequests with when to come back."""
        wait_s = self.wait_s(caller)
        if wait_s > 0:
            raise TooManyRequests(
                f"{what} is costly, and may be asked {self._per_minute} times a minute by one "
                f"caller: ask again in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            )
