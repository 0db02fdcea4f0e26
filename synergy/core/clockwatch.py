"""Tells a wall clock that was set from one that runs, by the seconds that passed meanwhile.

Why: a service that believes a wall clock which was set ends every server, clears every usage and
lets every request age at once. So the time that Synergy goes by follows the wall clock only while
it runs as the monotonic clock does; beyond that it goes on by itself. Must not know clocks, servers
or what depends on the time.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

STEP_S: Final = 10.0  # by more than this a wall clock was set, and is not late
SLEW: Final = 0.1  # seconds a second at which a small difference is made up; chrony slews by 0.083
LONGEST_AWAY_S: Final = 86_400.0  # how long a service may plausibly have been away


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An instant that the service went by, for its next start.

    boot_id      which start of the machine `monotonic_s` counts from; "" when nobody knows
    monotonic_s  seconds of its monotonic clock at that instant
    """

    at: datetime
    boot_id: str
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Followed:
    """The instant to go by, and whether the wall clock agrees with it."""

    at: datetime
    agrees: bool


def follow(last: datetime, wall: datetime, passed_s: float) -> Followed:
    """Return the instant `passed_s` seconds after `last`, while a wall clock shows `wall`.

    A difference of up to STEP_S is a clock that runs a little fast or slow, or is slewed: it is
    made up at SLEW, so that the instant never goes back. A larger one is a clock that was set, and
    counts for nothing.
    """
    expected = last + timedelta(seconds=passed_s)
    off_s = (wall - expected).total_seconds()
    if abs(off_s) > STEP_S:
        return Followed(expected, agrees=False)
    most_s = passed_s * SLEW
    if abs(off_s) <= most_s:
        return Followed(wall, agrees=True)
    made_up_s = most_s if off_s > 0 else -most_s
    return Followed(expected + timedelta(seconds=made_up_s), agrees=True)


def away_s(mark: Mark, wall: datetime, boot_id: str, monotonic_s: float) -> float:
    """Return how long a service that left `mark` was away, as far as that can be known.

    On the same start of the machine its monotonic clock tells. Otherwise the wall clock is believed
    up to LONGEST_AWAY_S; beyond, it more likely was set than that nobody missed the service, and
    nothing is known to have passed.
    """
    since_s = monotonic_s - mark.monotonic_s
    if boot_id and boot_id == mark.boot_id and since_s >= 0:
        return since_s
    by_wall_s = (wall - mark.at).total_seconds()
    return by_wall_s if 0 <= by_wall_s <= LONGEST_AWAY_S else 0.0
