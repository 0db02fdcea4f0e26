"""Which entries of the ledger may be sent to others by now.

Why: a database numbers entries before they are committed, so number 7 may become visible after
number 8, and anyone who went on from 8 would never send it. A number that is missing is waited for,
until it is plain that its transaction was rolled back. Must not know the ledger nor any clock.
"""

from collections.abc import Sequence
from typing import Final

LONGEST_WRITE_S: Final = 10.0  # no transaction that writes waits for anything outside


class Gaps:
    """The missing numbers, and since when each is missed."""

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def ready(self, position: int, numbers: Sequence[int], now_s: float) -> int:
        """Return how many of `numbers`, which grow and begin behind `position`, may be sent.

        now_s  seconds of a clock that never goes back
        """
        missed: dict[int, float] = {}
        count, before = len(numbers), position
        for place, number in enumerate(numbers):
            if number != before + 1:
                since_s = self._since_s.get(before, now_s)
                missed[before] = since_s
                if now_s - since_s < LONGEST_WRITE_S and place < count:
                    count = place
            before = number
        self._since_s = missed
        return count
