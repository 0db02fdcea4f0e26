"""A question that fails for one thing is answered for the others."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.ask_each import SILENT, ask_each
from synergy.core.errors import UpstreamUnavailable

IDS = [f"s{n}" for n in range(12)]


class Other:
    """Says yes to even numbers, and fails whenever it is asked about one of `odd`."""

    def __init__(self, odd: set[str]) -> None:
        self.odd = odd
        self.asked: list[list[str]] = []

    def __call__(self, ids: Sequence[str]) -> set[str]:
        self.asked.append(list(ids))
        if failing := sorted(self.odd.intersection(ids)):
            raise UpstreamUnavailable(f"no answer about {failing[0]}")
        return {one for one in ids if int(one[1:]) % 2 == 0}


@given(st.sets(st.sampled_from(IDS)), st.permutations(IDS))
def test_all_others_are_answered_unless_nobody_is(odd: set[str], ids: list[str]) -> None:
    other = Other(odd)
    if odd.issuperset(ids[:SILENT]):
        with pytest.raises(UpstreamUnavailable, match=ids[0]):
            ask_each(other, ids)
        assert len(other.asked) == 1 + SILENT  # a service that is away is not asked about each
        return
    yes, unknown = ask_each(other, ids)
    assert set(unknown) == odd
    assert yes == {one for one in ids if int(one[1:]) % 2 == 0} - odd
    assert len(other.asked) == (1 + len(ids) if odd else 1)


def test_nobody_is_asked_about_nothing() -> None:
    assert ask_each(Other(set()), []) == (set(), {})
