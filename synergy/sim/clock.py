"""Clocks that move only on demand: the world's, and a host's, which may be wrong."""

from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2017, 3, 1, tzinfo=UTC)


class VirtualClock:
    """Virtual time: `now` and `monotonic_s` advance together."""

    def __init__(self, start: datetime = START) -> None:
        self._start, self._now = start, start

    def now(self) -> datetime:
        """Return the virtual instant."""
        return self._now

    def monotonic_s(self) -> float:
        """Return the virtual seconds since the start."""
        return (self._now - self._start).total_seconds()

    def at(self, offset_s: float) -> datetime:
        """Return the instant `offset_s` seconds after the start."""
        return self._start + timedelta(seconds=offset_s)

    def move_to(self, instant: datetime) -> None:
        """Advance to an instant; an earlier one changes nothing."""
        self._now = max(self._now, instant)


class HostClock:
    """The clocks of one host: the wall clock can be set, the monotonic one cannot."""

    def __init__(self, world: VirtualClock) -> None:
        self._world = world
        self.off = timedelta()

    def now(self) -> datetime:
        """Return what the wall clock shows."""
        return self._world.now() + self.off

    def monotonic_s(self) -> float:
        """Return the virtual seconds since the start."""
        return self._world.monotonic_s()
