"""Waits for what other threads and processes do."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T | None], patience_s: float = 15.0, step_s: float = 0.02) -> T:
    """Wait for something true, and return it."""
    deadline_s = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(step_s)
    return found
