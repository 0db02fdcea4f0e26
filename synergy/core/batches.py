"""Handles a batch at once, and when that fails, without the items that cannot be handled.

Why: a batch is quick, but one bad item in it must not stop the others. Must not know what an item
is, nor what becomes of one that is set aside.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from synergy.core.errors import Conflict, IllegalTransition, UpstreamUnavailable

T = TypeVar("T")
MOST_CONFLICTS: Final = 3  # of one batch in a row that may be another writer's doing
PASSING = (UpstreamUnavailable, Conflict)  # of nobody's making: the batch is worth another try


def handle_apart(
    items: Sequence[T],
    handle: Callable[[Sequence[T]], None],
    set_aside: Callable[[T, Exception], None],
    *,
    passing: tuple[type[Exception], ...] = PASSING,
) -> None:
    """Handle items as one batch; where that fails, halve it until the bad ones stand alone.

    handle     does all of a batch or nothing, such as one transaction
    set_aside  is given each item that cannot be handled by itself, with what it raised

    One bad item among n costs 2 log2(n) tries. What `passing` lists goes on to the caller: then the
    fault is not an item's, and trying each of them would only take longer. An illegal transition is
    a Conflict that is. What was handled before stays handled, so `handle` must bear an item that
    comes again.
    """
    if not items:
        return
    try:
        handle(items)
    except Exception as error:
        if isinstance(error, passing) and not isinstance(error, IllegalTransition):
            raise
        if len(items) == 1:
            set_aside(items[0], error)
            return
        middle = len(items) // 2
        handle_apart(items[:middle], handle, set_aside, passing=passing)
        handle_apart(items[middle:], handle, set_aside, passing=passing)


class RetriedBatch(Generic[T]):
    """A batch that its owner handles again, by `handle_apart`, until nothing is raised.

    A conflict is taken for another writer's doing, but not for ever: after MOST_CONFLICTS in a row
    it is an item's.
    """

    def __init__(self) -> None:
        self._conflicts = 0

    def handle(
        self,
        items: Sequence[T],
        handle: Callable[[Sequence[T]], None],
        set_aside: Callable[[T, Exception], None],
    ) -> None:
        """See `handle_apart`."""
        lasting = self._conflicts >= MOST_CONFLICTS
        passing = (UpstreamUnavailable,) if lasting else PASSING
        try:
            handle_apart(items, handle, set_aside, passing=passing)
        except Conflict:
            self._conflicts += 1
            raise
        self._conflicts = 0
