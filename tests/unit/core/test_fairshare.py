from collections.abc import Mapping, Sequence
from dataclasses import fields
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from synergy.core import fairshare, fairtree, shares
from synergy.core.errors import InvalidInput
from synergy.core.fairshare import Algorithm
from synergy.core.fairtree import Ties
from synergy.core.shares import PARENT, ShareNode, ShareTree


def tree_of(*entries: tuple[str, str, int | None, int]) -> tuple[ShareTree, NDArray[np.float64]]:
    """Entries (id, parent, raw_shares, usage); an id in small letters is a user."""
    nodes = [ShareNode("R", None, 1)]
    nodes += [ShareNode(i, p, s, i.islower()) for i, p, s, _ in entries]
    tree = shares.build(nodes)
    usage = {i: u for i, _, _, u in entries}
    return tree, np.array([float(usage.get(node_id, 0)) for node_id in tree.node_ids])


def factors(
    *entries: tuple[str, str, int | None, int],
    algorithm: Algorithm = Algorithm.FAIR_TREE,
    ties: Ties = Ties.MERGE,
) -> dict[str, float]:
    tree, usage = tree_of(*entries)
    found = fairshare.compute(tree, usage, algorithm=algorithm, ties=ties)
    users = tree.is_user
    return {tree.node_ids[row]: float(found.fairshare[row]) for row in np.flatnonzero(users)}


def test_the_worked_example_of_slurms_classic_documentation() -> None:
    # Source: Slurm, "Classic Fairshare Algorithm", figure 3: shares and usage of 45 000 in all.
    tree, usage = tree_of(
        ("A", "R", 40, 0), ("B", "R", 30, 0), ("C", "R", 30, 0),
        ("D", "B", 25, 0), ("E", "C", 25, 0), ("F", "C", 5, 0),
        ("u1", "A", 1, 0), ("u2", "D", 1, 20_000), ("u3", "E", 1, 0),
        ("u4", "E", 1, 25_000), ("u5", "F", 1, 0),
    )  # fmt: skip
    found = fairshare.compute(tree, usage, algorithm=Algorithm.CLASSIC)
    row = {node_id: index for index, node_id in enumerate(tree.node_ids)}
    # By hand: B alone used 20/45 of a share of .3; C used 25/45 of .3, E 25/30 of C's shares.
    assert found.norm_shares[row["E"]] == pytest.approx(0.25)
    assert found.norm_usage[row["C"]] == pytest.approx(25 / 45)
    assert found.effective_usage[row["F"]] == pytest.approx(0 + (25 / 45 - 0) * 5 / 30)
    u5 = 0 + (25 / 45) * 5 / 30
    assert found.fairshare[row["u5"]] == pytest.approx(2 ** -(u5 / 0.05))
    assert found.fairshare[row["u1"]] == 1.0


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param(
            [("A", "R", 1, 0), ("B", "R", 1, 0), ("a", "A", 1, 10), ("b", "B", 1, 30)],
            {"a": 1.0, "b": 0.5},
            id="the account that used less goes first",
        ),
        pytest.param(
            [("A", "R", 1, 0), ("B", "R", 1, 0), ("a1", "A", 1, 120), ("a2", "A", 1, 0),
             ("b1", "B", 1, 60), ("b2", "B", 1, 50)],
            {"b2": 1.0, "b1": 0.75, "a2": 0.5, "a1": 0.25},
            id="an idle user of a greedy account stays behind every user of a better one",
        ),
        pytest.param(
            [("A", "R", 1, 0), ("a1", "A", 1, 5), ("a2", "A", 1, 5), ("a3", "A", 1, 20)],
            {"a1": 1.0, "a2": 1.0, "a3": 1 / 3},
            id="users that tie share a rank and the next is skipped",
        ),
        pytest.param(
            [("A", "R", 1, 0), ("B", "R", 1, 0), ("u1", "A", 1, 10), ("u2", "A", 1, 30),
             ("u3", "B", 1, 30), ("u4", "B", 1, 10)],
            {"u1": 1.0, "u4": 1.0, "u2": 0.5, "u3": 0.5},
            id="children of tied accounts are ranked as one list",
        ),
        pytest.param(
            [("A", "R", 1, 0), ("x", "R", 1, 10), ("a1", "A", 1, 4), ("a2", "A", 1, 6)],
            {"x": 1.0, "a1": 1.0, "a2": 1 / 3},
            id="a user that ties with an account shares its rank with the account's first",
        ),
        pytest.param(
            [("A", "R", 0, 0), ("B", "R", 1, 0), ("a", "A", 1, 0), ("b", "B", 1, 99)],
            {"b": 1.0, "a": 0.5},
            id="who has no shares comes last even when idle",
        ),
        pytest.param(
            [("A", "R", PARENT, 0), ("B", "R", 2, 0), ("a", "A", 1, 10), ("b", "B", 1, 20)],
            {"a": 1.0, "b": 1.0},
            id="users of an account with parent shares compete one level up",
        ),
    ],
)  # fmt: skip
def test_fair_tree_ranks_users(
    entries: Sequence[tuple[str, str, int | None, int]], expected: Mapping[str, float]
) -> None:
    assert factors(*entries) == pytest.approx(expected)


