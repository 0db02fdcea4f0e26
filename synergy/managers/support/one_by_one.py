"""Acts on many items, each by itself: one that fails keeps no other from its turn.

Why: an item whose question a service never answers looks like a service that is away, and would
stop everything for ever. Must not know what an item is.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from synergy.core.errors import UpstreamUnavailable

T = TypeVar("T")
MANY_FAILURES: Final = 3  # in a row, before the service itself seems to be away


def each_alone(
    items: Iterable[T],
    act: Callable[[T], None],
    set_aside: Callable[[T, Exception], None],
    *,
    known_to_fail: bool = False,
) -> None:
    """Act on each item, and set aside those with which that fails.

    Raises what a service that does not answer raises when it answers for none of MANY_FAILURES
    items in a row, or for none at all: then no item is at fault, and none of these is set aside.
    Those that follow are left in `items`, if that is an iterator, so that they have their turn even
    if that was wrong.

    known_to_fail  nothing is raised, since the items failed while others did not
    """
    unanswered: list[tuple[T, UpstreamUnavailable]] = []
    answered = False
    for item in items:
        try:
            act(item)
        except UpstreamUnavailable as error:
            unanswered.append((item, error))
            if len(unanswered) >= MANY_FAILURES and not known_to_fail:
                raise
            continue
        except Exception as error:  # noqa: BLE001 - of this item alone
            set_aside(item, error)
        answered = True
        _set_all_aside(unanswered, set_aside)
    if unanswered and not answered and not known_to_fail:
        raise unanswered[0][1]
    _set_all_aside(unanswered, set_aside)


def _set_all_aside(
    failed: list[tuple[T, UpstreamUnavailable]], set_aside: Callable[[T, Exception], None]
) -> None:
    for item, error in failed:
        set_aside(item, error)
    failed.clear()
