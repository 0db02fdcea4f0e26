"""A question that fails for one thing is answered for the others."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.ask_each import SILENT, ask_each, ask_together
from synergy.core.errors import Conflict, StoreUnavailable, UpstreamUnavailable

IDS = [f"s{n}" for n in range(12)]
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


@given(odd_ones, st.permutations(IDS))
def test_all_others_are_answered_unless_nobody_is(
    odd: dict[str, type[Exception]], ids: list[str]
) -> None:
    other = Other(odd)
    if odd.keys() >= set(ids[:SILENT]):
        with pytest.raises(odd[ids[0]], match=f"about {ids[0]}$"):
            ask_together(ids, other)
        assert len(other.asked) == 1 + SILENT  # a service that is away is not asked about each
        return
    known, unknown = ask_together(ids, other)
    assert set(unknown) == set(odd)
    assert known == {one: int(one[1:]) for one in ids if one not in odd}
    assert len(other.asked) == (1 + len(ids) if odd else 1)


@given(odd_ones, st.permutations(IDS))
def test_only_an_error_of_one_that_is_away_ends_the_asking(
    odd: dict[str, type[Exception]], ids: list[str]
) -> None:
    other = Other(odd)

    def ask(one: str) -> int:
        return other([one])[one]

    silent = [one for one in ids if odd.get(one) is UpstreamUnavailable]
    answered = next((at for at, one in enumerate(ids) if one not in odd), len(ids))
    early = [one for one in silent if ids.index(one) < answered]
    if early and answered >= max(SILENT, ids.index(early[0]) + 1):
        with pytest.raises(UpstreamUnavailable, match=f"about {early[0]}$"):
            ask_each(ids, ask, away=UpstreamUnavailable)
    else:
        assert set(ask_each(ids, ask, away=UpstreamUnavailable).unknown) == set(odd)


def test_our_own_database_is_nobodys_fault() -> None:
    other = Other({"s3": StoreUnavailable})
    with pytest.raises(StoreUnavailable):
        ask_together(IDS, other)
    assert len(other.asked) == 1
    with pytest.raises(StoreUnavailable):
        ask_each(IDS, lambda one: other([one]))


def test_nobody_is_asked_about_nothing() -> None:
    other = Other({})
    assert ask_together([], other) == ({}, {})
    assert other.asked == []
