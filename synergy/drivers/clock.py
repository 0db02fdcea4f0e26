"""The real clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time for records, monotonic time for intervals."""

    def now(self) -> datetime:
        """Return the instant as an aware UTC datetime."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()
