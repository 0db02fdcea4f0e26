"""The real clock."""

import time
from datetime import UTC, datetime
from typing import Final

# CLOCK_BOOTTIME, where it exists, also counts the time that the machine sleeps. Without it, a
# laptop that wakes up would look as if somebody had set its wall clock.
_MONOTONIC: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Wall time for records, monotonic time for intervals."""

    def now(self) -> datetime:
        """Return the instant as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds that never go back and go on while the machine sleeps."""
        return time.clock_gettime(_MONOTONIC)
