"""Factors go on with what is used while a queue is run forward."""

import numpy as np
import pytest

from synergy.core import shares
from synergy.core.fairshare import Algorithm
from synergy.core.foreseen import STEP_S, ForeseenUsage

NODES = [shares.ShareNode("root", None, 1)] + [
    node
    for name in "AB"
    for node in (
        shares.ShareNode(name, "root", 1),
        shares.ShareNode(f"user-{name}", name, 1, True),
    )
]


def foreseen(
    used: tuple[float, float] = (0.0, 0.0),
    half_life_s: float = 0.0,
    algorithm: Algorithm = Algorithm.FAIR_TREE,
) -> ForeseenUsage:
    tree = shares.build(NODES)
    rows = np.array([-1, tree.node_ids.index("user-A"), tree.node_ids.index("user-B")])
    own = np.zeros(len(tree))
    own[rows[1:]] = used
    return ForeseenUsage(tree, rows, own, np.zeros(3), at_s=0.0, half_life_s=half_life_s,
                         algorithm=algorithm)  # fmt: skip


def test_who_holds_something_comes_behind_and_ahead_again_when_the_other_used_more() -> None:
    made = foreseen()
    made.hold(1, 0.0, 3600.0, 4.0)
    assert made.due_s == 0.0
    assert made.at(0.0).factors.tolist() == [0.0, 1.0, 1.0]
    assert made.due_s == 3600.0  # when it ends: until then nothing changes
    _, a, b = made.at(STEP_S).factors
    assert a < b
    made.hold(2, STEP_S, 9e9, 40.0)
    assert made.due_s == 2 * STEP_S  # not more often, whatever happens
    _, a, b = made.at(3 * STEP_S).factors
    assert a > b


@pytest.mark.parametrize("half_life_s", [0.0, 3600.0])
def test_usage_fades_by_the_half_life(half_life_s: float) -> None:
    made = foreseen((400.0, 100.0), half_life_s, Algorithm.CLASSIC)
    before = made.at(0.0).factors
    made.hold(2, 3600.0, 3700.0, 3.0)
    after = made.at(36_000.0).factors
    assert before[1] < before[2]
    if half_life_s:
        assert after[1] > after[2]  # what was used long ago counts next to nothing
    else:
        assert after[1] == pytest.approx(after[2])  # 400 each


def test_whoever_is_in_no_tree_has_no_factor_and_is_not_charged() -> None:
    made = foreseen((100.0, 0.0))
    made.hold(0, 0.0, 100.0, 1.0)
    made.hold(9, 0.0, 100.0, 1.0)
    assert made.at(STEP_S).factors[0] == 0.0
