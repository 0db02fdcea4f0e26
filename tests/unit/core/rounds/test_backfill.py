"""Who may pass whom, and what is reserved: rounds by themselves, and whole runs of them."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synergy.core.accounts import user_node
from synergy.core.explain import reserved_at_s
from synergy.core.model import RequestClass, Resources
from synergy.core.priority import Weights
from synergy.core.quota import Claim, QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Discipline, Plan, Policy, Snapshot
from synergy.core.rounds.timeline import Arrival, Timeline
from tests.builders import Job, kind, plan_of, rid

BY_AGE = Weights(age=0, fairshare=0)
EASY, SJBF, CONSERVATIVE = Discipline.EASY, Discipline.EASY_SJBF, Discipline.CONSERVATIVE
GOLDEN = Path(__file__).parents[5] / "shared" / "sim-golden"
KTH = GOLDEN.parent / "traces" / "KTH-SP2-1996-2-full.swf.gz"

# 4 VCPU, 3 of them held until 100 s from now: the first asks for 4, so it starts then.
HEAD: Job = (1, kind(4, ttl_s=50), 9)
CLAIMED: dict[str, Any] = {
    "claims": [Claim("u5", shared=Resources.of(VCPU=3))],
    "ends": [(100, 5, 3)],
    "vcpus": 4,
}


def outcomes(jobs: Sequence[Job], **more: Any) -> dict[str, str]:
    values: dict[str, Any] = {"weights": BY_AGE, "discipline": EASY} | CLAIMED | more
    return plan_of(jobs, **values)[1]


@pytest.mark.parametrize(
    ("second", "more", "expected"),
    [
        pytest.param(kind(1, ttl_s=100), {}, "dispatch", id="ends just in time"),
        pytest.param(kind(1, ttl_s=101), {}, "backfill_would_delay", id="ends a second too late"),
        pytest.param(kind(1), {}, "reserved_for_other", id="has no end"),
        pytest.param(kind(1), {"ends": None}, "dispatch", id="no end can be relied on"),
        pytest.param(kind(1), {"ends": []}, "dispatch", id="no end is known, so none is delayed"),
        pytest.param(kind(2, ttl_s=10), {}, "no_free_quota", id="does not fit"),
        pytest.param(kind(1, ttl_s=900), {"discipline": Discipline.GREEDY}, "dispatch", id="greedy"),
        pytest.param(kind(1, ttl_s=9), {"discipline": Discipline.FIFO}, "priority", id="fifo"),
        pytest.param(kind(1, ttl_s=100), {"discipline": CONSERVATIVE}, "dispatch", id="cons."),
        pytest.param(
            kind(1, ttl_s=101), {"discipline": CONSERVATIVE}, "backfill_would_delay",
            id="conservative reserves too",
        ),
    ],
)  # fmt: skip
def test_who_passes_the_first_that_does_not_fit(
    second: RequestClass, more: dict[str, Any], expected: str
) -> None:
    told = outcomes([HEAD, (2, second, 1)], **more)
    assert told == {rid(1): "no_free_quota", rid(2): expected}


def test_who_fits_beside_the_reservation_passes_however_long_it_lives() -> None:
    told = outcomes([(1, kind(3), 9), (2, kind(1), 1)])
    assert told == {rid(1): "no_free_quota", rid(2): "dispatch"}


def test_what_passed_is_not_there_for_the_next() -> None:
    """1 VCPU is free beside the head when that starts: whoever comes first has it."""
    jobs = [(1, kind(4), 9), (2, kind(1), 2), (3, kind(1), 1)]
    told = outcomes(jobs, vcpus=5)
    assert told == {rid(1): "no_free_quota", rid(2): "dispatch", rid(3): "reserved_for_other"}


def test_as_many_are_reserved_for_as_the_depth_says() -> None:
    """The second starts at 150 s; a third that lives for 120 s delays it, not the first."""
    jobs = [(1, kind(3, ttl_s=50), 9), (2, kind(4, ttl_s=9), 8), (3, kind(1, ttl_s=151), 1)]
    assert outcomes(jobs)[rid(3)] == "dispatch"
    assert outcomes(jobs, reserve_depth=2)[rid(3)] == "backfill_would_delay"


def test_one_that_no_known_end_helps_takes_the_reservation_from_nobody() -> None:
    """5 VCPU never come free, since 2 are held without end; the second starts at 100 s."""
    claims = [Claim("u5", shared=Resources.of(VCPU=3)), Claim("u6", shared=Resources.of(VCPU=2))]
    jobs = [(1, kind(5), 9), (2, kind(4), 8), (3, kind(1, ttl_s=101), 1)]
    told = outcomes(jobs, vcpus=6, claims=claims)
    assert told[rid(3)] == "backfill_would_delay"


def test_members_of_one_class_are_reserved_for_one_by_one() -> None:
    jobs = [(1, kind(3, ttl_s=50), 9), (2, kind(3, ttl_s=50), 8)]
    plan, _ = plan_of(jobs, weights=BY_AGE, discipline=EASY, reserve_depth=2, **CLAIMED)
    assert plan.reservations == {0: [1e6 + 100, 1e6 + 150]}


def test_a_limit_on_the_way_counts_for_a_reservation() -> None:
    """The pool has room at 10 s, the user's limit at 100 s."""
    limit = QuotaNode(node_id="u1", parent_id="root", borrow_limit=Resources.of(VCPU=3))
    plan, _ = plan_of(
        [(1, kind(2, ttl_s=50), 9)], vcpus=5, nodes=[limit], weights=BY_AGE, discipline=EASY,
        claims=[Claim("u1", shared=Resources.of(VCPU=1)), Claim("u5", shared=Resources.of(VCPU=3))],
        ends=[(10, 5, 3), (100, 1, 1)],
    )  # fmt: skip
    assert plan.reservations == {0: [1e6 + 10]}
    plan, _ = plan_of(
        [(1, kind(3, ttl_s=50), 9)], vcpus=5, nodes=[limit], weights=BY_AGE,
        discipline=CONSERVATIVE,
        claims=[Claim("u1", shared=Resources.of(VCPU=0)), Claim("u5", shared=Resources.of(VCPU=3))],
        ends=[(10, 5, 3)], reserved={1: [30.0]},
    )  # fmt: skip
    assert plan.reservations == {0: [1e6 + 10]}, "it moves to where there is room"


