"""Each check alone: what it closes, whom it stops, what it lacks; and all of them over any queue."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import int64

from synergy.core.model import (
    AVAILABILITY_ZONE,
    SERVER_GROUP,
    OnPrivateFull,
    QuotaKind,
    RequestClass,
    Resources,
)
from synergy.core.queue import Waiting
from synergy.core.quota import QuotaNode
from synergy.core.reasons import Reason
from synergy.core.rounds import (
    NO_FACTS,
    Facts,
    LacksGroup,
    LacksRoom,
    LacksZones,
    Outcome,
    Plan,
    Shape,
    Snapshot,
    decide,
    shape_of,
)
from synergy.core.rounds.checks import GROUP_CHECK_S, HOST_CHECK_S
from tests.builders import facts_of, kind, packed, rid, snapshot_of


def decided(
    jobs: Sequence[tuple[int, RequestClass, int]],
    facts: Facts | None = None,
    *,
    vcpus: int = 100,
    rests: Mapping[RequestClass, float] | None = None,
    **more: Any,
) -> tuple[Snapshot, Plan]:
    snapshot, policy = snapshot_of(jobs, vcpus=vcpus, **more)
    if rests:
        of = {(one.association_id, shape_of(one)): until for one, until in rests.items()}
        snapshot = replace(snapshot, rests=of)
    known = facts_of(snapshot) if facts is None else facts
    return snapshot, decide(snapshot, known, policy)


def started(plan: Plan) -> list[str]:
    return [d.request_id for d in plan.decisions if d.outcome is Outcome.DISPATCH]


def in_group(vcpus: int = 1, group: str = "g", **more: Any) -> RequestClass:
    return kind(vcpus, constraints=((SERVER_GROUP, group),), **more)


def in_zone(zone: str) -> RequestClass:
    return kind(1, constraints=((AVAILABILITY_ZONE, zone),))


def room(*vcpus: int) -> dict[str, Resources]:
    return {f"node{n}": Resources.of(VCPU=amount) for n, amount in enumerate(vcpus)}


def test_what_is_not_known_is_lacking_and_taken_for_granted() -> None:
    jobs = [(1, in_zone("az1"), 9), (2, in_group(), 8), (3, kind(2), 7)]
    _, plan = decided(jobs, NO_FACTS)
    assert len(started(plan)) == 3
    assert plan.lacks == {
        LacksZones(frozenset({"az1"})), LacksGroup("g"),
        LacksRoom(Shape(Resources.of(VCPU=1), ((AVAILABILITY_ZONE, "az1"),))),
        LacksRoom(Shape(Resources.of(VCPU=1), ((SERVER_GROUP, "g"),))),
        LacksRoom(Shape(Resources.of(VCPU=2))),
    }  # fmt: skip


def test_while_nova_is_silent_nothing_starts_and_only_what_a_quota_could_hold_waits_for_it() -> (
    None
):
    private = kind(1, quota=QuotaKind.PRIVATE, association=2)
    jobs = [
        (1, kind(2), 9), (2, in_group(), 8), (3, in_zone("az1"), 7), (4, kind(8), 6), (5, private, 5),
        (6, kind(1, association=3), 4),
    ]  # fmt: skip
    snapshot, plan = decided(jobs, Facts(silent=True), vcpus=4, suspended=[3])
    waiting = snapshot.waiting
    reasons = {
        rid(jobs[number][0]): plan.reason_of(row)
        for row in range(len(waiting))
        for number in range(len(jobs))
        if waiting.lines[row].id_at(0) == packed([jobs[number][0]])
    }
    assert plan.decisions == ()
    assert reasons == {
        rid(1): Reason.NOVA_DOWN, rid(2): Reason.NOVA_DOWN, rid(3): Reason.NOVA_DOWN,
        rid(4): Reason.NO_FREE_QUOTA, rid(5): Reason.NO_FREE_QUOTA,
        rid(6): Reason.PROJECT_SUSPENDED,
    }  # fmt: skip
    assert not plan.lacks - {LacksZones(frozenset({"az1"}))}


def test_nothing_is_lacking_that_no_decision_rests_on() -> None:
    _, plan = decided([(1, kind(9), 9)], NO_FACTS, vcpus=4)
    assert not plan.lacks


def test_a_zone_that_is_gone_is_refused_and_others_start() -> None:
    _, plan = decided([(1, in_zone("az1"), 9), (2, in_zone("az2"), 8)])
    assert len(started(plan)) == 2
    jobs = [(1, in_zone("az1"), 9), (2, in_zone("az2"), 8), (3, in_zone("az2"), 7)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    facts = replace(facts_of(snapshot), zones=frozenset({"az1"}))
    plan = decide(snapshot, facts, policy)
    assert started(plan) == [rid(1)]
    refused = [d for d in plan.decisions if d.outcome is Outcome.REJECT]
    assert [d.request_id for d in refused] == [rid(2), rid(3)]
    assert {d.why for d in refused} == {
        "asks for availability zone az2, which does not exist any more"
    }


def test_of_a_group_one_goes_at_a_time_and_smaller_members_do_not_slip_in() -> None:
    jobs = [(1, in_group(2), 9), (2, in_group(2), 8), (3, in_group(1), 7), (4, kind(1), 6)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    plan = decide(snapshot, replace(facts_of(snapshot), groups={"g": False}), policy)
    assert started(plan) == [rid(1), rid(4)]
    assert plan.reason_of(0) is plan.reason_of(1) is Reason.PRIORITY
    assert plan.look_at_s == snapshot.at_s + GROUP_CHECK_S
    busy = decide(snapshot, replace(facts_of(snapshot), groups={"g": True}), policy)
    assert started(busy) == [rid(4)]


def test_a_member_that_finds_no_host_does_not_take_its_groups_turn() -> None:
    jobs = [(1, in_group(2), 9), (2, in_group(1), 8)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    facts = replace(facts_of(snapshot, fragmented=[2]), groups={"g": False})
    assert started(decide(snapshot, facts, policy)) == [rid(2)]


def test_a_class_rests_then_one_is_tried_then_it_waits_for_the_outcome() -> None:
    jobs = [(1, kind(2), 9), (2, kind(2), 8), (3, kind(1), 7)]
    snapshot, plan = decided(jobs, rests={kind(2): 1e6 + 30})
    assert started(plan) == [rid(3)]
    assert plan.reason_of(0) is Reason.FRAGMENTED
    assert plan.look_at_s == snapshot.at_s + 30
    _, plan = decided(jobs, rests={kind(2): 1e6})
    assert started(plan) == [rid(1), rid(3)]
    assert plan.reason_of(0) is Reason.FRAGMENTED
    snapshot, plan = decided(jobs, rests={kind(2): inf})
    assert started(plan) == [rid(3)]
    assert plan.look_at_s == snapshot.at_s + HOST_CHECK_S


def test_what_finds_no_host_leaves_its_quota_to_others_in_the_same_round() -> None:
    jobs = [(1, kind(3), 9), (2, kind(1), 8)]
    snapshot, policy = snapshot_of(jobs, vcpus=3)
    facts = facts_of(snapshot, fragmented=[3])
    plan = decide(snapshot, facts, policy)
    assert started(plan) == [rid(2)]
    assert plan.reason_of(0) is Reason.FRAGMENTED
    assert plan.book.shared_used[0].tolist() == [1]
    assert plan.complete


def test_what_is_on_its_way_to_some_host_takes_its_room_first() -> None:
    jobs = [(n, kind(3), 9 - n) for n in range(1, 4)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    shape = snapshot.shape_at(0)
    facts = Facts(rooms={shape: room(5, 5)}, in_flight=(Shape(Resources.of(VCPU=3)),))
    plan = decide(snapshot, facts, policy)
    assert started(plan) == [rid(1)]
    assert plan.reason_of(0) is Reason.FRAGMENTED
    assert plan.look_at_s == snapshot.at_s + HOST_CHECK_S


def test_what_is_on_its_way_to_a_zone_takes_no_room_elsewhere() -> None:
    zoned = ((AVAILABILITY_ZONE, "a"),)
    jobs = [(1, kind(4, constraints=zoned), 9), (2, kind(6), 8)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    in_a, anywhere = Shape(Resources.of(VCPU=4), zoned), Shape(Resources.of(VCPU=6))
    five, six = {"a1": Resources.of(VCPU=5)}, {"b1": Resources.of(VCPU=6)}
    facts = Facts(zones=frozenset("a"), rooms={in_a: five, anywhere: six}, in_flight=(in_a,))
    plan = decide(snapshot, facts, policy)
    assert started(plan) == [rid(2)]


def test_a_rest_holds_for_whatever_the_same_user_asks_alike_and_tries_one_of_it() -> None:
    own = kind(2, quota=QuotaKind.PRIVATE, on_full=OnPrivateFull.SHARED)
    jobs = [(1, own, 9), (2, kind(2, nice=1), 8), (3, kind(2, association=2), 7)]
    _, plan = decided(jobs, rests={kind(2): 1e6 + 30})
    assert started(plan) == [rid(3)]
    _, plan = decided(jobs, rests={kind(2): 1e6})
    assert started(plan) == [rid(3), rid(1)] or started(plan) == [rid(1), rid(3)]


@pytest.mark.parametrize("ages", [(9, 8), (8, 9)])
def test_who_is_refused_when_his_quota_is_full_is_so_whoever_finds_no_host(
    ages: tuple[int, int],
) -> None:
    """Another's request that no host has room for, of the same shape, changes nothing for him."""
    full = kind(3, association=1, quota=QuotaKind.PRIVATE, on_full=OnPrivateFull.REJECT)
    other = kind(3, association=2, quota=QuotaKind.PRIVATE)
    nodes = (
        QuotaNode(node_id="u1", parent_id="root", private=Resources.of(VCPU=1)),
        QuotaNode(node_id="u2", parent_id="root", private=Resources.of(VCPU=9)),
    )
    jobs = [(1, full, ages[0]), (2, other, ages[1])]
    snapshot, policy = snapshot_of(jobs, vcpus=100, nodes=nodes)
    plan = decide(snapshot, facts_of(snapshot, fragmented=[3]), policy)
    assert [(d.request_id, d.outcome) for d in plan.decisions] == [(rid(1), Outcome.REJECT)]


