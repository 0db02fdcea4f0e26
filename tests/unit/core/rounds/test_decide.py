import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synergy.core.model import NOTHING, OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.priority import Scales, Weights
from synergy.core.queue import WaitingQueue
from synergy.core.quota import Claim, QuotaBook, QuotaNode, QuotaState, QuotaTree
from synergy.core.reasons import Reason
from synergy.core.rounds import NO_FACTS, Discipline, Outcome, Plan, decide
from synergy.core.rounds.order import _best
from tests.builders import kind, plan_of, rid, snapshot_of

BY_AGE = Weights(age=0, fairshare=0)
REASONS = {reason.value for reason in Reason}


@pytest.mark.parametrize(
    ("jobs", "vcpus", "options", "expected"),
    [
        pytest.param([(1, kind(8), 9)], 4, {}, {1: "no_free_quota"}, id="larger than the pool"),
        pytest.param(
            [(1, kind(8), 9), (2, kind(1), 1)], 4, {}, {1: "no_free_quota", 2: "dispatch"},
            id="greedy passes over what does not fit",
        ),
        pytest.param(
            [(1, kind(8), 9), (2, kind(1), 1)], 4, {"discipline": Discipline.FIFO},
            {1: "no_free_quota", 2: "priority"},
            id="fifo lets nobody overtake",
        ),
        pytest.param(
            [(1, kind(8), 9), (2, kind(7), 8), (3, kind(1), 1)], 4, {"backfill_depth": 1},
            {1: "no_free_quota", 2: "no_free_quota", 3: "priority"},
            id="greedy stops at its depth",
        ),
        pytest.param(
            [(1, kind(8), 9), (2, kind(8), 8), (3, kind(1), 1)], 4, {"backfill_depth": 1},
            {1: "no_free_quota", 2: "no_free_quota", 3: "dispatch"},
            id="equal requests count once",
        ),
        pytest.param(
            [(1, kind(4, association=1), 1), (2, kind(4, association=2), 9)], 4,
            {"weights": Weights(), "fairshare": {1: 0.9, 2: 0.1}},
            {1: "dispatch", 2: "no_free_quota"},
            id="the better share goes before the longer wait",
        ),
        pytest.param(
            [(1, kind(4, nice=5), 9), (2, kind(4), 1)], 4, {"weights": Weights(age=0, fairshare=9),
            "fairshare": {1: 1.0}},
            {1: "no_free_quota", 2: "dispatch"},
            id="nice lowers a priority",
        ),
        pytest.param(
            [(1, kind(1, association=3), 9)], 4, {"suspended": [3]}, {1: "project_suspended"},
            id="a suspended project takes nothing new",
        ),
        pytest.param(
            [(1, kind(3), 9), (2, kind(1), 1)], 4, {"fragmented": [3]},
            {1: "fragmented", 2: "dispatch"},
            id="the sum would fit but no host",
        ),
        pytest.param(
            [(1, kind(2), 9), (2, kind(1, association=2), 1)], 4,
            {"nodes": [QuotaNode(node_id="u1", parent_id="root", borrow_limit=Resources.of(VCPU=1))]},
            {1: "user_limit", 2: "dispatch"},
            id="a user at his limit holds nobody up, not even in fifo",
        ),
        pytest.param(
            [(1, kind(2), 9)], 4,
            {"nodes": [
                QuotaNode(node_id="p", parent_id="root", borrow_limit=Resources.of(VCPU=3)),
                QuotaNode(node_id="u1", parent_id="p")],
             "claims": [Claim("u1", shared=Resources.of(VCPU=2))]},
            {1: "project_borrow_limit"},
            id="a project at its limit",
        ),
    ],
)  # fmt: skip
def test_a_round_gives_every_request_its_outcome_or_reason(
    jobs: Sequence[tuple[int, RequestClass, int]],
    vcpus: int,
    options: dict[str, Any],
    expected: Mapping[int, str],
) -> None:
    _, told = plan_of(jobs, vcpus=vcpus, **({"weights": BY_AGE} | options))
    assert told == {rid(number): what for number, what in expected.items()}


def owner(vcpus: int, **changes: Any) -> QuotaNode:
    private = Resources.of(VCPU=vcpus)
    values = {"node_id": "u1", "parent_id": "root", "private": private, "lend_limit": Resources()}
    return QuotaNode(**(values | changes))