def test_what_is_overdue_is_about_to_end() -> None:
    plan, told = plan_of(
        [HEAD, (2, kind(1, ttl_s=60), 1)], weights=BY_AGE, discipline=EASY,
        **(CLAIMED | {"ends": [(-30, 5, 3)]}),
    )  # fmt: skip
    assert told == {rid(1): "no_free_quota", rid(2): "backfill_would_delay"}
    assert plan.reservations == {0: [1e6 + 1]}


def test_the_shortest_passes_first() -> None:
    jobs = [HEAD, (2, kind(1, ttl_s=90), 8), (3, kind(1, ttl_s=30), 1)]
    assert outcomes(jobs)[rid(2)] == "dispatch"
    told = outcomes(jobs, discipline=SJBF)
    assert told == {rid(1): "no_free_quota", rid(2): "no_free_quota", rid(3): "dispatch"}


def test_many_that_may_not_pass_do_not_stop_one_that_may() -> None:
    jobs = [HEAD, *((n, kind(1, ttl_s=100 + n), 8) for n in range(2, 200))]
    jobs.append((999, kind(1, ttl_s=5), 1))
    told = outcomes(jobs)
    assert told.pop(rid(999)) == "dispatch"
    assert set(told.values()) == {"no_free_quota"}


# --- whole runs -----------------------------------------------------------------------------------

Row = tuple[int, int, int, int]  # arrival, run time, lifetime in seconds, VCPU
logs = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 30), st.integers(0, 20), st.integers(1, 5)).map(
        lambda row: (row[0], row[1], row[1] + row[2], row[3])
    ),
    max_size=25,
).map(sorted)


