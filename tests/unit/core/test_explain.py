"""Why a request waits and when it starts, compared with the round itself."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synergy.core import explain
from synergy.core.explain import Bound, End, Scope
from synergy.core.forecast import ends_of, forecast
from synergy.core.model import NOTHING, OnPrivateFull, QuotaKind, Resources
from synergy.core.quota import Claim, QuotaBook, QuotaNode, QuotaState, QuotaTree
from synergy.core.reasons import Reason
from synergy.core.rounds import NO_FACTS, Policy, Snapshot, decide
from synergy.core.rounds.snapshot import demand_over
from synergy.core.words import why_waiting
from tests.builders import kind, rid, snapshot_of

LIMITED = (
    QuotaNode(node_id="root", parent_id=None),
    QuotaNode(node_id="p", parent_id="root", private=Resources.of(VCPU=4),
              borrow_limit=Resources.of(VCPU=6), lend_limit=NOTHING),
    QuotaNode(node_id="u", parent_id="p"),
)  # fmt: skip


def book(
    *claims: Claim, vcpus: int = 20, nodes: tuple[QuotaNode, QuotaNode, QuotaNode] = LIMITED
) -> QuotaBook:
    whole = Resources.of(VCPU=vcpus)
    tree = QuotaTree(
        QuotaState(total=whole, installed=whole, hosts=(whole,), nodes=nodes), ("VCPU",)
    )
    return QuotaBook(tree, claims)


def test_every_bound_is_told_the_nearest_first() -> None:
    used = book(
        Claim("u", shared=Resources.of(VCPU=5)), Claim("root", shared=Resources.of(VCPU=10))
    )
    assert explain.bounds(used, 2, np.array([2]), private=False) == [
        Bound(scope=Scope.BORROW_LIMIT, node_id="p", resource_class="VCPU",
              needed=2, free=1, limit=6, used=5, own=5),
        Bound(scope=Scope.POOL, node_id="root", resource_class="VCPU",
              needed=2, free=1, limit=16, used=15, own=5),
    ]  # fmt: skip
    assert explain.bounds(used, 2, np.array([1]), private=False) == []


def test_a_private_request_is_bound_by_its_private_quota_only() -> None:
    used = book(Claim("u", private=Resources.of(VCPU=3), shared=Resources.of(VCPU=6)))
    (bound,) = explain.bounds(used, 2, np.array([2]), private=True)
    assert (bound.scope, bound.node_id, bound.free, bound.limit) == (Scope.PRIVATE, "p", 1, 4)


@pytest.mark.parametrize("needed", range(1, 8))
def test_bounds_are_told_when_and_only_when_something_blocks(needed: int) -> None:
    used = book(Claim("u", private=Resources.of(VCPU=1), shared=Resources.of(VCPU=3)))
    for quota in QuotaKind:
        private = quota is QuotaKind.PRIVATE
        bounds = explain.bounds(used, 2, np.array([needed]), private=private)
        assert bool(bounds) != explain.fits(used, 2, np.array([needed]), kind(quota=quota))


def test_what_may_use_either_quota_fits_where_one_of_them_holds_it() -> None:
    used = book(Claim("u", private=Resources.of(VCPU=3), shared=Resources.of(VCPU=4)))
    either = kind(quota=QuotaKind.PRIVATE, on_full=OnPrivateFull.SHARED)
    fitting = [n for n in range(1, 5) if explain.fits(used, 2, np.array([n]), either)]
    assert fitting == [1, 2]


@pytest.mark.parametrize(
    ("reason", "scopes"),
    [
        (Reason.NO_FREE_QUOTA, {Scope.BORROW_LIMIT, Scope.POOL}),
        (Reason.PROJECT_BORROW_LIMIT, {Scope.BORROW_LIMIT}),
        (Reason.SHARED_QUOTA_DISABLED, {Scope.POOL}),
        (Reason.FRAGMENTED, set()),
        (Reason.PRIORITY, set()),
        (Reason.DISPATCH_RETRY, set()),
        (None, set()),
    ],
)
def test_only_the_bounds_that_a_reason_is_about_are_told(
    reason: Reason | None, scopes: set[Scope]
) -> None:
    used = book(
        Claim("u", shared=Resources.of(VCPU=6)), Claim("root", shared=Resources.of(VCPU=10))
    )
    found = explain.bounds_of(reason, used, 2, np.array([2]), QuotaKind.SHARED)
    assert {bound.scope for bound in found} == scopes


def test_nobody_but_its_own_project_stands_before_a_request_for_a_private_quota() -> None:
    nodes = [
        QuotaNode(node_id=f"u{n}", parent_id="root", private=Resources.of(VCPU=2)) for n in (1, 2)
    ]
    private = QuotaKind.PRIVATE
    jobs = [(1, kind(2, association=2, quota=private), 99)]
    jobs += [(n, kind(2, quota=private), 90 - n) for n in (2, 3, 4)]
    snapshot, policy = snapshot_of(jobs, vcpus=4, nodes=nodes, fairshare={2: 1.0})
    plan = decide(snapshot, NO_FACTS, policy)
    row = next(n for n in range(2) if snapshot.waiting.association[n] == 1)
    line = snapshot.waiting.lines[row]
    places = [
        explain.ahead(snapshot, plan, policy, row, line.id_at(at), line.queued_at_s[at])
        for at in (1, 2)
    ]
    assert places == [0, 1]


def test_words_come_before_numbers() -> None:
    bound = Bound(scope=Scope.POOL, node_id="root", resource_class="VCPU",
                  needed=2000, free=1, limit=10_000, used=9_999, own=5)  # fmt: skip
    assert why_waiting(Reason.NO_FREE_QUOTA, [bound], {}, ahead=1) == (
        "Not enough quota is free. It needs 2,000 VCPU, and of the shared quota 1 of 10,000 "
        "is free. 1 request goes before it."
    )
    assert why_waiting(Reason.PRIORITY, [], {}, ahead=3).endswith("3 requests go before it.")
    assert why_waiting(None, [], {}, ahead=None) == "It does not wait."
    for reason in Reason:
        assert why_waiting(reason, [], {}, ahead=None) != "It does not wait."


jobs = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 50)), min_size=1, max_size=25
)


def made(
    found: Sequence[tuple[int, int, int]], vcpus: int, ttl_s: int = 100
) -> tuple[Snapshot, Policy]:
    """A snapshot of jobs (vcpus, association, age), with its plan."""
    return snapshot_of(
        [(n, kind(v, association=a, ttl_s=ttl_s), float(age))
         for n, (v, a, age) in enumerate(found, start=1)],
        vcpus=vcpus,
    )  # fmt: skip


@given(jobs, st.integers(0, 12))
@settings(max_examples=150)
def test_the_place_of_a_request_is_where_the_round_would_come_to_it(
    found: Sequence[tuple[int, int, int]], vcpus: int
) -> None:
    snapshot, policy = made(found, vcpus)
    plan = decide(snapshot, NO_FACTS, policy)
    waiting = snapshot.waiting
    taken = {decision.request_id for decision in plan.decisions}
    ranks = []
    for row in range(len(waiting)):
        for position in range(int(waiting.first[row]), int(waiting.end[row])):
            key, at_s = waiting.lines[row].id_at(position), waiting.lines[row].queued_at_s[position]
            terms = explain.terms_at(snapshot, plan, policy, row, at_s)
            if str(UUID(bytes=key)) not in taken:
                rank = -terms.as_dict()["priority"], at_s, key
                ranks.append((rank, row, key, at_s))
    for place, (_, row, key, at_s) in enumerate(sorted(ranks)):
        assert explain.ahead(snapshot, plan, policy, row, key, at_s) == place


@given(jobs, st.integers(4, 12))
@settings(max_examples=100)
def test_the_forecast_is_what_rounds_at_every_end_come_to(
    found: Sequence[tuple[int, int, int]], vcpus: int
) -> None:
    """By brute force: a round a second, servers leaving when their lifetime is over."""
    ttl_s = 100
    snapshot, policy = made(found, vcpus, ttl_s)
    plan = decide(snapshot, NO_FACTS, policy)
    everyone = frozenset(rid(n) for n in range(1, len(found) + 1))
    waiting_ids = everyone - {decision.request_id for decision in plan.decisions}
    told = forecast(
        snapshot, plan, ends_of(snapshot, plan), policy, wanted=waiting_ids, max_rounds=1000
    )
    running = [(d.class_row, snapshot.waiting, snapshot.at_s + ttl_s) for d in plan.decisions]
    rest, starts = snapshot.waiting.without(plan.taken), {}
    for second in range(1, len(found) * ttl_s + 1):
        at_s = snapshot.at_s + second
        if not any(end_s == at_s for *_, end_s in running):
            continue
        running = [one for one in running if one[2] > at_s]
        fresh = QuotaBook(snapshot.book.tree)
        for row, queue, _ in running:
            leaf = int(snapshot.leaf[queue.association[row]])
            fresh.hold_shared(leaf, snapshot.demand[queue.shape[row]])
        now = type(snapshot)(**{
            **{name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__},
            "waiting": rest, "at_s": at_s, "book": fresh,
        })  # fmt: skip
        round_ = decide(now, NO_FACTS, policy)
        for decision in round_.decisions:
            starts[decision.request_id] = at_s
            running.append((decision.class_row, rest, at_s + ttl_s))
        rest = rest.without(round_.taken)
    assert told.starts_s == starts
    assert set(starts) == waiting_ids


def test_a_forecast_that_may_look_at_few_rounds_only_is_late_and_never_early() -> None:
    snapshot, policy = made([(1, 1, n) for n in range(20)], 4)
    plan = decide(snapshot, NO_FACTS, policy)
    ends = [End(at_s=snapshot.at_s + 10 * n, leaf=0, demand=np.array([1])) for n in range(1, 5)]
    wanted = frozenset(rid(n) for n in range(1, 21)) - {d.request_id for d in plan.decisions}
    exact = forecast(snapshot, plan, ends, policy, wanted=wanted, max_rounds=100).starts_s
    rough = forecast(snapshot, plan, ends, policy, wanted=wanted, max_rounds=2).starts_s
    assert rough
    assert all(rough[one] >= exact[one] for one in rough)


def test_more_of_a_class_stand_behind_those_that_wait() -> None:
    for vcpus, started in ((3, [1, 2]), (4, [1, 2, 90])):
        snapshot, policy = made([(1, 1, 5), (2, 1, 3)], vcpus)
        asked = kind(1, association=1)
        waiting, row = snapshot.waiting.with_class(asked, [rid(90), rid(91)], snapshot.at_s)
        assert row == len(waiting) - 1  # with a lifetime of its own, it is a class of its own
        more = replace(snapshot, waiting=waiting, demand=demand_over(waiting, ("VCPU",)))
        plan = decide(more, NO_FACTS, policy)
        assert {d.request_id for d in plan.decisions} == {rid(n) for n in started}


def test_when_enough_is_free_is_when_the_sum_suffices() -> None:
    used = book(Claim("root", shared=Resources.of(VCPU=14)))
    ends = [End(at_s=float(at), leaf=0, demand=np.array([2]), count=1) for at in (30, 10, 20)]
    assert explain.enough_at_s(used, np.array([6]), ends) == 20.0
    assert explain.enough_at_s(used, np.array([9]), ends) is None
    assert [one.at_s for one in explain.releases(used, ends, limit=2)] == [10.0, 20.0]


def test_a_copy_of_the_accounting_is_used_up_apart() -> None:
    used = book()
    other = used.copy()
    other.hold_shared(2, np.array([5]))
    other.release_shared(2, np.array([2]))
    assert used.shared_used.sum() == 0
    assert other.shared_used[:, 0].tolist() == [3, 3, 3]
