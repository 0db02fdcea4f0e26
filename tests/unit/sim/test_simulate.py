import csv
import gzip
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.bench_replay import made_up
from synergy.core.errors import InvalidInput
from synergy.core.rounds import Discipline
from synergy.sim import forward, records, replay, swf
from synergy.sim.records import JobRecord, Replay
from synergy.sim.swf import BadLine, Job, Workload

EXCERPT = Path(__file__).parents[2] / "data" / "kth-sp2-excerpt.swf"
KTH = Path(__file__).parents[4] / "shared" / "traces" / "KTH-SP2-1996-2.1-cln.swf.gz"
LINE = "1 0 5 10 4 -1 -1 4 20 -1 1 7 3 -1 -1 -1 -1 -1"


def job(
    number: int,
    submit_s: float,
    run_s: float,
    vcpus: int,
    requested_s: float | None = None,
    group: str = "g",
) -> Job:
    return Job(
        number=number, submit_s=float(submit_s), run_s=float(run_s), vcpus=vcpus,
        requested_s=requested_s, memory_mb=None, user="u", group=group,
    )  # fmt: skip


def replayed(jobs: list[Job], **options: Any) -> Replay:
    values: dict[str, Any] = {"vcpus": 8, "discipline": "fifo", "order": "submit"} | options
    return replay.run(Workload(tuple(jobs), {}), **values)


def test_a_log_is_read_plain_and_packed(tmp_path: Path) -> None:
    packed = tmp_path / "log.gz"
    packed.write_bytes(gzip.compress(EXCERPT.read_bytes()))
    plain = swf.read(EXCERPT)
    assert plain == swf.read(packed)
    assert len(plain.jobs) == 201
    first = plain.jobs[0]
    assert (first.number, first.submit_s, first.run_s, first.vcpus) == (15, 599850, 3477, 4)
    assert (first.requested_s, first.memory_mb, first.group) == (53940, None, "12")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1 2 3", "has 3 fields, but must have 18"),
        (LINE.replace(" 10 ", " ten "), r"field 4 \(run time\) is 'ten', but must be a number"),
        (
            LINE.replace(" 10 ", " -1 "),
            r"field 4 \(run time\) is '-1', but must be a number from 0",
        ),
        (LINE.replace(" 10 ", " nan "), r"field 4 \(run time\) is 'nan'"),
        (LINE.replace("1 0 5", "1 -7 5"), r"field 2 \(submit time\) is '-7'"),
        (LINE.replace(" 4 ", " -1 "), r"field 8 \(requested processors\) is '-1'"),
        (LINE.replace(" 4 20", " 2.5 20"), r"field 8 \(requested processors\) is '2.5'"),
        (LINE.replace("1 0 5", "1 -1 5"), r"field 2 \(submit time\) is '-1', but must be a number"),
        (LINE.replace(" 10 ", " -0.5 "), r"field 4 \(run time\) is '-0.5', but must be -1"),
        (LINE.replace(" 10 ", " 1_0 "), r"field 4 \(run time\) is '1_0', but must be a number"),
        (LINE.replace(" 10 ", " 5000000000000 "), r"field 4 \(run time\) is '5000000000000', but"),
        (LINE.replace("1 0 5", "1 9007199254740000 5"), r"field 2 \(submit time\) is '9007199"),
        (LINE.replace(" 4 ", " 4503599627370496 "), r"field 5 \(allocated processors\) is '450"),
        (
            LINE.replace("20 -1", "20 9007199254740000"),
            r"field 10 \(requested memory\) is '9007199254740000', but must be at most 2147483647 MB",
        ),
        (LINE.replace("-1 1 7", "-1 soon 7"), r"field 11 \(status\) is 'soon', but must be"),
    ],
)
def test_a_bad_line_is_told_with_file_line_field_and_value(
    tmp_path: Path, line: str, told: str
) -> None:
    path = tmp_path / "log.swf"
    path.write_text(f"; header\n{LINE}\n{line}\n")
    with pytest.raises(BadLine, match=f"log.swf, line 3: {told}"):
        swf.read(path)
    found = swf.read(path, skip_bad_lines=True)
    assert (len(found.jobs), sum(found.skipped.values())) == (1, 1)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has no job"),
        (b"\x1f\x8bjunk", "Not a gzipped|CRC|end-of-stream|header|EOF|Compressed"),
    ],
)
def test_a_file_that_is_no_log_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=told):
        swf.read(path)
    with pytest.raises(InvalidInput, match="No such file"):
        swf.read(tmp_path / "none")


