"""A question that fails for one thing is answered for the others."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.ask_each import SILENT, ask_each, ask_together
from synergy.core.errors import Conflict, StoreUnavailable, UpstreamUnavailable

IDS = [f"s{n}" for n in range(12)]
NOTHING = "s99"
ERRORS = (UpstreamUnavailable, Conflict)


class Other:
    """Knows the number of each thing, but fails whenever it is asked about one of `odd`."""

    def __init__(self, odd: dict[str, type[Exception]]) -> None:
        self.odd = odd
        self.asked: list[list[str]] = []

    def __call__(self, ids: Sequence[str]) -> dict[str, int]:
        self.asked.append(list(ids))
        for one in ids:
            if one in self.odd:
                raise self.odd[one](f"no answer about {one}")
        return {one: int(one[1:]) for one in ids}


odd_ones = st.dictionaries(st.sampled_from(IDS), st.sampled_from(ERRORS))
some = st.permutations(IDS).flatmap(lambda ids: st.integers(1, len(ids)).map(lambda n: ids[:n]))


@given(odd_ones, some)
def test_all_others_are_answered_however_many_fail(
    odd: dict[str, type[Exception]], ids: list[str]
) -> None:
    other = Other(odd)
    known, unknown = ask_together(ids, other, nothing=NOTHING)
    assert set(unknown) == odd.keys() & set(ids)
    assert known == {one: int(one[1:]) for one in ids if one not in odd}
    assert len(other.asked) <= 1 + len(ids) + 1


@given(some, st.sampled_from(ERRORS))
def test_one_that_is_away_is_not_asked_about_each(ids: list[str], error: type[Exception]) -> None:
    other = Other(dict.fromkeys([*IDS, NOTHING], error))
    with pytest.raises(error, match=f"about {ids[0]}$"):
        ask_together(ids, other, nothing=NOTHING)
    assert len(other.asked) <= 1 + SILENT + 1
    assert other.asked[-1] == [NOTHING]
    with pytest.raises(error, match=f"about {ids[0]}$"):
        ask_each(ids, lambda one: other([one]), nothing=NOTHING)


def test_our_own_database_is_nobodys_fault() -> None:
    other = Other({"s3": StoreUnavailable})
    with pytest.raises(StoreUnavailable):
        ask_together(IDS, other, nothing=NOTHING)
    assert len(other.asked) == 1
    with pytest.raises(StoreUnavailable):
        ask_each(IDS, lambda one: other([one]), nothing=NOTHING)


def test_nobody_is_asked_about_nothing() -> None:
    other = Other({})
    assert ask_together([], other, nothing=NOTHING) == ({}, {})
    assert other.asked == []
