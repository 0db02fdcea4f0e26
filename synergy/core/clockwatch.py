"""Detects steps of the wall clock by comparing it with the monotonic clock.

Why: a service that trusts a wall clock after somebody set it ends every server, clears all usage
and ages every request at once. So Synergy's time follows the wall clock only while that runs as the
monotonic clock does; otherwise it advances with the monotonic clock. Must not know clocks, servers
or what depends on the time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

STEP_S: Final = 10.0  # a larger difference is a step, not drift
SLEW: Final = 0.1  # seconds of correction per second for a small difference; chrony uses 0.083
MAX_DOWNTIME_S: Final = 86_400.0  # the longest downtime that is plausible by the wall clock alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The service's time at an instant, stored for its next start.

    boot_id      which boot of the machine `monotonic_s` counts from; "" when unknown
    monotonic_s  the monotonic clock at that instant, seconds
    """

    at: datetime
    boot_id: str
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class AdjustedTime:
    """The service's time, and whether the wall clock agrees with it."""

    at: datetime
    agrees: bool


def follow(last: datetime, wall: datetime, passed_s: float) -> AdjustedTime:
    """Return the service's time `passed_s` seconds after `last`, while the wall clock shows `wall`.

    A difference of up to STEP_S is drift, or the clock being slewed: it is corrected at SLEW, so
    that the time never goes back. A larger difference is a step, and is ignored.
    """
    expected = last + timedelta(seconds=passed_s)
    difference_s = (wall - expected).total_seconds()
    if abs(difference_s) > STEP_S:
        return AdjustedTime(expected, agrees=False)
    max_correction_s = passed_s * SLEW
    if abs(difference_s) <= max_correction_s:
        return AdjustedTime(wall, agrees=True)
    correction_s = max_correction_s if difference_s > 0 else -max_correction_s
    return AdjustedTime(expected + timedelta(seconds=correction_s), agrees=True)


def downtime_s(mark: Mark, wall: datetime, boot_id: str, monotonic_s: float) -> float:
    """Return for how many seconds the service that stored `mark` was down, as far as is known.

    Within one boot of the machine the monotonic clock tells. Otherwise the wall clock is trusted up
    to MAX_DOWNTIME_S. A longer time, or a negative one, more likely means that the clock was set
    than that nobody missed the service, so it counts as 0.
    """
    since_s = monotonic_s - mark.monotonic_s
    if boot_id and boot_id == mark.boot_id and since_s >= 0:
        return since_s
    by_wall_s = (wall - mark.at).total_seconds()
    return by_wall_s if 0 <= by_wall_s <= MAX_DOWNTIME_S else 0.0