def test_memory_is_for_all_processors_and_the_user_stands_in_for_a_group(tmp_path: Path) -> None:
    path = tmp_path / "log.swf"
    path.write_text("1 0 5 10 4 -1 -1 -1 20 2048 1 7 -1 -1 -1 -1 -1 -1\n")
    (found,) = swf.read(path).jobs
    assert (found.vcpus, found.memory_mb, found.group) == (4, 8, None)
    assert records.project_of(found) == "user-7"


def test_a_run_longer_than_its_limit_expires_and_one_that_never_fits_is_told() -> None:
    result = replayed([job(1, 0, 100, 4, requested_s=60), job(2, 0, 30, 4, requested_s=60),
                       job(3, 5, 10, 9), job(4, 10, 5, 8)])  # fmt: skip
    records = {f.job.number: (f.outcome.value, f.start_s, f.end_s) for f in result.records}
    assert records == {
        1: ("expired", 0.0, 60.0),
        2: ("finished", 0.0, 30.0),
        3: ("never_fits", None, None),
        4: ("finished", 60.0, 65.0),
    }
    summary: dict[str, Any] = {**result.as_json()}
    assert (summary["started"], summary["finished"], summary["expired"]) == (3, 2, 1)
    assert (summary["never_fits"], summary["makespan_s"]) == (1, 65.0)
    assert summary["utilisation"] == pytest.approx((60 * 4 + 30 * 4 + 5 * 8) / (8 * 65))
    assert summary["wait_s"]["max"] == 50.0


def test_a_server_that_takes_time_to_boot_holds_its_quota_meanwhile() -> None:
    result = replayed([job(1, 0, 10, 8), job(2, 0, 10, 8)], boot_s=5.0)
    assert [(f.start_s, f.end_s) for f in result.records] == [(0.0, 15.0), (15.0, 30.0)]


@pytest.mark.parametrize(("discipline", "start_s"), [("fifo", 100.0), ("greedy", 2.0)])
def test_greedy_lets_a_small_one_pass_and_fifo_does_not(discipline: str, start_s: float) -> None:
    jobs = [job(1, 0, 100, 6), job(2, 1, 10, 8), job(3, 2, 10, 2)]
    result = replayed(jobs, discipline=discipline)
    expected = start_s if discipline == "greedy" else 110.0
    assert result.records[2].start_s == expected


def reference_fifo(jobs: list[Job] | tuple[Job, ...], vcpus: int) -> dict[int, float]:
    """Strict first come, first served, in the plainest way: nobody starts before who came first."""
    running: list[tuple[float, int]] = []
    starts, now_s = {}, 0.0
    for one in jobs:
        now_s = max(now_s, one.submit_s)
        while sum(v for end_s, v in running if end_s > now_s) + one.vcpus > vcpus:
            now_s = min(end_s for end_s, _ in running if end_s > now_s)
        starts[one.number] = now_s
        running.append((now_s + min(one.run_s, one.requested_s or one.run_s), one.vcpus))
    return starts


workloads = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 40), st.integers(1, 8), st.integers(1, 60)),
    min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(workloads)
def test_fifo_by_submission_is_strict_first_come_first_served(found: list[tuple[int, ...]]) -> None:
    jobs = [
        job(number, submit_s, run_s, vcpus, requested_s=float(limit_s), group=str(number % 3))
        for number, (submit_s, run_s, vcpus, limit_s) in enumerate(sorted(found), start=1)
    ]
    result = replayed(jobs)
    assert {f.job.number: f.start_s for f in result.records} == reference_fifo(jobs, 8)


def overcommitted(records: tuple[JobRecord, ...], vcpus: int) -> bool:
    changes = [(f.start_s, f.job.vcpus) for f in records if f.start_s is not None]
    changes += [(f.end_s, -f.job.vcpus) for f in records if f.end_s is not None]
    used = worst = 0
    for _, change in sorted(changes):
        used += change
        worst = max(worst, used)
    return worst > vcpus


def test_the_excerpt_runs_through_as_fifo_does_by_hand() -> None:
    result = by_managers("fifo")
    jobs = swf.read(EXCERPT).jobs
    assert {f.job.number: f.start_s for f in result.records} == reference_fifo(jobs, 100)
    assert not overcommitted(result.records, 100)


@cache
def by_managers(policy: str, order: str = "submit") -> Replay:
    """What the whole managers make of the excerpt, with messages and a database: seconds each."""
    return replay.run(swf.read(EXCERPT), vcpus=100, discipline=policy, order=order)


