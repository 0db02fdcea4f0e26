"""A run that begins with what waits and holds quota already."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synergy.core.model import QuotaKind, RequestClass
from synergy.core.priority import Weights
from synergy.core.quota import QuotaTree
from synergy.core.rounds import Discipline, Plan, Policy, Snapshot
from synergy.core.rounds.timeline import Arrival, Holding, Leaving, LiveState, Timeline
from tests.builders import kind, rid
from tests.unit.core.rounds.test_backfill import Row, arrivals_of, logs, tree_of

BY_AGE = Weights(age=0, fairshare=0)
Reserved = Mapping[RequestClass, Sequence[float]]


def policy_of(discipline: Discipline) -> Policy:
    return Policy(discipline=discipline, weights=BY_AGE, round_size=10**6)


def resumed(
    rows: Sequence[Row], whole: Sequence[Leaving], reserved: Reserved, cut_s: float, tree: QuotaTree
) -> tuple[LiveState, list[Arrival]]:
    """What a run over `rows` has at an instant before its round, and what arrives from then on."""
    came = list(arrivals_of(rows, users=2))
    left_s = {one.request_id: one.at_s for one in whole}
    started = [one for one in whole if one.quota is not None and one.at_s < cut_s]
    by_id = {one.request_id: one for one in came}
    holding = [
        Holding(
            leaf=tree.row[f"user:{one.kind.association_id}"],
            demand=tree.amounts(one.kind.demand),
            quota=QuotaKind.SHARED,
            known_end_s=leaving.at_s + one.kind.ttl_s,
            end_s=leaving.at_s + one.held_s,
        )
        for leaving in started
        if leaving.at_s + (one := by_id[leaving.request_id]).held_s > cut_s
    ]
    waiting = [one for one in came if one.at_s < cut_s <= left_s[one.request_id]]
    state = LiveState(at_s=cut_s, waiting=waiting, holding=holding, reserved=reserved)
    return state, [one for one in came if one.at_s >= cut_s]


@settings(max_examples=100, deadline=None)
@given(logs, st.integers(0, 60), st.sampled_from(Discipline), st.randoms(use_true_random=False))
def test_a_run_from_its_middle_ends_as_the_whole_run(
    rows: list[Row], cut_s: int, discipline: Discipline, rng: Random
) -> None:
    """Whatever is between two instants: the state is all that the rest of a run needs."""
    tree, policy = tree_of(5), policy_of(discipline)
    reserved: dict[RequestClass, Sequence[float]] = {}
    kinds = {
        1 + n: one
        for n, one in enumerate(dict.fromkeys(a.kind for a in arrivals_of(rows, users=2)))
    }

    def note(snapshot: Snapshot, plan: Plan) -> None:
        if snapshot.at_s < cut_s:
            reserved.clear()
            for class_id, at_s in plan.reserved(snapshot.waiting.class_id).items():
                reserved[kinds[class_id]] = at_s

    whole = [*Timeline(tree, policy, arrivals_of(rows, users=2), on_round=note).run()]
    state, rest = resumed(rows, whole, reserved, float(cut_s), tree)
    shuffled = replace(
        state,
        waiting=rng.sample(state.waiting, len(state.waiting)),
        holding=rng.sample(state.holding, len(state.holding)),
    )
    again = [*Timeline(tree, policy, rest, begin=shuffled).run()]
    assert sorted(again, key=str) == sorted((one for one in whole if one.at_s >= cut_s), key=str)


def waiting(number: int, vcpus: int, *, association: int = 1) -> Arrival:
    one = kind(vcpus, association=association, ttl_s=10)
    return Arrival(at_s=1.0, request_id=rid(number), kind=one, held_s=10.0)


def holding(vcpus: int, *, known_end_s: float, end_s: float) -> Holding:
    tree = tree_of(5)
    return Holding(
        leaf=tree.row["user:1"],
        demand=tree.amounts({"VCPU": vcpus}),
        quota=QuotaKind.SHARED,
        known_end_s=known_end_s,
        end_s=end_s,
    )


def starts(state: LiveState, discipline: Discipline = Discipline.EASY) -> dict[str, float]:
    run = Timeline(tree_of(5), policy_of(discipline), (), begin=state).run()
    return {one.request_id: one.at_s for one in run}


def test_what_fits_starts_at_the_first_instant() -> None:
    assert starts(LiveState(at_s=7.0, waiting=[waiting(1, 5)])) == {rid(1): 7.0}


@pytest.mark.parametrize(("end_s", "expected_s"), [(3.0, 7.0), (9.0, 9.0), (inf, None)])
def test_what_waits_starts_when_what_is_held_ends(end_s: float, expected_s: float) -> None:
    held = holding(1, known_end_s=20.0, end_s=end_s)
    found = starts(LiveState(at_s=7.0, waiting=[waiting(1, 5)], holding=[held]))
    assert found.get(rid(1)) == expected_s


def test_a_round_relies_on_what_is_known_and_not_on_what_is_taken_for_the_end() -> None:
    """The first waits until 30 s as far as a round knows, so one of 10 s passes it at 7 s; what is
    held ends at 12 s all the same."""
    held = holding(4, known_end_s=30.0, end_s=12.0)
    state = LiveState(at_s=7.0, waiting=[waiting(1, 5), waiting(2, 1)], holding=[held])
    assert starts(state) == {rid(2): 7.0, rid(1): 17.0}
    soon = replace(held, known_end_s=12.0)
    assert starts(replace(state, holding=[soon])) == {rid(1): 12.0, rid(2): 22.0}


def test_nothing_of_a_suspended_project_starts() -> None:
    state = LiveState(
        at_s=7.0, waiting=[waiting(1, 5), waiting(2, 1, association=2)], suspended={1}
    )
    assert starts(state, Discipline.GREEDY) == {rid(2): 7.0}
