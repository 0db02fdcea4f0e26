"""The time that all managers go by: the wall clock's, while it can be believed.

Why: one watcher for the whole service, so that no manager has to doubt an instant by itself. What
is done to servers by the time also asks `standing`. Must not know what that is.
"""

import logging
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from synergy.core.clockwatch import Mark, downtime_s, follow
from synergy.ports import Clock

LOG = logging.getLogger(__name__)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the clocks say.

    wall   the instant that the wall clock shows
    at     the instant that the service goes by
    off_s  seconds by which the wall clock is ahead of it
    agrees the wall clock may be believed
    """

    wall: datetime
    at: datetime
    off_s: float
    agrees: bool


class WatchedClock:
    """See `ports.Clock`: `now` never goes back, and never jumps."""

    def __init__(self, clock: Clock, *, boot_id: str = "") -> None:
        self._clock, self._boot_id = clock, boot_id
        self._lock = threading.Lock()
        self._at, self._passed_to_s = clock.now(), clock.monotonic_s()
        self._agrees = True

    def now(self) -> datetime:
        """Return the instant as an aware UTC datetime."""
        return self.standing().at

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic_s()

    def standing(self) -> Standing:
        """Look at both clocks."""
        with self._lock:
            wall, monotonic_s = self._clock.now(), self._clock.monotonic_s()
            followed = follow(self._at, wall, max(0.0, monotonic_s - self._passed_to_s))
            self._at, self._passed_to_s = followed.at, max(monotonic_s, self._passed_to_s)
            agreed, self._agrees = self._agrees, followed.agrees
        off_s = (wall - followed.at).total_seconds()
        if agreed and not followed.agrees:
            LOG.error(
                "the wall clock shows %s, %+.0f s off: it was set. Synergy uses %s and ends no "
                "server until the clock is right again; if it is right now, run `synergy expiry "
                "resume`", wall.isoformat(), off_s, followed.at.isoformat(),
            )  # fmt: skip
        elif followed.agrees and not agreed:
            LOG.warning("the wall clock is right again")
        return Standing(wall=wall, at=followed.at, off_s=off_s, agrees=followed.agrees)

    def accept(self) -> Standing:
        """Go by the wall clock from now on: a person says that it is right."""
        with self._lock:
            self._at, self._passed_to_s = self._clock.now(), self._clock.monotonic_s()
            self._agrees = True
        return self.standing()

    def mark(self) -> Mark:
        """Return what the next start has to know."""
        at = self.now()
        return Mark(at=at, boot_id=self._boot_id, monotonic_s=self._passed_to_s)

    def go_on_from(self, mark: Mark | None) -> None:
        """Go on from what an earlier service stored; None at the very first start."""
        if mark is None:
            return
        with self._lock:
            wall, monotonic_s = self._clock.now(), self._clock.monotonic_s()
            self._at = mark.at
            self._passed_to_s = monotonic_s - downtime_s(mark, wall, self._boot_id, monotonic_s)
        self.standing()


def boot_id() -> str:
    """Return which start of this machine it is, "" where the system does not tell."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
