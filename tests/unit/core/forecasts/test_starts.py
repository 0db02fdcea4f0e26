"""The queue run forward over lifetimes that are drawn."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from synergy.core.accounts import user_node
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.starts import (
    EXACT,
    Grid,
    Now,
    Server,
    Starts,
    Wanted,
    forecast_starts,
)
from synergy.core.model import QuotaKind, Resources
from synergy.core.priority import Weights
from synergy.core.quota import QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Policy
from synergy.core.rounds.timeline import Arrival, Holding, LiveState, Timeline
from tests.builders import kind, rid

CLOUD = Resources.of(VCPU=4)
NODES = (
    QuotaNode(node_id="root", parent_id=None),
    QuotaNode(node_id=user_node(1), parent_id="root"),
)
TREE = QuotaTree(QuotaState(total=CLOUD, installed=CLOUD, hosts=(CLOUD,), nodes=NODES), ("VCPU",))
BY_AGE = Policy(weights=Weights(age=0, fairshare=0))


def waits(number: int, vcpus: int, ttl_s: int = 100) -> Wanted:
    one = kind(vcpus, ttl_s=ttl_s)
    arrival = Arrival(at_s=float(number), request_id=rid(number), kind=one, held_s=0.0)
    return Wanted(key=number, project_id="p", arrival=arrival)


def server(number: int, vcpus: int, *, began_s: float, ttl_s: int = 100) -> Server:
    one = kind(vcpus, ttl_s=ttl_s)
    holding = Holding(
        leaf=TREE.row["user:1"],
        demand=TREE.amounts(one.demand),
        quota=QuotaKind.SHARED,
        known_end_s=began_s + ttl_s if ttl_s else inf,
        end_s=inf,
    )
    return Server(key=number, kind=one, project_id="p", holding=holding, began_s=began_s)


def known(*parts: float) -> Lifetimes:
    """Every server uses one of these parts of its lifetime of 100 s."""
    found = Lifetimes()
    for part in parts * 20:
        found.learn(kind(1, ttl_s=100), "p", 100 * part)
    return found


def starts(
    waiting: Sequence[Wanted],
    holding: Sequence[Server],
    lifetimes: Lifetimes,
    *,
    samples: int = 200,
    until_s: float = inf,
    tree: QuotaTree = TREE,
) -> Starts:
    now = Now(
        tree=tree,
        policy=BY_AGE,
        state=LiveState(at_s=10.0),
        waiting=waiting,
        holding=holding,
    )
    wanted = {one.arrival.request_id for one in waiting}
    return forecast_starts(now, lifetimes, wanted=wanted, samples=samples, seed=1, until_s=until_s)


def test_a_start_is_when_what_is_held_is_drawn_to_end() -> None:
    found = starts([waits(1, 4)], [server(9, 3, began_s=0.0)], known(0.2, 0.6))
    drawn = found.drawn[rid(1)]
    assert set(drawn.round(6)) == {20.0, 60.0}
    assert (drawn < 50).mean() == pytest.approx(0.5, abs=0.1)
    assert found.bound == {rid(1): 100.0}


def test_what_is_ahead_counts_with_a_drawn_lifetime() -> None:
    found = starts([waits(1, 4), waits(2, 4)], [server(9, 3, began_s=0.0)], known(0.2))
    assert set(found.drawn[rid(2)].round(6)) == {40.0}
    assert found.bound == {rid(1): 100.0, rid(2): 200.0}


def test_what_never_starts_is_infinite() -> None:
    found = starts([waits(1, 4)], [server(9, 3, began_s=0.0, ttl_s=0)], known(0.2))
    assert set(found.drawn[rid(1)]) == {inf}
    assert found.bound == {}


def test_what_starts_after_the_last_instant_that_is_looked_at_is_not_foreseen() -> None:
    found = starts([waits(1, 4)], [server(9, 3, began_s=0.0)], known(0.2, 0.6), until_s=50.0)
    assert set(found.drawn[rid(1)].round(6)) == {20.0, inf}


def test_the_same_question_has_the_same_answer_in_any_order() -> None:
    waiting = [waits(n, 1 + n % 4) for n in range(1, 9)]
    holding = [server(20 + n, 1, began_s=float(n)) for n in range(4)]
    lifetimes = known(0.2, 0.3, 0.9)
    first = starts(waiting, holding, lifetimes, samples=5)
    again = starts(waiting[::-1], holding[::-1], lifetimes, samples=5)
    assert first.bound == again.bound
    assert all((first.drawn[one] == again.drawn[one]).all() for one in first.drawn)
    assert len({one.arrival.request_id for one in waiting}) == len(first.drawn)
    assert np.isfinite(list(first.drawn.values())).all()


def test_ends_are_noticed_on_a_grid_before_or_after_them_and_right_on_the_average() -> None:
    for ends_s in (0.0, 0.1, 9.9, 499.0, 501.0, 3600.0, 86_399.7, 1e6, 3e7):
        grid = Grid(1e6)
        seen_s = [grid.noticed(1e6 + ends_s) - 1e6 for _ in range(1000)]
        assert 1 <= len(set(np.round(seen_s, 3))) <= 2
        assert np.abs(np.array(seen_s) - ends_s).max() <= max(10.0, 0.0201 * ends_s)
        assert np.mean(seen_s) == pytest.approx(ends_s, abs=0.1, rel=2e-4)
    grid = Grid(1e6)
    assert grid.noticed(1e6 - 50) == 1e6
    assert len({grid.noticed(1e6 + s) for s in range(0, 864_000, 100)}) < 450


def test_a_long_queue_is_forecast_nearly_as_if_each_end_had_a_round_of_its_own() -> None:
    """1,199 wait, dozens one after the other; of the same queue, ends are noticed on a grid or at
    once."""
    cloud = Resources.of(VCPU=64)
    tree = QuotaTree(
        QuotaState(total=cloud, installed=cloud, hosts=(cloud,), nodes=NODES), ("VCPU",)
    )
    waiting = [waits(n, 1 + n % 8, ttl_s=1000 + 700 * (n % 9)) for n in range(1, EXACT + 200)]
    holding = [server(9000 + n, 8, began_s=float(n), ttl_s=3000) for n in range(8)]
    found = starts(waiting, holding, known(0.2, 0.7), samples=2, tree=tree)
    exact = Timeline(
        tree, BY_AGE, (),
        begin=LiveState(
            at_s=10.0,
            waiting=[
                replace(one.arrival, held_s=float(one.arrival.kind.ttl_s)) for one in waiting
            ],
            holding=[replace(one.holding, end_s=one.holding.known_end_s) for one in holding],
        ),
    )  # fmt: skip
    at_s = {one.request_id: one.at_s for one in exact.run()}
    assert set(found.bound) == set(at_s)
    made_s, exact_s = (np.sort(list(one.values())) for one in (found.bound, at_s))
    off = (made_s - exact_s) / (exact_s + 500)
    assert np.abs(off).mean() < 0.1, "as many have started by each instant, nearly"
    assert made_s.mean() == pytest.approx(exact_s.mean(), rel=0.1)
