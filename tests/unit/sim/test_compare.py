"""Policies are compared by numbers that a reader can work out by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from synergy.core.delivery import entitled
from synergy.core.errors import InvalidInput
from synergy.core.shares import Floats
from synergy.sim import comparison, comparison_page, fixed_quota, forward, swf
from synergy.sim.compare import Comparison, compared, outcomes_of, with_fixed_quotas
from synergy.sim.measures import measure
from synergy.sim.records import JobRecord, Outcome
from synergy.sim.swf import Job, Workload
from tests.unit.sim.test_simulate import EXCERPT, command, job

QUIET: dict[str, Any] = {"progress": lambda *_: None}


def record(
    number: int,
    project: str,
    vcpus: int,
    submit_s: float,
    start_s: float | None,
    end_s: float | None,
    outcome: Outcome = Outcome.FINISHED,
) -> JobRecord:
    made = job(number, submit_s, (end_s or submit_s) - (start_s or submit_s), vcpus)
    return JobRecord(made, project, outcome, start_s, end_s)


def compare(
    jobs: Sequence[Job], policies: Sequence[str] = ("fifo", "easy"), **options: Any
) -> Comparison:
    values: dict[str, Any] = {
        "of": "a log",
        "vcpus": 8,
        "order": "submit",
        "boot_s": 0.0,
        "processes": 1,
    }
    return compared(Workload(tuple(jobs), {}), policies, forward.run, **(values | options | QUIET))


def test_the_numbers_of_a_policy_are_those_by_hand() -> None:
    found = measure(
        outcomes_of(
            [
                record(1, "a", 4, 0.0, 0.0, 100.0),
                record(2, "b", 4, 0.0, 100.0, 105.0),  # a run of 5 s counts as one of 10
                record(3, "b", 9, 0.0, None, None, Outcome.NEVER_FITS),
                record(4, "a", 1, 55.0, None, None, Outcome.WAITING),
            ],
            vcpus=4,
        )
    )
    assert found.utilisation == pytest.approx((400 + 20) / (4 * 105))
    assert (found.whole.requests, found.whole.started, found.whole.refused) == (4, 2, 1)
    assert found.whole.waits.mean == 50.0
    assert found.whole.slowdown == pytest.approx((1.0 + 10.5) / 2)
    assert found.whole.starvation_s == 100.0
    a, b = found.projects
    assert (a.starvation_s, b.starvation_s) == (50.0, 100.0)
    assert a.delivered == pytest.approx(400 / 420)
    assert b.delivered == pytest.approx(20 / 420)


@pytest.mark.parametrize(
    ("b_submits_s", "error"),
    [
        pytest.param(0.0, 0.5, id="b waits for all of the time that a has everything"),
        pytest.param(50.0, 0.25, id="b asks for the second half only"),
        pytest.param(100.0, 0.0, id="nobody else asks"),
    ],
)
def test_the_share_error_is_what_some_had_that_was_owed_to_others(
    b_submits_s: float, error: float
) -> None:
    records = [
        record(1, "a", 4, 0.0, 0.0, 100.0),
        record(2, "b", 4, b_submits_s, 100.0, 200.0),
        record(3, "a", 4, 100.0, 200.0, 201.0),  # until then requests arrive
    ]
    assert measure(outcomes_of(records, vcpus=4)).share_error == pytest.approx(error, abs=0.01)


amounts = st.floats(0, 1e6).map(lambda one: round(one, 3))


@given(
    arrays.arrays(np.float64, (3, 4), elements=amounts),
    arrays.arrays(np.float64, (4,), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    st.floats(0, 1),
)
def test_what_was_used_is_owed_to_somebody_who_asked_for_it_and_by_the_shares(
    asked: Floats, promised: Floats, part: float
) -> None:
    used = asked.sum(axis=1) * part
    owed = entitled(used, asked, promised)
    assert owed.sum(axis=1) == pytest.approx(used, rel=1e-9, abs=1e-3)
    assert (owed <= asked + 1e-3).all()
    for window in range(3):  # who is owed less than asked for is owed as much by share as any other
        level = [
            owed[window, one] / promised[one]
            for one in range(4)
            if promised[one] and owed[window, one] < asked[window, one] - 1e-3
        ]
        below = [owed[window, one] / promised[one] for one in range(4) if promised[one]]
        assert not level or min(level) == pytest.approx(max(level), rel=1e-6, abs=1e-2)
        assert not level or max(below) <= max(level) + 1e-2


def test_fixed_quotas_reject_what_their_project_has_no_room_for() -> None:
    jobs = [job(1, 0, 10, 4, group="a"), job(2, 1, 10, 4, group="b"), job(3, 2, 10, 4, group="a"),
            job(4, 10, 10, 4, group="a"), job(5, 11, 10, 4, group="b")]  # fmt: skip
    found = with_fixed_quotas([JobRecord(one, str(one.group)) for one in jobs], vcpus=8, boot_s=0.0)
    quota = fixed_quota.by_demand(8, {"a": 120.0, "b": 80.0})
    assert {name: dict(one) for name, one in quota.items()} == {"a": {"VCPU": 5}, "b": {"VCPU": 3}}
    assert found.refused.tolist() == [False, True, True, False, True]
    assert measure(found).utilisation == pytest.approx(80 / (8 * 20))


@given(st.integers(1, 50), st.lists(st.floats(0.1, 1e6), min_size=1, max_size=9))
def test_quotas_by_demand_give_everything_away_and_nothing_twice(vcpus: Any, demanded: Any) -> None:
    parts = fixed_quota.by_demand(vcpus, {str(n): one for n, one in enumerate(demanded)})
    assert sum(one.get("VCPU", 0) for one in parts.values()) == vcpus


def test_a_comparison_replays_as_each_policy_does_alone_in_processes_of_their_own_too() -> None:
    workload = swf.read(EXCERPT)
    options: dict[str, Any] = {"vcpus": 100, "order": "submit"}
    alone = {
        name: outcomes_of(forward.run(workload, discipline=name, **options).records, 100)
        for name in ("fifo", "easy")
    }
    for processes in (1, 2):
        found = compare(workload.jobs, processes=processes, **options)
        for policy in found.policies:
            np.testing.assert_array_equal(policy.outcomes.start_s, alone[policy.name].start_s)
    assert alone["fifo"].start_s.tolist() != alone["easy"].start_s.tolist()


HOSTILE = "<script>alert('x')</script>$\\frac{_"


def test_a_page_escapes_what_comes_from_a_log_and_needs_nothing_from_anywhere() -> None:
    jobs = [job(n, n, 10, 1 + n % 4, group=HOSTILE if n % 2 else "_hidden") for n in range(20)]
    page = comparison_page.html_of(compare(jobs, ("fifo", "easy", "greedy"), of=HOSTILE))
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/svg+xml;base64,") == 5
    assert "http" not in page.replace("http-equiv", "")


def test_who_gains_and_who_loses_is_told_by_the_first_policy() -> None:
    jobs = [job(1, 0, 100, 6, group="wide"), job(2, 1, 10, 8, group="wide"),
            job(3, 2, 10, 2, group="narrow")]  # fmt: skip
    found = compare(jobs, ("fifo", "easy"))
    (gain,) = comparison_page.changes_s(*found.policies)
    assert gain == ("group-narrow", -108.0)
    assert "easy starts 3 of them" in comparison.headline(found)


def test_the_command_compares_and_writes_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    options = ["simulate", EXCERPT, "--vcpus", "100", "--compare", "easy,fifo", "--order", "submit"]
    done = command(*options, "-f", "json", "--report", page, "--jobs", "2")
    found = json.loads(done.stdout)
    assert [one["policy"] for one in found["policies"]] == ["easy", "fifo"]
    easy, fifo = found["policies"]
    for one in (easy, fifo, found["fixed_quotas"]):
        assert {"wait_s", "bounded_slowdown", "utilisation", "share_error", "starvation_age_s",
                "projects"} <= set(one)  # fmt: skip
        assert sum(project["requests"] for project in one["projects"]) == found["requests"] == 201
    assert easy["wait_s"]["mean"] < fifo["wait_s"]["mean"]
    assert "100%" in done.stderr
    assert page.read_text().startswith("<!doctype html>")
    table = command(*options, "--jobs", "1").stdout
    assert "fixed quotas" in table
    assert "…" not in table


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--compare", "fifo,lottery"], "--compare names 'lottery', but a policy is one of fifo"),
        (["--compare", "fifo,"], "--compare names '', but a policy is one of"),
        (["--compare", "fifo,fifo"], "--compare names fifo twice"),
        (["--compare", "fifo", "--policy", "easy"], "not allowed with argument"),
        (["--compare", "fifo", "--jobs", "0"], "--jobs is '0', but must be a whole number from 1"),
        (["--compare", "fifo", "--trace-out", "t.csv"], "--trace-out writes the requests of one"),
        (["--report", "/no/such/place.html"], "--report /no/such/place.html: No such file"),
        (["--report", "/"], "--report /: is a folder"),
    ],
)
def test_a_wrong_comparison_ends_with_one_line(arguments: list[str], told: str) -> None:
    done = command("simulate", EXCERPT, "--vcpus", "4", *arguments, ok=False)
    assert done.stdout == ""
    assert told in done.stderr.splitlines()[-1]


def test_a_process_that_dies_is_told_and_does_not_hang() -> None:
    with pytest.raises(InvalidInput, match="try it with --jobs 1"):
        compared(Workload(tuple(swf.read(EXCERPT).jobs), {}), ("fifo", "easy"), dies,
                 of="", vcpus=4, order="submit", boot_s=0.0, processes=2, **QUIET)  # fmt: skip


def dies(*_: Any, **__: Any) -> NoReturn:
    import os

    os._exit(3)
