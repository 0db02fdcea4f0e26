"""Does the duties of one manager when they are due.

Why: managers that kept the instants of what they do periodically by themselves did so in as many
ways, and what failed kept what stood behind it from being done. Must not know threads, nor what a
duty does.
"""

from collections.abc import Callable
from typing import Any

from synergy.core.errors import error_line
from synergy.managers.base import Duty, Manager
from synergy.ports import Clock

_AT_ONCE = float("-inf")


class Duties:
    """Instants are seconds of the monotonic clock. Periods are read again each time: they may
    change."""

    def __init__(self, manager: Manager, conf: Any, clock: Clock) -> None:
        self._manager, self._conf, self._clock = manager, conf, clock
        now_s = clock.monotonic_s()
        self._began_s = {d.name: _AT_ONCE if d.at_start else now_s for d in manager.duties}
        self._sooner_s: dict[str, float] = {}  # asked for, before the period is over

    def soon(self, duty: Callable[..., Any]) -> None:
        """Let a duty be done in the next run, or in this one if its turn is still to come."""
        self._sooner_s[duty.__name__] = _AT_ONCE

    def run(self) -> float | None:
        """Do what is due, and return in how many seconds something is, None if there is nothing.

        Raises what the first duty raised that failed, after the others were done.
        """
        failed: Exception | None = None
        for duty in self._manager.duties:
            try:
                self._do_if_due(duty)
            except Exception as error:  # noqa: BLE001 - of this duty alone; it is raised below
                self._sooner_s[duty.name] = _AT_ONCE
                if failed is None:
                    failed = error
                else:
                    failed.add_note(f"its duty {duty.name} failed, too: {error_line(error)}")
        if failed is not None:
            raise failed
        due_s = [self._due_s(duty) for duty in self._manager.duties if self._is_wanted(duty)]
        return max(0.0, min(due_s) - self._clock.monotonic_s()) if due_s else None

    def _do_if_due(self, duty: Duty) -> None:
        now_s = self._clock.monotonic_s()
        if not self._is_wanted(duty) or now_s < self._due_s(duty):
            return
        self._began_s[duty.name] = now_s
        self._sooner_s.pop(duty.name, None)  # before it begins: it may be asked for meanwhile
        again_s = getattr(self._manager, duty.name)()
        if again_s is not None:
            asked_s = self._clock.monotonic_s() + again_s
            self._sooner_s[duty.name] = min(asked_s, self._sooner_s.get(duty.name, asked_s))

    def _is_wanted(self, duty: Duty) -> bool:
        return duty.when is None or duty.when(self._manager)

    def _due_s(self, duty: Duty) -> float:
        regular_s = self._began_s[duty.name] + duty.period_s(self._conf)
        return min(regular_s, self._sooner_s.get(duty.name, regular_s))
