"""Why no server is ended now, as a code and in words.

Must not know the store, nor how expiry is resumed.
"""

from enum import StrEnum

from synergy.managers.support.watched_clock import Standing
from synergy.ports import Brake


class Suspension(StrEnum):
    """Why no server is ended."""

    CLOCK = "clock"
    MAX_PER_PASS = "most_per_pass"  # noqa: S105 - no secret


def suspension_of(standing: Standing, brake: Brake | None) -> Suspension | None:
    """Return why no server is ended, None while they are."""
    if not standing.agrees:
        return Suspension.CLOCK
    return Suspension.MAX_PER_PASS if brake else None


def text_of(standing: Standing, brake: Brake | None, due: int, due_by_wall: int) -> str:
    """Return in a sentence what a person has to know."""
    if not standing.agrees:
        return (
            f"No server is ended: the wall clock is {standing.off_s:+.0f} s off: it was "
            f"set. Correct it, or, if it is right now, resume expiry: {due_by_wall} server(s) are "
            "due by it."
        )
    if brake:
        return (
            f"No server is ended: {brake.due} were due at once, more than most_per_pass. Resume "
            f"to end the {due} that are due."
        )
    return f"Servers are ended as they become due; {due} are due now."
