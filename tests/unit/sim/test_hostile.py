"""Whatever a log holds, every row is counted once, and wrong input ends with one line."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synergy.cli.main import main
from synergy.core.errors import InvalidInput
from synergy.core.rounds import Discipline
from synergy.sim import replay, swf
from synergy.sim.engine import Engine, temporary_store
from synergy.sim.records import MAX_TTL_S, JobRecord, Outcome, Replay
from synergy.sim.swf import Job, Workload
from tests.unit.sim.test_simulate import job, replayed

pytestmark = pytest.mark.usefixtures("no_handlers_of_other_tests")

# Job 1 was swapped out once: a row that sums it up, and one for each of its executions.
SWAPPED_OUT = """\
; Version: 2.2
1 0 0 100 4 -1 -1 4 200 -1 1 1 1 -1 -1 -1 -1 -1
1 0 0 50 4 -1 -1 4 200 -1 2 1 1 -1 -1 -1 -1 -1
1 -1 10 50 4 -1 -1 4 200 -1 3 1 1 -1 -1 -1 -1 -1
2 10 0 100 4 -1 -1 4 200 -1 1 2 2 -1 -1 -1 -1 -1
"""


def row(
    number: int = 1,
    submit: float = 0,
    run: float = 5,
    procs: int = 1,
    limit: float = 10,
    memory: int = -1,
    status: int = 1,
    user: int = 1,
) -> str:
    return f"{number} {submit} 0 {run} {procs} -1 -1 {procs} {limit} {memory} {status} {user} 1" + (
        " -1" * 5
    )


def read(tmp_path: Path, content: bytes | str, **options: Any) -> Workload:
    path = tmp_path / "log.swf"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return swf.read(path, **options)


def summary_of(workload: Workload, **options: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"vcpus": 4, "discipline": "fifo", "order": "submit"} | options
    summary: dict[str, Any] = replay.run(workload, **values).as_json()
    json.dumps(summary, allow_nan=False)
    assert summary["rows"] == summary["requests"] + summary["skipped_lines"]
    assert summary["skipped_lines"] == sum(summary["skipped"].values())
    assert summary["requests"] == sum(summary[outcome] for outcome in Outcome)
    return summary


def test_partial_executions_of_a_job_are_no_requests_of_their_own(tmp_path: Path) -> None:
    workload = read(tmp_path, SWAPPED_OUT)
    result = replay.run(workload, vcpus=4, discipline="fifo", order="submit")
    assert [(f.job.number, f.start_s, f.end_s) for f in result.records] == [
        (1, 0.0, 100.0),
        (2, 100.0, 200.0),
    ]
    summary = summary_of(workload)
    assert (summary["rows"], summary["requests"]) == (4, 2)
    assert summary["skipped"] == {"partial_execution": 2}


def test_partial_executions_that_no_row_sums_up_are_one_job(tmp_path: Path) -> None:
    parts = [row(7, 30, 50, status=2), row(7, -1, 20, status=2), row(7, -1, 5, status=4)]
    workload = read(tmp_path, "\n".join([row(1), *parts]))
    assert [(j.number, j.submit_s, j.run_s) for j in workload.jobs] == [(1, 0, 5), (7, 30, 75)]
    assert workload.skipped == {"partial_execution": 2}
    with pytest.raises(
        swf.BadLine, match=r"log.swf, line 1: field 4 \(run time\) of all its parts"
    ):
        read(tmp_path, "\n".join([row(7, 0, 4e9, status=2), row(7, -1, 4e9, status=3)]))
    lacking = "\n".join([row(1), row(7, -1, 5, status=2), row(7, -1, 5, status=3)])
    with pytest.raises(swf.BadLine, match=r"log.swf, line 2: field 2 \(submit time\) is '-1'"):
        read(tmp_path, lacking)
    found = read(tmp_path, lacking, skip_bad_lines=True)
    assert found.skipped == {"partial_execution": 1, "bad_submit_time": 1}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf; Version: 2.2\r\n" + row().encode() + b"\r\n",
        b"\xef\xbb\xbf" + row().encode(),
        b"\xef\xbb\xbf; a\n\n  \t\n" + row().encode() + b"\n\xef\xbb\xbf; joined to another\n",
        row().encode().replace(b" ", b"\t  ") + b"\r",
        b"; K\xf6ln, in latin-1\n" + row().encode(),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_marks_line_ends_and_blanks_of_other_systems_are_read(
    tmp_path: Path, content: bytes, packed: bool
) -> None:
    assert len(read(tmp_path, gzip.compress(content) if packed else content).jobs) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_nothing_of_a_pipe_is_lost(tmp_path: Path, packed: bool) -> None:
    rows = "".join(f"{row(n, 10 * n)} \n" for n in range(1, 2001)).encode()
    content = gzip.compress(rows) if packed else rows
    reader, writer = os.pipe()

    def write() -> None:
        with open(  # noqa: PTH123 - a number, no path
            writer, "wb", buffering=0
        ) as pipe:
            pipe.write(content[:1])  # not even what tells that it is packed
            pipe.write(content[1:])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = swf.read(f"/dev/fd/{reader}")
    finally:
        thread.join()
        os.close(reader)
    assert [one.number for one in found.jobs] == list(range(1, 2001))


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(gzip.compress(f"{row()}\n{row(2)}\n".encode()))

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert len(swf.read("-").jobs) == 2


def packed_log() -> bytes:
    """A log that does not pack well, so that broken bytes are noticed far from its end."""
    rng = random.Random(1)
    return gzip.compress("".join(f"{row(n, rng.random() * 1e6)}\n" for n in range(900)).encode())


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (packed_log()[:-4], "begins like a gzip file, but is broken: Compressed file ended"),
        (packed_log()[:3000], "begins like a gzip file, but is broken: Compressed file ended"),
        (packed_log()[:3000] + random.Random(2).randbytes(3000), "begins like a gzip file, but is"),
        (packed_log()[:-6] + b"\0" * 6, "begins like a gzip file, but is broken: CRC check failed"),
        (packed_log() + b"more", "begins like a gzip file, but is broken: Not a gzipped file"),
        (b"\x1f\x8b", "begins like a gzip file, but is broken"),
        (b"\0" * 200_000, "line 1 has more than 65536 characters: it is not a workload in SWF"),
        (b"; nothing but comments\n", "has no job: it is not a workload in SWF, or empty"),
    ],
)
@pytest.mark.parametrize("skip_bad_lines", [False, True])
def test_what_is_no_log_ends_with_one_error(
    tmp_path: Path, content: bytes, told: str, skip_bad_lines: bool
) -> None:
    with pytest.raises(InvalidInput, match=told):
        read(tmp_path, content, skip_bad_lines=skip_bad_lines)


def test_a_log_of_bad_lines_alone_is_told_with_what_is_wrong(tmp_path: Path) -> None:
    lines = f"1 2 3\n{row(run=-1)}\n{row(run=5e12)}\n{row(procs=-1)}\n"
    with pytest.raises(InvalidInput, match="no job: all rows were skipped: bad_number_of_fields 1, "
                       "bad_run_time 2, bad_requested_processors 1"):  # fmt: skip
        read(tmp_path, lines, skip_bad_lines=True)


@settings(deadline=None)
@given(st.binary(max_size=300) | st.text("0123456789-.e \n;\ufeff", max_size=300).map(str.encode))
def test_any_bytes_are_read_or_end_with_one_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.swf"
    path.write_bytes(content)
    for skip_bad_lines in (False, True):
        try:
            assert swf.read(path, skip_bad_lines=skip_bad_lines).jobs
        except InvalidInput as error:
            told = str(error)
            assert told.startswith((str(path), f"cannot read {path}"))


@pytest.mark.parametrize("discipline", list(Discipline))
@pytest.mark.parametrize("order", ["submit", "multifactor"])
def test_a_job_larger_than_the_pool_is_rejected_at_once_and_others_run(
    discipline: Discipline, order: str
) -> None:
    result = replayed(
        [job(1, 0, 5, 65), job(2, 1, 5, 64), job(3, 2, 5, 2**31 - 1), job(4, 3, 5, 1)],
        vcpus=64, discipline=discipline.value, order=order,
    )  # fmt: skip
    assert [f.outcome.value for f in result.records] == [
        "never_fits",
        "finished",
        "never_fits",
        "finished",
    ]


def test_memory_never_binds(tmp_path: Path) -> None:
    asked = swf.MAX_FLAVOR_AMOUNT * 1024 // 2  # kB, of each of two processors
    workload = read(tmp_path, "\n".join(row(n, 0, 5, 2, memory=asked) for n in range(1, 5)))
    assert workload.jobs[0].memory_mb == swf.MAX_FLAVOR_AMOUNT
    summary = summary_of(workload, vcpus=8)
    assert (summary["finished"], summary["makespan_s"]) == (4, 5.0)


def test_a_lifetime_is_never_less_than_was_asked_for(tmp_path: Path) -> None:
    workload = read(tmp_path, "\n".join([row(1, 0, 100, limit=0.3), row(2, 0, 1.3, limit=1.4)]))
    result = replay.run(workload, vcpus=4, discipline="fifo", order="submit")
    assert [(f.outcome.value, f.end_s) for f in result.records] == [
        ("expired", 1.0),
        ("finished", 1.3),
    ]


@pytest.mark.slow
def test_the_largest_values_that_are_allowed_are_replayed(tmp_path: Path) -> None:
    most_s = swf.MAX_S
    rows = [row(1, 0, most_s, limit=most_s), row(2, most_s, 5)]
    workload = read(tmp_path, "\n".join(rows))
    result = replay.run(workload, vcpus=4, order="multifactor")
    assert [(f.outcome.value, f.start_s, f.end_s) for f in result.records] == [
        ("expired", 0.0, MAX_TTL_S),
        ("finished", most_s, most_s + 5.0),
    ]


def played(jobs: list[Job], *, suspended: Collection[str] = (), skips_gaps: bool = True) -> Replay:
    """Replay as `replay.run` does, with some projects suspended, or waiting out every gap."""
    records = tuple(JobRecord(one, f"group-{one.group}") for one in jobs)
    cloud = replay._cloud(jobs, vcpus=8, boot_s=0.0)
    with temporary_store() as store:
        engine = Engine(cloud, replay.settings("fifo", "multifactor"), store=store, seed=1)
        projects = engine.managers["project"]
        for name in sorted({fate.project for fate in records}):
            projects.execute("add", project=name, default_quota="shared", ttl_s=3600)
            projects.execute("set", project=name, suspended=name in suspended)
        player = replay._Player(engine, records, lambda *_: None)
        quiet = player.is_quiet if skips_gaps else lambda: False
        engine.run_until_idle(player.is_done, is_quiet=quiet)
    return Replay(records, {}, 8, 0.0)


def test_to_pass_over_a_gap_changes_nothing_for_who_comes_after_it() -> None:
    month_s = 30 * 86_400.0
    jobs = [job(n, at_s, 50, 6, group=str(n % 3))
            for n, at_s in enumerate([0, 1, 2, 3, month_s, month_s + 1, month_s + 2], start=1)]  # fmt: skip
    waited = played(jobs, skips_gaps=False).records
    assert played(jobs).records == waited
    assert [f.outcome.value for f in waited] == ["finished"] * len(jobs)


def test_a_gap_of_a_century_takes_no_time() -> None:
    century_s = 100 * 366 * 86_400.0
    result = replayed([job(1, 0, 5, 8), job(2, century_s, 5, 8)], order="multifactor")
    assert [f.start_s for f in result.records] == [0.0, century_s]
    assert result.wall_s < 60  # each of its days would take milliseconds


def test_who_waits_when_nothing_can_happen_any_more_is_told_so() -> None:
    result = played([job(1, 0, 5, 1, group="a"), job(2, 0, 5, 1, group="b")], suspended={"group-a"})
    assert [f.outcome.value for f in result.records] == ["waiting", "finished"]
    summary = result.as_json()
    assert (summary["waiting"], summary["finished"], summary["requests"]) == (1, 1, 2)


ROWS = st.builds(
    row,
    number=st.integers(-2, 6),
    submit=st.sampled_from([-1, 0, 3, 7.5, 1e6, 4e9, 5e9]),
    run=st.sampled_from([-1, 0, 0.2, 5, 4e9, 1e300]),
    procs=st.sampled_from([-1, 0, 1, 4, 5, 2**31 - 1, 2**31]),
    limit=st.sampled_from([-1, 0, 0.3, 10, 4e9]),
    memory=st.sampled_from([-1, 0, 1000, 2**52]),
    status=st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 9]),
    user=st.integers(-1, 2),
) | st.sampled_from(["what?", "; a comment", ""])


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROWS, min_size=1, max_size=12), st.sampled_from([0.0, 7.0]))
def test_every_row_of_a_log_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], boot_s: float
) -> None:
    counted(tmp_path_factory.getbasetemp(), rows, boot_s)


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROWS, min_size=1, max_size=40), st.sampled_from([0.0, 7.0, 86_400.0]))
def test_every_row_of_many_logs_is_counted_once(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], boot_s: float
) -> None:
    counted(tmp_path_factory.getbasetemp(), rows, boot_s)


def counted(folder: Path, rows: list[str], boot_s: float) -> None:
    real = [one for one in rows if one and not one.startswith(";")]
    try:
        workload = read(folder, "\n".join(rows), skip_bad_lines=True)
    except InvalidInput:
        return
    summary = summary_of(workload, boot_s=boot_s)
    assert summary["rows"] == len(real)
    assert summary["waiting"] == summary["running"] == summary["not_taken"] == 0
    bounded = sum(one.vcpus > 4 for one in workload.jobs)
    assert summary["never_fits"] == bounded


OPTIONS = {
    "--vcpus": (["simulate", "LOG"], "a whole number from 1 to 2147483647"),
    "--boot-s": (["simulate", "LOG", "--vcpus=4"], "a number from 0 to 86400"),
    "--seed": (["simulate", "LOG", "--vcpus=4"], "a whole number from 0 to 9007199254740991"),
    "--hours": (["demo"], "a number from 0.1 to 1000"),
}
WRONG = ["nan", "inf", "-inf", "1e12", "-5", "1e999", "1_0", "٣", "", "x", "0x10", " 1"]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("value", WRONG)
def test_a_number_that_an_option_does_not_take_ends_with_one_line(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, allowed = OPTIONS[option]
    if option == "--seed" and value == "1e12":
        value = "1e16"
    log = tmp_path / "log.swf"
    log.write_text(row())
    words = [str(log) if word == "LOG" else word for word in arguments]
    assert main([*words, f"{option}={value}", "-f", "json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{option} is {value!r}, but must be {allowed}\n"


@pytest.mark.parametrize("option", ["--trace-out", "--output"])
def test_a_place_that_cannot_be_written_is_told_before_the_run(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.swf"
    log.write_text(row())
    words = ["demo"] if option == "--output" else ["simulate", str(log), "--vcpus", "4"]
    assert main([*words, option, str(log / "below")]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"{option} {log / 'below'}: Not a directory\n")


def test_the_command_says_on_standard_error_how_far_it_is_and_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "log.swf"
    log.write_text("".join(f"{row(n, n)}\n" for n in range(1, 11)))
    program = Path(sys.executable).parent / "synergy"
    done = subprocess.run(
        ["bash", "-c", f"{program} simulate <(gzip <{log}) --vcpus 4 -f json"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["finished"] == 10
    said = done.stderr.splitlines()
    assert said
    assert all(line.partition(" ")[0].isdecimal() and "of 10 ended" in line for line in said)
    assert said[-1].split()[1] == "100%"


@pytest.mark.parametrize("content", [b"1 2 3\n", bytes(range(1, 256)) * 40, b"x" * 70_000])
def test_a_bad_row_of_a_packed_log_is_named_as_that_of_a_plain_one(
    tmp_path: Path, content: bytes
) -> None:
    plain, packed = tmp_path / "log", tmp_path / "log.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    told = []
    for path in (plain, packed):
        with pytest.raises(InvalidInput) as caught:
            swf.read(path)
        told.append(str(caught.value).replace("log.gz", "log"))
    assert told[0] == told[1]
    assert "log, line 1" in told[0]