# Source: what a slurmctld 22.05.8 gave, and what its documentation says: two accounts with equal
# shares and equal usage, 10 and 30 in one, 30 and 10 in the other, beside an idle user of the root.
TIED = [("A", "R", 1, 0), ("B", "R", 1, 0), ("r", "R", 1, 0),
        ("u1", "A", 1, 10), ("u2", "A", 1, 30), ("u3", "B", 1, 30), ("u4", "B", 1, 10)]  # fmt: skip


@pytest.mark.parametrize(
    ("ties", "order", "expected"),
    [
        (Ties.MERGE, 1, {"r": 1.0, "u1": 0.8, "u4": 0.8, "u2": 0.4, "u3": 0.4}),
        (Ties.MERGE, -1, {"r": 1.0, "u1": 0.8, "u4": 0.8, "u2": 0.4, "u3": 0.4}),
        (Ties.SLURM, 1, {"r": 1.0, "u1": 0.8, "u2": 0.6, "u4": 0.6, "u3": 0.2}),
        (Ties.SLURM, -1, {"r": 1.0, "u4": 0.8, "u3": 0.6, "u1": 0.6, "u2": 0.2}),
    ],
    ids=["merged", "merged, other order", "walked", "walked, other order"],
)
def test_tied_accounts_are_merged_as_documented_or_walked_as_slurm_does(
    ties: Ties, order: int, expected: Mapping[str, float]
) -> None:
    assert factors(*TIED[::order], ties=ties) == pytest.approx(expected)


@pytest.mark.parametrize("accounts", [0.3, 0.0])
def test_the_fast_sorts_agree_with_the_sort_by_all_keys(accounts: float) -> None:
    rng = np.random.default_rng(1)
    lists, place = rng.integers(0, 5, 400), rng.integers(0, 3, 400)
    is_account = rng.random(400) < accounts
    fast = fairtree._best_first(lists, place, np.argsort(place), is_account)
    plain = np.lexsort((is_account, place, lists))
    if accounts:
        assert fast.tolist() == plain.tolist()
    assert sorted(fast) == list(range(400))
    for keys in (lists, place):  # the order of users in a tie is all the same
        assert keys[fast].tolist() == keys[plain].tolist()


