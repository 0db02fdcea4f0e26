"""Waits for what other threads and processes do."""

import time


def until(condition, patience_s=15.0, step_s=0.02):
    """Wait for something true, and return it."""
    deadline_s = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(step_s)
    return found