def private(vcpus: int, on_full: OnPrivateFull = OnPrivateFull.QUEUE) -> RequestClass:
    return kind(vcpus, quota=QuotaKind.PRIVATE, on_full=on_full)


@pytest.mark.parametrize(
    ("on_full", "expected"),
    [
        (OnPrivateFull.QUEUE, "no_free_quota"),
        (OnPrivateFull.REJECT, "reject"),
        (OnPrivateFull.SHARED, "dispatch"),
    ],
)
def test_a_private_request_that_does_not_fit_gets_what_its_project_wants(
    on_full: OnPrivateFull, expected: str
) -> None:
    jobs = [(1, private(3, on_full), 9), (2, private(3, on_full), 8)]
    _, told = plan_of(jobs, vcpus=8, nodes=[owner(4)])
    assert told == {rid(1): "dispatch", rid(2): expected}


def test_a_private_request_starts_whatever_waits_for_the_shared_quota() -> None:
    jobs = [(1, kind(4, association=2), 99), (2, private(4), 1)]
    _, told = plan_of(
        jobs, vcpus=8, nodes=[owner(4)], claims=[Claim("u3", shared=Resources.of(VCPU=4))]
    )
    assert told == {rid(1): "no_free_quota", rid(2): "dispatch"}


def test_an_owner_waits_for_what_he_lent_and_goes_first() -> None:
    lends = owner(4, lend_limit=Resources.of(VCPU=4))
    borrowed = [Claim("u2", shared=Resources.of(VCPU=8))]
    jobs = [(1, private(2), 1), (2, kind(1, association=2), 99)]
    _, told = plan_of(jobs, vcpus=8, nodes=[lends], claims=borrowed)
    assert told == {rid(1): "awaiting_expiry", rid(2): "no_free_quota"}
    returned = [Claim("u2", shared=Resources.of(VCPU=6))]
    _, told = plan_of(jobs, vcpus=8, nodes=[lends], claims=returned)
    assert told == {rid(1): "dispatch", rid(2): "no_free_quota"}


def test_private_quotas_beyond_the_cloud_disable_the_shared_quota_only() -> None:
    jobs = [(1, private(2), 1), (2, kind(1, association=2), 99)]
    _, told = plan_of(jobs, vcpus=4, nodes=[owner(6)])
    assert told == {rid(1): "dispatch", rid(2): "shared_quota_disabled"}


@pytest.mark.parametrize("discipline", Discipline)
def test_what_asks_for_a_class_that_is_short_stops_nobody_else(discipline: Discipline) -> None:
    """Nobody may take VCPU; whoever asks for memory alone starts, in fifo too."""
    snapshot, policy = snapshot_of([(1, kind(1), 99)], vcpus=4, discipline=discipline)
    tree = QuotaTree(
        QuotaState(
            total=Resources.of(VCPU=4, MEMORY_MB=9),
            nodes=(
                QuotaNode(node_id="root", parent_id=None),
                QuotaNode(
                    node_id="p", parent_id="root", private=Resources.of(VCPU=5), lend_limit=NOTHING
                ),
            ),
        ),
        ("MEMORY_MB", "VCPU"),
    )
    queue = WaitingQueue()
    queue.add(1, kind(1), rid(1), 0.0)
    memory = RequestClass(
        association_id=2,
        demand=Resources.of(MEMORY_MB=3),
        quota=QuotaKind.SHARED,
        on_private_full=OnPrivateFull.QUEUE,
    )
    queue.add(2, memory, rid(2), 9.0)
    waiting = queue.snapshot()
    plan = decide(
        replace(
            snapshot,
            waiting=waiting,
            leaf=np.ones(10, dtype=np.int64),
            book=QuotaBook(tree),
            demand=waiting.demand,
        ),
        NO_FACTS,
        policy,
    )
    assert [d.request_id for d in plan.decisions] == [rid(2)]
    assert plan.reason_of(0) is Reason.SHARED_QUOTA_DISABLED


def either(vcpus: int = 1, **more: Any) -> RequestClass:
    return kind(vcpus, quota=QuotaKind.PRIVATE, on_full=OnPrivateFull.SHARED, **more)


