"""What `make tempest` makes of the results of Tempest, and of its list of tests."""

from pathlib import Path
from typing import Any

import pytest

from tests.tempest import comparison, selection, ways
from tests.tempest.comparison import Outcome, Result, Verdict
from tests.tempest.selection import PREFIX, ListOfTests, Note, WrongList

NOTHING = ListOfTests(left_out=(), explained=())
BOOT = f"{PREFIX}servers.Boot.test_boot"


def found(name: str, status: str = "success", details: str = "") -> dict[str, Any]:
    return {"id": name, "status": status, "time_s": 1.0, "details": details}


def outcome(result: Result) -> Outcome:
    return Outcome(result=result, time_s=1.0)


def verdicts(tests: ListOfTests, without: Result, **others: Result) -> list[Verdict]:
    by_way = {
        name: {BOOT: outcome(result)} for name, result in {"without": without, **others}.items()
    }
    return [row.verdict for row in comparison.compare(by_way, "without", tests)]


def note(pattern: str, *, way: str = "", why: str = "it is so") -> Note:
    return Note(patterns=(pattern,), way=way, why=why)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ([found(f"{BOOT}[id-1,smoke]")], Result.PASSED),
        ([found(BOOT, "fail")], Result.FAILED),
        ([found(BOOT, "uxsuccess")], Result.FAILED),
        ([found(BOOT, "inprogress")], Result.FAILED),  # the worker died in it
        ([found(BOOT, "skip")], Result.SKIPPED),
        ([found(f"setUpClass ({PREFIX}servers.Boot)", "skip")], Result.SKIPPED),
        ([found(f"setUpClass ({PREFIX}servers.Boot)", "fail")], Result.FAILED),
        ([found(BOOT), found(f"tearDownClass ({PREFIX}servers.Boot)", "fail")], Result.FAILED),
        ([found(f"setUpClass ({PREFIX}servers.Other)", "fail")], Result.ABSENT),
        ([], Result.ABSENT),
    ],
)
def test_a_test_has_its_own_result_or_that_of_its_class(
    stream: list[dict[str, Any]], expected: Result
) -> None:
    assert comparison.outcomes(stream, [BOOT])[BOOT].result is expected


def test_results_are_compared_with_those_without_synergy() -> None:
    passed, failed, skipped = Result.PASSED, Result.FAILED, Result.SKIPPED
    known = ListOfTests(left_out=(), explained=(note("servers.Boot.*", way="managed"),))
    assert verdicts(NOTHING, passed, unmanaged=passed, managed=passed) == [Verdict.SAME]
    assert verdicts(NOTHING, passed, unmanaged=passed, managed=failed) == [Verdict.DIFFERS]
    assert verdicts(NOTHING, passed, unmanaged=skipped, managed=passed) == [Verdict.DIFFERS]
    assert verdicts(known, passed, unmanaged=passed, managed=failed) == [Verdict.EXPLAINED]
    assert verdicts(known, passed, unmanaged=failed, managed=failed) == [Verdict.DIFFERS]
    # Whoever does not pass without Synergy judges nothing, the same everywhere or not.
    assert verdicts(NOTHING, failed, unmanaged=failed, managed=failed) == [Verdict.UNFIT]
    assert verdicts(NOTHING, Result.ABSENT, unmanaged=passed, managed=passed) == [Verdict.UNFIT]


@pytest.mark.parametrize(
    ("managed", "tests", "passes"),
    [
        (Result.PASSED, NOTHING, True),
        (Result.FAILED, NOTHING, False),
        (Result.FAILED, ListOfTests(left_out=(), explained=(note("*", way="managed"),)), True),
    ],
)
def test_only_a_difference_without_a_reason_fails(
    managed: Result, tests: ListOfTests, passes: bool
) -> None:
    by_way = {"without": {BOOT: outcome(Result.PASSED)}, "managed": {BOOT: outcome(managed)}}
    rows = comparison.compare(by_way, "without", tests)
    assert comparison.judged(rows) is passes
    shown = comparison.table(rows, ["without", "managed"]).splitlines()
    assert shown[-2].split() == [
        "all", "1/1", "passed", "1/1" if managed is Result.PASSED else "0/1", "passed",
        "1", str(rows[0].verdict),
    ]  # fmt: skip
    assert comparison.by_class(rows, ["without", "managed"])[1:] == [
        ["servers.Boot", 1, 1, int(managed is Result.PASSED)], ["all", 1, 1, int(managed is Result.PASSED)],
    ]  # fmt: skip
    assert comparison.as_json(rows)[0]["results"] == {"without": "passed", "managed": str(managed)}


def test_all_tests_are_selected_but_those_that_are_left_out() -> None:
    tests = ListOfTests(
        left_out=(note("volumes.*", why="no Cinder"), note("*.A.test_x")), explained=()
    )
    known = [
        f"{PREFIX}{name}" for name in ("volumes.A.test_x", "servers.A.test_x", "servers.A.test_y")
    ]
    assert tests.selected(known) == [f"{PREFIX}servers.A.test_y"]
    assert tests.reasons(known) == {known[0]: "no Cinder", known[1]: "it is so"}


def test_a_note_about_no_test_is_an_error() -> None:
    """A test that Tempest renamed must not take its reason with it."""
    tests = ListOfTests(left_out=(note("servers.Gone.*"),), explained=())
    with pytest.raises(WrongList, match=r"servers\.Gone\.\*: Tempest has no such test"):
        tests.selected([BOOT])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left_out: []\n", "give left_out and explained"),
        ("left_out: [{tests: [a]}]\nexplained: []\n", "has to have tests, why"),
        ("left_out: [{tests: [a], why: ''}]\nexplained: []\n", "has to have tests, why"),
        ("left_out: []\nexplained: [{tests: [a], why: so}]\n", "has to have tests, way, why"),
        ("left_out: []\nexplained: [{tests: [a], why: so, way: x}]\n", "'x' is none of managed"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "tests.yaml"
    path.write_text(text)
    with pytest.raises(WrongList, match=message):
        selection.read(path, ["unmanaged", "managed"])


def test_the_list_of_the_project_can_be_read() -> None:
    path = Path(selection.__file__).with_name("tests.yaml")
    assert selection.read(path, set(ways.WAYS) - {ways.WITHOUT}).left_out