def tree_of(vcpus: int) -> QuotaTree:
    nodes = (
        QuotaNode(node_id="root", parent_id=None),
        QuotaNode(node_id=user_node(1), parent_id="root"),
        QuotaNode(
            node_id=user_node(2), parent_id="root", borrow_limit=Resources.of(VCPU=vcpus // 2 + 1)
        ),
    )
    total = Resources.of(VCPU=vcpus)
    state = QuotaState(total=total, installed=total, hosts=(total,), nodes=nodes)
    return QuotaTree(state, ("VCPU",))


def arrivals_of(rows: Sequence[Row], *, users: int = 1) -> Iterator[Arrival]:
    for number, (at_s, run_s, ttl_s, vcpus) in enumerate(rows):
        one = kind(vcpus, association=1 + number % users, ttl_s=ttl_s)
        yield Arrival(at_s=float(at_s), request_id=rid(number), kind=one, held_s=float(run_s))


class Watched:
    """A run, and the first reservation of every request."""

    def __init__(
        self, rows: Sequence[Row], discipline: Discipline, *, vcpus: int = 5, users: int = 1
    ) -> None:
        self.first: dict[int, float] = {}
        policy = Policy(discipline=discipline, weights=BY_AGE, round_size=10**6)
        timeline = Timeline(
            tree_of(vcpus), policy, arrivals_of(rows, users=users), on_round=self._note
        )
        left = [(int(UUID(one.request_id)), one) for one in timeline.run()]
        self.started = {number: one.at_s for number, one in left if one.quota is not None}
        self.refused = {number for number, one in left if one.quota is None}
        self.waiting = timeline.waiting

    def _note(self, snapshot: Snapshot, plan: Plan) -> None:
        waiting = snapshot.waiting
        for row in plan.reservations:
            for place in range(int(waiting.first[row] + plan.taken[row]), int(waiting.end[row])):
                key, queued_at_s = waiting.lines[row].id_at(place), waiting.lines[row].queued_at_s
                at_s = reserved_at_s(snapshot, plan, row, key, queued_at_s[place])
                if at_s is not None:
                    self.first.setdefault(int(UUID(bytes=key)), at_s)


def plainest(rows: Sequence[Row], vcpus: int, *, passing: bool) -> dict[int, float]:
    """FIFO, or EASY for one kind of resource, in the plainest way: second by second."""
    started: dict[int, float] = {}
    now = 0
    while len(started) < len(rows):
        free = vcpus - sum(r[3] for n, r in enumerate(rows) if runs(started, n, r, now))
        queue = [n for n, row in enumerate(rows) if row[0] <= now and n not in started]
        while queue and rows[queue[0]][3] <= free:
            free -= rows[queue[0]][3]
            started[queue.pop(0)] = now
        if queue and passing:
            head = rows[queue[0]][3]
            until = now
            while room_at(rows, started, vcpus, now, until) < head:
                until += 1
            for n in queue[1:]:
                beside = room_at(rows, started, vcpus, now, until) - head
                in_time = now + rows[n][2] <= until
                if rows[n][3] <= free and (in_time or rows[n][3] <= beside):
                    free -= rows[n][3]
                    started[n] = now
        now += 1
    return {n: float(at_s) for n, at_s in started.items()}


def runs(started: Mapping[int, float], number: int, row: Row, now: float) -> bool:
    return number in started and started[number] <= now < started[number] + row[1]


def room_at(
    rows: Sequence[Row], started: Mapping[int, float], vcpus: int, now: float, at_s: float
) -> int:
    """What is free at an instant, if whatever runs now uses its whole lifetime."""
    return vcpus - sum(
        row[3]
        for number, row in enumerate(rows)
        if runs(started, number, row, now) and started[number] + row[2] > at_s
    )


@settings(max_examples=60, deadline=None)
@given(logs)
def test_fifo_and_easy_start_what_the_plainest_replay_starts(rows: list[Row]) -> None:
    assert Watched(rows, Discipline.FIFO).started == plainest(rows, 5, passing=False)
    assert Watched(rows, EASY).started == plainest(rows, 5, passing=True)


@settings(max_examples=60, deadline=None)
@given(logs, st.sampled_from([EASY, SJBF, CONSERVATIVE]))
def test_nothing_starts_later_than_what_was_reserved_for_it_first(
    rows: list[Row], discipline: Discipline
) -> None:
    run = Watched(rows, discipline)
    late = {n: (at_s, run.started[n]) for n, at_s in run.first.items() if run.started[n] > at_s}
    assert not late


@settings(max_examples=60, deadline=None)
@given(logs, st.sampled_from(Discipline))
def test_nothing_is_overcommitted_and_all_that_can_start_do(
    rows: list[Row], discipline: Discipline
) -> None:
    run = Watched(rows, discipline, users=2)
    assert not run.waiting
    assert run.refused == {n for n, row in enumerate(rows) if n % 2 and row[3] > 3}
    assert run.started.keys() == set(range(len(rows))) - run.refused
    for now in {*run.started.values()}:
        held = [n for n, row in enumerate(rows) if runs(run.started, n, row, now)]
        assert sum(rows[n][3] for n in held) <= 5
        assert sum(rows[n][3] for n in held if n % 2) <= 3


@settings(max_examples=60, deadline=None)
@given(logs)
def test_the_first_of_the_queue_never_starts_later_than_without_passing(
    rows: list[Row],
) -> None:
    """Given the same past, whoever passes delays the head of the queue by nothing."""
    easy = Watched(rows, EASY).started
    for number, at_s in Watched(rows, Discipline.FIFO).started.items():
        ahead = [n for n in range(number) if easy[n] > easy[number]]
        if not ahead and number == min(easy, key=lambda n: (easy[n], n)):
            assert easy[number] <= at_s


@pytest.mark.slow
@pytest.mark.skipif(not KTH.exists(), reason="the logs lie beside the project, if anywhere")
@pytest.mark.parametrize("discipline", [Discipline.FIFO, EASY])
def test_the_whole_kth_log_starts_as_recorded(discipline: Discipline) -> None:
    recorded = [line.split(",") for line in _lines(f"kth-full-{discipline}.csv.gz")[1:]]
    rows = _kth_rows()
    started = Watched(rows, discipline, vcpus=100).started
    assert [started[number] for number in range(len(rows))] == [
        float(start_s) for _, _, start_s in recorded
    ]


@pytest.mark.slow
@pytest.mark.skipif(not KTH.exists(), reason="the logs lie beside the project, if anywhere")
def test_conservative_serves_the_whole_kth_log_as_another_group_found() -> None:
    """They differ in details of compression: 3 % of the mean bounded slowdown that the group's
    simulator of 2007 has. Whatever is reserved for a job first is kept."""
    rows = _kth_rows()
    run = Watched(rows, CONSERVATIVE, vcpus=100)
    assert not {n: at_s for n, at_s in run.first.items() if run.started[n] > at_s}
    slowdowns = [
        max(1.0, (run.started[number] - at_s + run_s) / max(run_s, 10))
        for number, (at_s, run_s, _, _) in enumerate(rows)
    ]
    assert sum(slowdowns) / len(slowdowns) == pytest.approx(88.9973, rel=0.03)


def _lines(name: str) -> list[str]:
    with gzip.open(GOLDEN / name, "rt") as file:
        return file.read().split()


def _kth_rows() -> list[Row]:
    """Every row of the log that has processors and a run time, in file order."""
    rows = []
    with gzip.open(KTH, "rt") as file:
        for line in file:
            fields = line.split()
            if not fields or fields[0].startswith(";"):
                continue
            run_s, limit_s = int(fields[3]), int(fields[8])
            vcpus = int(fields[7]) if int(fields[7]) > 0 else int(fields[4])
            if vcpus > 0 and run_s > 0:
                limit_s = limit_s if limit_s > 0 else run_s
                rows.append((int(fields[1]), min(run_s, limit_s), limit_s, vcpus))
    return rows
