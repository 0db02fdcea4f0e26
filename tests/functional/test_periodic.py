"""The thread of a manager: what wakes it, and what it does not answer at once."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from synergy.managers.base import Manager
from tests.patience import until
from tests.workers import workers


class Counting(Manager):
    name = "counting"

    def __init__(self) -> None:
        self.runs: list[Any] = []

    def task(self) -> None:
        self.runs.append(time.monotonic())


@pytest.fixture
def worker_of() -> Iterator[Callable[..., Any]]:
    with workers(rate_s=3600.0) as make:
        yield make


def test_what_wakes_a_manager_within_its_debounce_is_answered_once_and_not_forgotten(
    worker_of: Callable[..., Any],
) -> None:
    manager = Counting()
    worker = worker_of(manager, debounce_s=0.5)
    until(lambda: len(manager.runs) == 1)
    for _ in range(100):
        worker.wake()
        time.sleep(0.001)
    until(lambda: len(manager.runs) == 2)
    assert manager.runs[1] - manager.runs[0] >= 0.5
    time.sleep(0.7)
    assert len(manager.runs) == 2
    worker.wake()
    until(lambda: len(manager.runs) == 3)


def test_a_debounce_keeps_no_worker_from_ending(worker_of: Callable[..., Any]) -> None:
    manager = Counting()
    worker = worker_of(manager, debounce_s=3600.0)
    until(lambda: len(manager.runs) == 1)
    worker.wake()
    worker.stop()
    assert worker.join(5)