def quotas_of(plan: Plan) -> dict[str, QuotaKind | None]:
    return {decision.request_id: decision.quota for decision in plan.decisions}


def test_what_may_use_either_quota_takes_the_private_one_first_and_the_rest_by_priority() -> None:
    jobs = [(n, either(), 20 - n) for n in range(1, 6)]
    jobs += [(n, kind(association=2), 99) for n in (11, 12)]
    plan, told = plan_of(jobs, vcpus=6, nodes=[owner(2)], weights=BY_AGE)
    assert quotas_of(plan) == {
        rid(1): QuotaKind.PRIVATE, rid(2): QuotaKind.PRIVATE, rid(11): QuotaKind.SHARED,
        rid(12): QuotaKind.SHARED, rid(3): QuotaKind.SHARED, rid(4): QuotaKind.SHARED,
    }  # fmt: skip
    assert told[rid(5)] == "no_free_quota"


@pytest.mark.parametrize(
    "newcomer", [either(), either(nice=0, ttl_s=9), private(1)], ids=["equal", "other", "private"]
)
def test_a_private_place_that_comes_free_goes_to_whom_has_waited_for_the_shared_quota(
    newcomer: RequestClass,
) -> None:
    """However it was held before: a class that held the shared quota and came back may use either,
    too. A user of the same project with a better share does not overtake: fair-share is about what
    is borrowed."""
    project = QuotaNode(node_id="p", parent_id="root", private=Resources.of(VCPU=2))
    nodes = [project, *(QuotaNode(node_id=f"u{n}", parent_id="p") for n in (1, 2))]
    for waited in (either(), kind(1, on_full=OnPrivateFull.SHARED)):
        jobs = [(1, waited, 99), (2, replace(newcomer, association_id=2), 1)]
        claims = [
            Claim("u1", private=Resources.of(VCPU=1)),
            Claim("u3", shared=Resources.of(VCPU=8)),
        ]
        plan, told = plan_of(
            jobs,
            vcpus=10,
            nodes=nodes,
            claims=claims,
            weights=Weights(),
            fairshare={1: 0.0, 2: 1.0},
        )
        assert quotas_of(plan) == {rid(1): QuotaKind.PRIVATE}
        assert told[rid(2)] == "no_free_quota"


def test_what_may_use_either_and_can_never_borrow_waits_for_its_private_quota() -> None:
    bound = owner(2, borrow_limit=NOTHING)
    jobs = [(1, either(), 9), (2, either(), 8), (3, either(), 7)]
    plan, told = plan_of(jobs, vcpus=8, nodes=[bound])
    assert told == {rid(1): "dispatch", rid(2): "dispatch", rid(3): "no_free_quota"}
    assert plan.quota_of(0) is QuotaKind.PRIVATE
    roomy, _ = plan_of(jobs, vcpus=2, nodes=[owner(1)])
    assert roomy.quota_of(0) is QuotaKind.SHARED


def test_an_owner_gets_back_what_he_lent_bit_by_bit() -> None:
    """4 of 8 lent VCPU have come back: nobody borrows them again while he waits for 6."""
    lends = owner(8, lend_limit=None)
    jobs = [(1, private(6), 1), (2, private(6), 1), (3, kind(1, association=2), 99)]
    _, told = plan_of(
        jobs, vcpus=8, nodes=[lends], claims=[Claim("u2", shared=Resources.of(VCPU=4))]
    )
    assert told == {rid(1): "awaiting_expiry", rid(2): "awaiting_expiry", rid(3): "no_free_quota"}


@pytest.mark.parametrize("discipline", Discipline)
def test_what_can_never_start_is_rejected_and_stops_nobody(discipline: Discipline) -> None:
    jobs = [(1, kind(8), 9), (2, kind(8), 8), (3, kind(2), 1)]
    snapshot, policy = snapshot_of(jobs, vcpus=4, discipline=discipline)
    never = int(snapshot.waiting.class_id[snapshot.waiting.end.argmax()])
    plan = decide(replace(snapshot, never={never: "asks for much"}), NO_FACTS, policy)
    assert [(d.request_id, d.outcome, d.reason, d.why) for d in plan.decisions] == [
        (rid(1), Outcome.REJECT, Reason.NEVER_FITS, "asks for much"),
        (rid(2), Outcome.REJECT, Reason.NEVER_FITS, "asks for much"),
        (rid(3), Outcome.DISPATCH, None, ""),
    ]


