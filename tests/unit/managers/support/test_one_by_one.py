"""One item that fails keeps no other from its turn, and a service that is away is no item's fault."""

import pytest

from synergy.core.errors import InvalidInput, UpstreamUnavailable
from synergy.managers.support.one_by_one import each_alone

AWAY, BAD = UpstreamUnavailable("away"), InvalidInput("bad")


def test_those_that_follow_a_service_that_is_away_have_their_turn_next() -> None:
    items = iter(range(5))

    def act(item: int) -> None:
        raise AWAY

    with pytest.raises(UpstreamUnavailable):
        each_alone(items, act, lambda *_: None)
    assert list(items) == [3, 4]


def test_items_that_are_known_to_fail_are_set_aside_though_they_are_alone() -> None:
    aside = []

    def act(item: int) -> None:
        raise AWAY

    each_alone(range(4), act, lambda item, _: aside.append(item), known_to_fail=True)
    assert aside == [0, 1, 2, 3]


def acted(*fails: InvalidInput | UpstreamUnavailable | None) -> tuple[list[int], list[int], str]:
    """Act on as many items as there are arguments; None is a success."""
    done, aside = [], []

    def act(item: int) -> None:
        error = fails[item]
        if error is not None:
            raise error
        done.append(item)

    try:
        each_alone(range(len(fails)), act, lambda item, _: aside.append(item))
    except UpstreamUnavailable:
        return done, aside, "away"
    return done, aside, ""


@pytest.mark.parametrize(
    ("fails", "done", "aside", "end"),
    [
        pytest.param([None, None], [0, 1], [], "", id="all well"),
        pytest.param([BAD, None], [1], [0], "", id="one bad"),
        pytest.param([BAD] * 5, [], [0, 1, 2, 3, 4], "", id="all bad"),
        pytest.param([AWAY, None, AWAY], [1], [0, 2], "", id="never answered about two of three"),
        pytest.param([AWAY, AWAY], [], [], "away", id="answered about none"),
        pytest.param([AWAY], [], [], "away", id="answered not about the only one"),
        pytest.param([None, AWAY, AWAY, AWAY, None], [0], [], "away", id="went away"),
        pytest.param([AWAY, AWAY, BAD, None], [3], [2, 0, 1], "", id="an error is an answer"),
        pytest.param([], [], [], "", id="nothing"),
    ],
)
def test_what_becomes_of_each(
    fails: list[InvalidInput | UpstreamUnavailable | None],
    done: list[int],
    aside: list[int],
    end: str,
) -> None:
    assert acted(*fails) == (done, aside, end)
