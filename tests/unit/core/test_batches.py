import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.batches import MAX_CONFLICTS, TRANSIENT, RetriedBatch, handle_individually
from synergy.core.errors import Conflict


class Transaction:
    """Handles all of a batch or nothing; counts how often it was tried."""

    def __init__(self, bad: set[int], error: type[Exception] = ValueError) -> None:
        self.bad, self.error = bad, error
        self.handled: list[int] = []
        self.aside: list[tuple[int, str]] = []
        self.tries = 0

    def handle(self, items: Sequence[int]) -> None:
        self.tries += 1
        for item in items:
            if item in self.bad:
                raise self.error(f"{item} is bad")
        self.handled += items

    def set_aside(self, item: int, error: Exception) -> None:
        self.aside.append((item, str(error)))


@given(st.sets(st.integers(0, 99)), st.integers(0, 100))
def test_what_can_be_handled_is_and_what_cannot_is_set_aside_with_its_reason(
    bad: set[int], count: int
) -> None:
    work = Transaction(bad)
    handle_individually(range(count), work.handle, work.set_aside)
    assert work.handled == [n for n in range(count) if n not in bad]
    assert work.aside == [(n, f"{n} is bad") for n in range(count) if n in bad]


@pytest.mark.parametrize("bad", [0, 500, 999])
def test_one_bad_item_among_a_thousand_costs_the_logarithm(bad: int) -> None:
    work = Transaction({bad})
    handle_individually(range(1000), work.handle, work.set_aside)
    assert len(work.handled) == 999
    assert work.tries <= 1 + 2 * math.ceil(math.log2(1000))


@pytest.mark.parametrize("error", TRANSIENT)
def test_what_is_no_items_fault_goes_on_to_the_caller_at_once(
    error: type[Exception],
) -> None:
    work = Transaction({3}, error)
    with pytest.raises(error):
        handle_individually(range(8), work.handle, work.set_aside)
    assert (work.tries, work.aside) == (1, [])


def test_a_conflict_that_lasts_is_an_items_fault_and_one_that_ends_is_not() -> None:
    tried: RetriedBatch[str] = RetriedBatch()
    aside: list[str] = []

    def handle(part: Sequence[str]) -> None:
        if "bad" in part:
            raise Conflict("a row changed")

    for _ in range(MAX_CONFLICTS):
        with pytest.raises(Conflict):
            tried.handle(["good", "bad"], handle, lambda item, error: aside.append(item))
    assert aside == []
    tried.handle(["good", "bad"], handle, lambda item, error: aside.append(item))
    assert aside == ["bad"]
    with pytest.raises(Conflict):  # what follows is counted anew
        tried.handle(["bad"], handle, lambda item, error: aside.append(item))