def test_a_user_whom_the_last_look_at_the_cloud_did_not_know_waits_for_the_next() -> None:
    snapshot, policy = snapshot_of([(1, private(1, OnPrivateFull.REJECT), 9)], vcpus=4)
    plan = decide(replace(snapshot, leaf=np.zeros(10, dtype=np.int64)), NO_FACTS, policy)
    assert plan.decisions == ()
    assert plan.reason_of(0) is Reason.PENDING_EVALUATION


@pytest.mark.parametrize("differs", ["ttl_s", "nice", "qos"])
def test_depth_counts_what_differs_for_the_place_of_a_server(differs: str) -> None:
    values: dict[str, Any] = {
        "ttl_s": range(1, 151),
        "nice": range(150),
        "qos": [f"q{n}" for n in range(150)],
    }
    jobs = [
        (number, kind(5, **{differs: value}), 99.0)
        for number, value in enumerate(values[differs], start=1)
    ]
    jobs.append((200, kind(1, association=2, nice=500), 1.0))
    _, told = plan_of(jobs, vcpus=4, weights=BY_AGE, backfill_depth=100)
    assert told[rid(200)] == "dispatch"
    _, told = plan_of(jobs, vcpus=4, weights=BY_AGE, backfill_depth=0)
    assert told[rid(200)] == "priority"


def test_depth_counts_different_demands_of_different_users() -> None:
    jobs = [(n, kind(4 + n, association=n % 3 + 1), 99.0 - n) for n in range(1, 6)]
    jobs.append((9, kind(1), 1.0))
    for depth, expected in ((4, "priority"), (5, "dispatch")):
        _, told = plan_of(jobs, vcpus=4, weights=BY_AGE, backfill_depth=depth)
        assert told[rid(9)] == expected