def test_values_that_only_rounding_to_doubles_makes_equal_have_places_of_their_own() -> None:
    third = np.longdouble(1) / 3
    values = np.array([np.inf, third, np.longdouble(float(third)), 5, third, 0], np.longdouble)
    dense = [int(np.searchsorted(np.unique(-values), -value)) for value in values]
    place, order = fairtree._places(values)
    assert place.tolist() == dense
    assert place[order].tolist() == sorted(dense)
    assert len(set(dense)) == 5 or np.finfo(np.longdouble).nmant == 52  # no 80 bits here


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str, int | None, int]]:
    """Random trees of up to 4 levels: accounts in capitals, users in small letters."""
    accounts, entries = ["R"], []
    for number in range(draw(st.integers(1, 6))):
        above = draw(st.sampled_from(accounts))
        name = f"A{number}"
        entries.append((name, above, draw(st.sampled_from([0, 1, 1, 2, 5, PARENT])), 0))
        accounts.append(name)
    for number in range(draw(st.integers(1, 8))):
        above = draw(st.sampled_from(accounts[1:]))
        usage = draw(st.sampled_from([0, 0, 1, 2, 3, 8, 20, 100]))
        entries.append((f"u{number}", above, draw(st.sampled_from([0, 1, 2, 3])), usage))
    return entries


algorithms = st.sampled_from(Algorithm)


@given(trees(), st.randoms(use_true_random=False), algorithms)
def test_the_order_of_siblings_never_matters(
    entries: Sequence[tuple[str, str, int | None, int]], rng: Random, algorithm: Algorithm
) -> None:
    shuffled = list(entries)
    rng.shuffle(shuffled)
    assert factors(*entries, algorithm=algorithm) == pytest.approx(
        factors(*shuffled, algorithm=algorithm)
    )


histories = st.lists(
    st.lists(st.tuples(st.integers(0, 15), st.sampled_from([0, 1, 2, 3, 8, 20])), max_size=3),
    min_size=1,
    max_size=8,
)


@settings(max_examples=400)
@given(trees(), histories, algorithms, st.sampled_from(Ties))
def test_what_is_computed_from_changes_is_what_is_computed_from_everything(
    entries: Sequence[tuple[str, str, int | None, int]],
    passes: Sequence[Sequence[tuple[int, int]]],
    algorithm: Algorithm,
    ties: Ties,
) -> None:
    tree, usage = tree_of(*entries)
    known = fairshare.compute(tree, usage, algorithm=algorithm, ties=ties)
    for changes in passes:
        usage = usage.copy()
        for place, used in changes:
            usage[place % len(tree)] = used
        known = fairshare.compute(tree, usage, algorithm=algorithm, ties=ties, known=known)
        whole = fairshare.compute(tree, usage, algorithm=algorithm, ties=ties)
        for column in fields(whole):
            if column.name != "standing":
                found, expected = getattr(known, column.name), getattr(whole, column.name)
                assert found.tolist() == expected.tolist(), column.name


def test_an_account_that_leaves_a_tie_without_moving_is_walked_anew() -> None:
    # First u, then A and B as one list; then A, then u and B, which is where it was before.
    entries = [("A", "R", 1, 0), ("B", "R", 1, 0), ("u", "R", 1, 0), ("a1", "A", 1, 4),
               ("a2", "A", 1, 6), ("b1", "B", 1, 4), ("b2", "B", 1, 6)]  # fmt: skip
    tree, usage = tree_of(*entries)
    known = fairshare.compute(tree, usage, algorithm=Algorithm.FAIR_TREE)
    for node_id, used in {"u": 10, "a2": 1}.items():
        usage = np.where(np.array(tree.node_ids) == node_id, float(used), usage)
    found = fairshare.compute(tree, usage, algorithm=Algorithm.FAIR_TREE, known=known)
    rank = dict(zip(tree.node_ids, found.rank.tolist(), strict=True))
    assert [rank[user] for user in ("a2", "a1", "u", "b1", "b2")] == [5, 4, 3, 3, 1]


@given(trees(), algorithms)
def test_factors_are_between_0_and_1(
    entries: Sequence[tuple[str, str, int | None, int]], algorithm: Algorithm
) -> None:
    assert all(0.0 <= factor <= 1.0 for factor in factors(*entries, algorithm=algorithm).values())


