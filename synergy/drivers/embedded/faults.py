"""Fault injection for the embedded cloud."""

from dataclasses import dataclass


@dataclass(slots=True)
class Faults:
    """Injected faults: how many of the next operations fail, and how Nova's API answers.

    api_delay_s  seconds before each answer of Nova's API
    """

    no_valid_host: int = 0
    build_error: int = 0
    reschedule: int = 0
    lost_notice: int = 0
    hand_over: int = 0
    unconfirmed: int = 0
    change_hand_over: int = 0
    change_unconfirmed: int = 0
    api_down: bool = False
    api_delay_s: float = 0.0

    def triggers(self, name: str) -> bool:
        """Return whether the next operation of this name fails; each True uses up one failure."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left > 0
