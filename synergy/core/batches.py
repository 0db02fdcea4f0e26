"""Handles a batch at once; when that fails, finds the bad items and sets them aside.

Why: a batch is fast, but one bad item in it must not stop the others. Must not know what an item
is, nor what happens to one that is set aside.
"""

from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from synergy.core.errors import Conflict, IllegalTransition, UpstreamUnavailable

T = TypeVar("T")
MAX_CONFLICTS: Final = 3  # conflicts of one batch in a row that another writer may have caused
TRANSIENT = (UpstreamUnavailable, Conflict)  # no item's fault: retry the whole batch


def handle_individually(
    items: Sequence[T],
    handle: Callable[[Sequence[T]], None],
    set_aside: Callable[[T, Exception], None],
    *,
    transient: tuple[type[Exception], ...] = TRANSIENT,
) -> None:
    """Handle items as one batch; if that fails, bisect it until the bad items are isolated.

    handle     handles a whole batch or nothing of it, such as one transaction
    set_aside  is called with each item that fails by itself, and its exception

    One bad item among n costs 2 log2(n) tries. Exceptions listed in `transient` are raised to the
    caller: then no item is at fault, and trying each would only take longer. IllegalTransition is
    the exception: it is a Conflict, but an item's fault. Batches handled before an exception stay
    handled, so `handle` must tolerate an item that comes again.
    """
    if not items:
        return
    try:
        handle(items)
    except Exception as error:
        if isinstance(error, transient) and not isinstance(error, IllegalTransition):
            raise
        if len(items) == 1:
            set_aside(items[0], error)
            return
        middle = len(items) // 2
        handle_individually(items[:middle], handle, set_aside, transient=transient)
        handle_individually(items[middle:], handle, set_aside, transient=transient)


class RetriedBatch(Generic[T]):
    """A batch that its owner handles again, with `handle_individually`, until nothing is raised.

    A conflict is assumed to come from another writer, but not for ever: after MAX_CONFLICTS in a
    row it counts as an item's fault.
    """

    def __init__(self) -> None:
        self._conflicts = 0

    def handle(
        self,
        items: Sequence[T],
        handle: Callable[[Sequence[T]], None],
        set_aside: Callable[[T, Exception], None],
    ) -> None:
        """See `handle_individually`."""
        persistent = self._conflicts >= MAX_CONFLICTS
        transient = (UpstreamUnavailable,) if persistent else TRANSIENT
        try:
            handle_individually(items, handle, set_aside, transient=transient)
        except Conflict:
            self._conflicts += 1
            raise
        self._conflicts = 0