@given(trees(), st.sampled_from([2, 4, 8]), algorithms)
def test_scaling_all_shares_changes_nothing(
    entries: Sequence[tuple[str, str, int | None, int]], scale: int, algorithm: Algorithm
) -> None:
    scaled = [(i, p, s if s is PARENT else s * scale, u) for i, p, s, u in entries]
    assert factors(*entries, algorithm=algorithm) == pytest.approx(
        factors(*scaled, algorithm=algorithm)
    )


@given(trees(), st.data(), algorithms, st.sampled_from(Ties))
def test_more_usage_never_raises_a_users_factor(
    entries: Sequence[tuple[str, str, int | None, int]],
    data: st.DataObject,
    algorithm: Algorithm,
    ties: Ties,
) -> None:
    user = data.draw(st.sampled_from([i for i, *_ in entries if i.islower()]))
    more = data.draw(st.sampled_from([0.5, 1.0, 7.0, 1000.0]))
    risen: list[tuple[Any, ...]] = [
        (i, p, s, u + more if i == user else u) for i, p, s, u in entries
    ]
    before = factors(*entries, algorithm=algorithm, ties=ties)[user]
    assert factors(*risen, algorithm=algorithm, ties=ties)[user] <= before + 1e-12


@given(trees(), st.data(), st.sampled_from([0, 1, 5, 400]))
def test_the_order_inside_a_subtree_never_depends_on_other_subtrees(
    entries: Sequence[tuple[str, str, int | None, int]], data: st.DataObject, usage: int
) -> None:
    above = {i: p for i, p, *_ in entries}

    def is_below(node: str, account: str) -> bool:
        while node in above:
            node = above[node]
            if node == account:
                return True
        return False

    account = data.draw(st.sampled_from([i for i, *_ in entries if not i.islower()]))
    if any(s is PARENT and i == account for i, _, s, _ in entries):
        return  # what is below such an account competes one level up
    inside = [i for i, *_ in entries if i.islower() and is_below(i, account)]
    elsewhere = [
        (i, p, s, u if i in inside or not i.islower() else usage) for i, p, s, u in entries
    ]
    before, after = factors(*entries), factors(*elsewhere)
    for one in inside:
        for other in inside:
            assert (before[one] < before[other]) == (after[one] < after[other])


@given(trees())
def test_the_best_user_of_a_fair_tree_has_1_and_nobody_less_than_1_over_n(
    entries: Sequence[tuple[str, str, int | None, int]],
) -> None:
    found = factors(*entries)
    assert max(found.values()) == 1.0
    assert min(found.values()) >= 1 / len(found) - 1e-12


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        pytest.param([], "0 nodes have no parent", id="empty"),
        pytest.param([("R", None, 1), ("S", None, 1)], "2 nodes have no parent", id="two roots"),
        pytest.param([("R", None, 1), ("A", "R", 1), ("A", "R", 1)], "'A' appears twice", id="twice"),
        pytest.param([("R", None, 1), ("A", "X", 1)], "parent 'X' of 'A'", id="orphan"),
        pytest.param([("R", None, 1), ("A", "B", 1), ("B", "A", 1)], "'A' is part of a cycle", id="cycle"),
        pytest.param([("R", None, 1), ("A", "R", -1)], "raw_shares of 'A' is -1", id="negative"),
        pytest.param([("R", None, 1), ("u", "R", 1, True), ("v", "u", 1, True)], "below the user 'u'", id="user under user"),
    ],
)  # fmt: skip
def test_a_tree_that_makes_no_sense_is_refused_by_name(
    nodes: Sequence[tuple[Any, ...]], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        shares.build([ShareNode(*node) for node in nodes])


@pytest.mark.parametrize("usage", [-1.0, float("nan"), float("inf")])
def test_usage_that_makes_no_sense_is_refused_by_name(usage: float) -> None:
    tree, own = tree_of(("a", "R", 1, 0))
    own[1] = usage
    with pytest.raises(InvalidInput, match="usage of 'a'"):
        fairshare.compute(tree, own, algorithm=Algorithm.FAIR_TREE)
