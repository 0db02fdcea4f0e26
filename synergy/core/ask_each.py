"""A question about many things, asked about each alone where asking about all fails.

Why: another service may fail for one odd thing, and whatever is done for the others in the same
pass would fail with it, for ever. But a service that is away fails for all, and must not be asked
about each of thousands. Must not know what is asked, nor of whom.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from synergy.core.errors import StoreUnavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
SILENT: Final = 5  # in a row without an answer: then the other side itself may be away


class Answers(NamedTuple, Generic[K, V]):
    """What is answered, and why there is no answer about the others."""

    known: dict[K, V]
    unknown: dict[K, Exception]


def ask_together(
    things: Sequence[K], ask: Callable[[Sequence[K]], Mapping[K, V]], *, nothing: K
) -> Answers[K, V]:
    """Ask about all at once and, where that fails, about each; what the answer leaves out is
    neither known nor unknown. `nothing` and errors as of `ask_each`."""
    if not things:
        return Answers({}, {})
    try:
        return Answers(dict(ask(things)), {})
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - each thing is asked about alone
        if len(things) == 1:
            _raise_if_away(error, lambda: ask([nothing]))
            return Answers({}, {things[0]: error})
    found = ask_each(things, lambda one: ask([one]), nothing=nothing)
    return Answers({k: v for some in found.known.values() for k, v in some.items()}, found.unknown)


def ask_each(things: Sequence[K], ask: Callable[[K], V], *, nothing: K) -> Answers[K, V]:
    """Ask about each; one that fails keeps no other from its answer.

    nothing  a thing that the other side can say something about if it is there at all, even that it
             does not exist: it is asked about when the first SILENT things, or all, have no answer

    Raises the error of the first thing when there is no answer about `nothing` either; and at once
    when it is Synergy's own database that fails.
    """
    found: Answers[K, V] = Answers({}, {})
    is_there = False
    for asked, one in enumerate(things, start=1):
        try:
            found.known[one] = ask(one)
            is_there = True
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - about this one alone, unless all fail
            found.unknown[one] = error
            if not is_there and asked >= min(SILENT, len(things)):
                _raise_if_away(found.unknown[things[0]], lambda: ask(nothing))
                is_there = True
    return found


def _raise_if_away(error: Exception, ask: Callable[[], object]) -> None:
    try:
        ask()
    except StoreUnavailable:
        raise
    except Exception:  # noqa: BLE001 - the error of the things themselves says more
        raise error from None