def test_the_order_in_which_facts_came_does_not_matter() -> None:
    jobs = [(1, kind(2), 9), (2, kind(3), 8)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    rooms = [(Shape(Resources.of(VCPU=v)), room(3, 3)) for v in (2, 3)]
    with_settings = [(shape, dict(reversed(hosts.items()))) for shape, hosts in reversed(rooms)]
    away = (Shape(Resources.of(VCPU=1)),)
    plans = [
        decide(snapshot, Facts(rooms=dict(one), in_flight=away), policy)
        for one in (rooms, with_settings)
    ]  # fmt: skip
    assert started(plans[0]) == started(plans[1])


def test_a_member_that_is_older_than_its_class_is_walked_as_the_oldest() -> None:
    snapshot, policy = snapshot_of([(1, kind(1), 5), (2, kind(1, nice=1), 50)], vcpus=1)
    waiting, row = snapshot.waiting.with_class(kind(1), [rid(9)], snapshot.at_s - 100)
    assert waiting.head_queued_at_s[row] == snapshot.at_s - 100
    plan = decide(replace(snapshot, waiting=waiting), facts_of(snapshot), policy)
    assert started(plan) == [rid(9)]
    assert waiting.without_member(row, rid(9), snapshot.at_s - 100).request_count == 2
    gone = snapshot.waiting.without_member(row, rid(1), snapshot.at_s - 5)
    assert gone.class_id.tolist() == [2]


def test_ten_thousand_classes_without_a_host_are_not_looked_at_one_by_one() -> None:
    jobs = [(n, kind(2, nice=n), n) for n in range(1, 10_001)]
    snapshot, policy = snapshot_of(jobs, vcpus=100)
    asked: list[Shape] = []

    class Counted(dict[Shape, Mapping[str, Resources]]):
        def get(self, key: Shape, default: Any = None) -> Any:
            asked.append(key)
            return super().get(key, default)

    facts = replace(facts_of(snapshot, fragmented=[2]), rooms=Counted(facts_of(
        snapshot, fragmented=[2]).rooms))  # fmt: skip
    plan = decide(snapshot, facts, policy)
    assert not plan.decisions
    assert len(asked) <= 2
    assert {plan.reason_of(row) for row in range(len(snapshot.waiting))} == {Reason.FRAGMENTED}


jobs = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(1, 3), st.sampled_from([None, "g1", "g2"]),
        st.integers(0, 3),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=150)