queues = st.lists(
    st.tuples(
        st.integers(1, 12),  # vcpus
        st.integers(1, 4),  # association
        st.integers(0, 5),  # age
        st.integers(0, 2),  # nice
    ),
    max_size=30,
)
shares = st.dictionaries(st.integers(1, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
LIMITS = [
    QuotaNode(node_id="p", parent_id="root", borrow_limit=Resources.of(VCPU=9)),
    QuotaNode(node_id="u1", parent_id="p"),
    QuotaNode(node_id="u2", parent_id="p", borrow_limit=Resources.of(VCPU=3)),
]
PASSING = [Discipline.FIFO, Discipline.GREEDY]  # test_backfill has the others
WEIGHTS, SCALES = Weights(age=10, fairshare=100), Scales(max_age_s=5)


def jobs_of(queue: Sequence[tuple[int, ...]]) -> list[tuple[int, RequestClass, int]]:
    return [
        (number, kind(vcpus, association=association, nice=nice), age_s)
        for number, (vcpus, association, age_s, nice) in enumerate(queue, start=1)
    ]


def naive(
    queue: Sequence[tuple[int, ...]],
    vcpus: int,
    fairshare: Mapping[int, float],
    discipline: Discipline,
    depth: int,
) -> set[str]:
    """What a round does, request by request, in the plainest way: the reference."""
    ranked = [
        (
            -max(1, int(100 * fairshare.get(a, 0.0) - nice + 10 * min(age / 5, 1))),
            -age,
            number,
            v,
            a,
        )
        for number, (v, a, age, nice) in enumerate(queue, start=1)
    ]
    heapq.heapify(ranked)
    free, room = vcpus, {"p": 9, 2: 3}
    started, passed = set(), set()
    while ranked:
        _, _, number, demand, a = heapq.heappop(ranked)
        bounds = [key for key in (a, "p" if a in (1, 2) else None) if key in room]
        if any(demand > room[key] for key in bounds):
            continue
        if demand > free:
            passed.add((demand, a))  # not nice: it changes nothing of what is asked for
            if discipline is Discipline.FIFO or len(passed) > depth:
                break
            continue
        free -= demand
        for key in bounds:
            room[key] -= demand
        started.add(rid(number))
    return started


@settings(max_examples=300)
@given(queues, st.integers(0, 24), shares, st.sampled_from(PASSING), st.integers(0, 4))
def test_a_round_over_classes_starts_what_a_round_over_requests_would(
    queue: Sequence[tuple[int, ...]],
    vcpus: int,
    fairshare: Mapping[int, float],
    discipline: Discipline,
    depth: int,
) -> None:
    _, told = plan_of(
        jobs_of(queue), vcpus=vcpus, fairshare=fairshare, nodes=LIMITS, weights=WEIGHTS, scales=SCALES,
        discipline=discipline, backfill_depth=depth,
    )  # fmt: skip
    started = {request_id for request_id, what in told.items() if what == "dispatch"}
    assert started == naive(queue, vcpus, fairshare, discipline, depth)


@given(queues, st.integers(0, 24), shares)
def test_a_round_never_overcommits_and_gives_everyone_one_answer(
    queue: Sequence[tuple[int, ...]], vcpus: int, fairshare: Mapping[int, float]
) -> None:
    plan, told = plan_of(
        jobs_of(queue),
        vcpus=vcpus,
        fairshare=fairshare,
        nodes=LIMITS,
        weights=WEIGHTS,
        scales=SCALES,
    )
    demand = {rid(number): one.demand["VCPU"] for number, one, _ in jobs_of(queue)}
    user = {rid(number): one.association_id for number, one, _ in jobs_of(queue)}
    started = [decision.request_id for decision in plan.decisions]
    assert len(started) == len(set(started))
    assert sum(demand[one] for one in started) <= vcpus
    assert sum(demand[one] for one in started if user[one] == 2) <= 3
    assert sum(demand[one] for one in started if user[one] in (1, 2)) <= 9
    assert told.keys() == demand.keys()
    assert {what for what in told.values() if what != "dispatch"} <= REASONS


@given(queues, st.integers(0, 24), shares, st.randoms(use_true_random=False))
def test_the_order_of_the_input_never_matters(
    queue: Sequence[tuple[int, ...]], vcpus: int, fairshare: Mapping[int, float], rng: Random
) -> None:
    jobs = jobs_of(queue)
    shuffled = list(jobs)
    rng.shuffle(shuffled)
    options: dict[str, Any] = {
        "vcpus": vcpus,
        "fairshare": fairshare,
        "nodes": LIMITS,
        "weights": WEIGHTS,
        "scales": SCALES,
    }
    assert plan_of(jobs, **options)[1] == plan_of(shuffled, **options)[1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(1, 60),
)
def test_the_best_are_all_that_come_before_the_rest(
    pairs: Sequence[tuple[int, int]], count: int
) -> None:
    ranks = np.array([float(rank) for rank, _ in pairs])
    queued = np.array([float(at) for _, at in pairs])
    best = set(_best(np.arange(len(pairs)), ranks, queued, count).tolist())
    assert len(best) >= min(count, len(pairs))
    worst = max((-ranks[row], queued[row]) for row in best)
    assert all((-ranks[row], queued[row]) > worst for row in set(range(len(pairs))) - best)


def test_a_round_ends_at_its_size_and_says_so() -> None:
    jobs = [(number, kind(1, association=number % 3 + 1), number) for number in range(1, 30)]
    plan, told = plan_of(jobs, vcpus=100, weights=BY_AGE, round_size=10)
    assert [d.request_id for d in plan.decisions] == [rid(n) for n in range(29, 19, -1)]
    assert not plan.complete
    assert set(told.values()) == {"dispatch", "priority"}
    assert plan_of(jobs, vcpus=100, weights=BY_AGE, round_size=30)[0].complete


def test_more_classes_than_a_chunk_come_in_order() -> None:
    jobs = [(number, kind(1, nice=number % 700), number % 13) for number in range(1, 2001)]
    plan, _ = plan_of(
        jobs,
        vcpus=1500,
        fairshare={1: 1.0},
        weights=Weights(age=0, fairshare=10_000),
        round_size=5000,
    )
    nice = {rid(number): one.nice for number, one, _ in jobs}
    age = {rid(number): age_s for number, _, age_s in jobs}
    order = [(nice[d.request_id], -age[d.request_id], d.request_id) for d in plan.decisions]
    assert order == sorted(order)
    assert len(order) == 1500
