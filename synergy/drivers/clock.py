"""The real clock."""

import time
from datetime import UTC, datetime
from typing import Final

# Where there is one that goes on while the machine sleeps: or it would seem that the wall clock was
# set whenever a laptop wakes up.
_MONOTONIC: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """Wall time for records, monotonic time for intervals."""

    def now(self) -> datetime:
        """Return the instant as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds that never go back, also those while the machine slept."""
        return time.clock_gettime(_MONOTONIC)