def test_the_same_seed_gives_the_same_schedule() -> None:
    jobs = swf.read(EXCERPT).jobs[:40]
    first, second = (replay.run(Workload(jobs, {}), vcpus=100) for _ in range(2))
    assert first.records == second.records
    assert not overcommitted(first.records, 100)


def command(*arguments: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "synergy"), *map(str, arguments)],
        capture_output=True, text=True, timeout=540, check=False, env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip
    assert (done.returncode == 0) == ok, done.stderr
    return done


def test_the_command_prints_one_object_and_a_row_for_each_request(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    path = tmp_path / "log.swf"
    path.write_text("".join(EXCERPT.read_text().splitlines(keepends=True)[:60]) + "bad line\n")
    done = command("simulate", path, "--vcpus", "64", "--policy", "greedy", "--order", "multifactor",
                   "--skip-bad-lines", "-f", "json", "--trace-out", trace)  # fmt: skip
    summary = json.loads(done.stdout)
    assert list(summary) == [
        "rows", "requests", "started", "finished", "expired", "failed", "never_fits", "rejected",
        "cancelled", "quarantined", "running", "waiting", "not_taken", "skipped_lines", "skipped",
        "makespan_s", "utilisation", "wait_s", "wall_s",
    ]  # fmt: skip
    with trace.open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "job",
        "project",
        "user",
        "vcpus",
        "submit_s",
        "start_s",
        "end_s",
        "state",
    ]
    assert len(rows) == summary["requests"] == summary["started"]
    assert summary["skipped"] == {"bad_number_of_fields": 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["simulate", "none.swf", "--vcpus", "4"], "none.swf: No such file"),
        (
            ["simulate", EXCERPT, "--vcpus", "0"],
            "--vcpus is '0', but must be a whole number from 1",
        ),
        (
            ["simulate", EXCERPT, "--vcpus", "9999", "--trace-out", "/no/such/place.csv"],
            "--trace-out",
        ),
        (["demo", "--hours", "0"], "must be a number from 0.1 to 1000"),
        (["demo", "--algorithm", "lottery"], "invalid choice: 'lottery'"),
        (["simulate", "/dev/zero", "--vcpus", "1"], "line 1 has more than 65536 characters"),
        (["simulate", EXCERPT, "--vcpus", "1", "--boot-s", "nan"], "--boot-s is 'nan', but must"),
    ],
)
def test_a_wrong_argument_ends_with_one_line(arguments: list[Path | str], told: str) -> None:
    done = command(*arguments, ok=False)
    assert done.stdout == ""
    assert told in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "alembic" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not KTH.exists(), reason="the whole log lies beside the project, if anywhere")
def test_the_whole_kth_log_runs_through_without_overcommitting() -> None:
    jobs = swf.read(KTH).jobs
    assert len(jobs) == 27_992
    result = replay.run(Workload(jobs, {}), vcpus=100, discipline="fifo", order="submit")
    assert {f.job.number: f.start_s for f in result.records} == reference_fifo(jobs, 100)
    assert not overcommitted(result.records, 100)


ORDERS: list[Any] = [("submit", one.value) for one in Discipline]
ORDERS += [  # by multifactor the two must compute the factors at the same instants, too
    pytest.param("multifactor", one.value, marks=[] if one is Discipline.FIFO else pytest.mark.slow)
    for one in Discipline
]


@pytest.mark.parametrize(("order", "policy"), ORDERS)
def test_both_engines_start_the_excerpt_alike(order: str, policy: str) -> None:
    """The whole managers, with messages and a database, and the function that decides alone."""
    whole = by_managers(policy, order)
    alone = forward.run(swf.read(EXCERPT), vcpus=100, discipline=policy, order=order)
    assert outcomes_of(alone) == outcomes_of(whole)
    waits: Any = alone.as_json()["wait_s"]
    assert waits["mean"] > 0


def outcomes_of(replayed: Replay) -> list[Any]:
    return [(record.outcome, record.start_s, record.end_s) for record in replayed.records]


@pytest.mark.slow
@pytest.mark.parametrize("policy", [one.value for one in Discipline])
def test_both_engines_start_alike_where_many_users_crowd(policy: str) -> None:
    """The pool is asked for half as much again as it holds, with gaps of days in between."""
    log = made_up(500).jobs
    jobs = tuple(
        replace(job, submit_s=job.submit_s // 2 + 200_000 * (number // 125))
        for number, job in enumerate(log)
    )
    options: dict[str, Any] = {"vcpus": 100, "discipline": policy, "order": "multifactor"}
    whole, alone = (run(Workload(jobs, {}), **options) for run in (replay.run, forward.run))
    assert outcomes_of(alone) == outcomes_of(whole)