@given(
    jobs,
    st.integers(0, 30),
    st.lists(st.integers(0, 6), min_size=1, max_size=3),
    st.lists(st.integers(1, 4), max_size=2),
)
def test_a_plan_never_contradicts_itself(
    found: Sequence[tuple[int, int, str | None, int]],
    vcpus: int,
    hosts: Sequence[int],
    away: Sequence[int],
) -> None:
    """What starts fits the hosts beside what is under way, one of each group starts, and the book
    holds what was held and what starts, nothing else."""
    given_ = [
        (n, kind(v, association=a, constraints=((SERVER_GROUP, group),) if group else ()),
         age)
        for n, (v, a, group, age) in enumerate(found, start=1)
    ]  # fmt: skip
    snapshot, policy = snapshot_of(given_, vcpus=vcpus)
    shapes = [snapshot.shape_at(n) for n in range(len(snapshot.demand))]
    facts = Facts(
        groups={"g1": False, "g2": False},
        rooms={one: room(*hosts) for one in shapes},
        in_flight=tuple(Shape(Resources.of(VCPU=v)) for v in away),
    )
    plan = decide(snapshot, facts, policy)
    assert not plan.lacks
    starts = [d for d in plan.decisions if d.outcome is Outcome.DISPATCH]
    vcpu = [int(snapshot.demand[snapshot.waiting.shape[d.class_row], 0]) for d in starts]
    assert sum(vcpu) == int(plan.book.shared_used[0, 0] - snapshot.book.shared_used[0, 0])
    assert sum(vcpu) <= sum(hosts)
    groups = [
        dict(snapshot.waiting.placement[snapshot.waiting.shape[d.class_row]]).get(SERVER_GROUP)
        for d in starts
    ]
    named = [group for group in groups if group]
    assert len(named) == len(set(named))
    assert np.array_equal(np.bincount([d.class_row for d in starts],
                                      minlength=len(plan.taken)), plan.taken)  # fmt: skip
    again = decide(snapshot, facts, policy)  # a snapshot is not used up
    assert [d.request_id for d in again.decisions] == [d.request_id for d in plan.decisions]


@pytest.mark.parametrize("seen", [1, 3])
def test_what_if_stands_where_the_same_request_would_stand(seen: int) -> None:
    """A queue with a class more is the queue that the same requests would have made."""
    old = [(n, kind(1 + n % 2, nice=n % 3), 100 - n) for n in range(1, 10)]
    asked = kind(1, nice=1) if seen == 3 else kind(7, nice=seen)
    made, _ = snapshot_of([*old, (90, asked, 0), (91, asked, 0)], vcpus=1)
    before, _ = snapshot_of(old, vcpus=1)
    waiting, row = before.waiting.with_class(asked, [rid(90), rid(91)], before.at_s)
    assert row == (len(before.waiting) if seen == 1 else row)

    def lines(queue: Waiting) -> dict[tuple[tuple[int64], int], list[bytes]]:
        return {
            (tuple(queue.demand[queue.shape[n]]), int(queue.nice[n])): [
                queue.lines[n].id_at(at) for at in range(int(queue.first[n]), int(queue.end[n]))
            ]
            for n in range(len(queue))
        }

    assert lines(waiting) == lines(made.waiting)
    assert before.waiting.request_count == 9  # the queue itself is as it was
