"""A question about many things at once, asked about each alone when it fails.

Why: another service may fail for one odd thing, and whatever is done for the others in the same
pass would fail with it, for ever. Must not know what is asked, nor of whom.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

SILENT: Final = 5  # in a row without an answer: then nobody is at fault, the other side is away


class Answered(NamedTuple):
    """Of which things the answer is yes, and of which there is none, with the reason."""

    yes: set[str]
    unknown: dict[str, Exception]


def ask_each(ask: Callable[[Sequence[str]], Collection[str]], ids: Sequence[str]) -> Answered:
    """Ask which of `ids` it is.

    Raises what was raised for the first one, when the first SILENT, or all, have no answer.
    """
    if not ids:
        return Answered(set(), {})
    try:
        return Answered(set(ask(ids)), {})
    except Exception:
        if len(ids) == 1:
            raise
    found = Answered(set(), {})
    for asked, one in enumerate(ids, start=1):
        try:
            found.yes.update(ask([one]))
        except Exception as error:  # noqa: BLE001 - of this one alone, unless all fail
            found.unknown[one] = error
            if len(found.unknown) == asked >= min(SILENT, len(ids)):
                raise found.unknown[ids[0]] from None
    return found
