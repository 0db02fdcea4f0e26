"""A question about many things, asked about each alone where asking about all fails.

Why: another service may fail for one odd thing, and whatever is done for the others in the same
pass would fail with it, for ever. Must not know what is asked, nor of whom.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from synergy.core.errors import StoreUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
SILENT: Final = 5  # in a row without an answer: then none is at fault, the other side is away


class Answers(NamedTuple, Generic[K, V]):
    """What is answered, and why there is no answer about the others."""

    known: dict[K, V]
    unknown: dict[K, Exception]


def ask_together(things: Sequence[K], ask: Callable[[Sequence[K]], Mapping[K, V]]) -> Answers[K, V]:
    """Ask about all at once and, where that fails, about each; what the answer leaves out is
    neither known nor unknown. Raises as `ask_each` does."""
    if not things:
        return Answers({}, {})
    try:
        return Answers(dict(ask(things)), {})
    except StoreUnavailable:
        raise
    except Exception:
        if len(things) == 1:
            raise
    found = ask_each(things, lambda one: ask([one]))
    return Answers({k: v for some in found.known.values() for k, v in some.items()}, found.unknown)


def ask_each(
    things: Sequence[K], ask: Callable[[K], V], *, away: type[Exception] = Exception
) -> Answers[K, V]:
    """Ask about each; one that fails keeps no other from its answer.

    Raises the first error that is `away` when there is no answer about the first SILENT, or about
    any; and at once when it is Synergy's own database that fails.
    """
    found: Answers[K, V] = Answers({}, {})
    silent: list[Exception] = []
    for asked, one in enumerate(things, start=1):
        try:
            found.known[one] = ask(one)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - about this one alone, unless all fail
            found.unknown[one] = error
            if isinstance(error, away):
                silent.append(error)
            if silent and not found.known and asked >= min(SILENT, len(things)):
                raise silent[0] from None
    return found
