"""Compares what Tempest's tests found in each way to run them.

Values in, values out: must not know how tests are run, or where results are kept.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from tests.tempest.selection import ListOfTests

FIXTURE: Final = re.compile(r"(setUpClass|tearDownClass) \((?P<name>.+)\)")


class Result(StrEnum):
    """What became of a test in one way."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    ABSENT = "absent"


RESULTS: Final = {
    "success": Result.PASSED,
    "xfail": Result.PASSED,
    "fail": Result.FAILED,
    "uxsuccess": Result.FAILED,
    "skip": Result.SKIPPED,
}


class Verdict(StrEnum):
    """What the results of a test in all ways say together."""

    SAME = "same"
    EXPLAINED = "explained"
    DIFFERS = "differs"
    UNFIT = "does not pass without Synergy"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One test in one way: its result, its time in seconds, and what it printed if not passed."""

    result: Result
    time_s: float
    details: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One test in every way.

    outcomes  way -> outcome, in the order in which the ways are shown
    """

    test: str
    outcomes: Mapping[str, Outcome]
    verdict: Verdict
    why: str = ""


def outcomes(found: Iterable[Mapping[str, Any]], selected: Sequence[str]) -> dict[str, Outcome]:
    """Return the outcome of each selected test.

    found  what the stream of a run holds: id, status, seconds, details. A class that fails or skips
           in its fixture has no entry for its tests: theirs is the fixture's then. One that fails in
           its end has entries, and failed all the same.
    """
    tests = dict[str, Outcome]()
    fixtures = dict[str, Outcome]()
    for one in found:
        outcome = Outcome(
            result=RESULTS.get(one["status"], Result.FAILED),
            time_s=one["time_s"],
            details=one["details"],
        )
        if fixture := FIXTURE.fullmatch(one["id"]):
            fixtures[fixture["name"]] = outcome
        else:
            tests[bare(one["id"])] = outcome
    absent = Outcome(result=Result.ABSENT, time_s=0.0)
    made = {}
    for test in selected:
        own, fixture_of = tests.get(test), fixtures.get(test.rpartition(".")[0])
        failed_in_fixture = fixture_of is not None and fixture_of.result is Result.FAILED
        made[test] = (fixture_of if failed_in_fixture else own or fixture_of) or absent
    return made


def bare(test: str) -> str:
    """Return the name of a test without its attributes in brackets."""
    return test.partition("[")[0]


def compare(
    by_way: Mapping[str, Mapping[str, Outcome]], baseline: str, tests: ListOfTests
) -> list[Row]:
    """Return a row for each test.

    by_way    way -> test -> outcome
    baseline  the way that the others are compared with: whoever does not pass there judges nothing
    """
    rows = []
    for test, without in by_way[baseline].items():
        others = {way: found[test] for way, found in by_way.items()}
        differing = [way for way, one in others.items() if one.result is not without.result]
        whys = [tests.explanation(test, way) for way in differing]
        if without.result is not Result.PASSED:
            verdict = Verdict.UNFIT
        elif not differing:
            verdict = Verdict.SAME
        else:
            verdict = Verdict.EXPLAINED if all(whys) else Verdict.DIFFERS
        why = "; ".join(dict.fromkeys(why for why in whys if why))
        rows.append(Row(test=test, outcomes=others, verdict=verdict, why=why))
    return rows


def judged(rows: Iterable[Row]) -> bool:
    """Tell whether nothing differs that is not explained."""
    return all(row.verdict in (Verdict.SAME, Verdict.EXPLAINED) for row in rows)


def table(rows: Sequence[Row], ways: Sequence[str]) -> str:
    """Return the comparison for people: a line for each class, and for each test that is not the
    same; then the totals."""
    lines = [("", *ways, "verdict")]
    for name, some in _classes(rows).items():
        odd = [row for row in some if row.verdict is not Verdict.SAME]
        shown = "" if odd else Verdict.SAME
        lines.append((_short(name), *(_passed(some, way) for way in ways), shown))
        for row in odd:
            results = (row.outcomes[way].result for way in ways)
            own = f"  {row.test.rpartition('.')[2]}"
            lines.append((own, *results, f"{row.verdict}: {row.why}" if row.why else row.verdict))
    lines.append(("all", *(_passed(rows, way) for way in ways), _verdicts(rows)))
    times = (f"{sum(row.outcomes[way].time_s for row in rows):.0f} s" for way in ways)
    lines.append(("time of all tests", *times, ""))
    widths = [max(len(line[column]) for line in lines) for column in range(len(ways) + 1)]
    return "\n".join(
        "  ".join(
            [f"{word:<{width}}" for word, width in zip(line[:-1], widths, strict=True)] + [line[-1]]
        ).rstrip()
        for line in lines
    )


def by_class(rows: Sequence[Row], ways: Sequence[str]) -> list[list[object]]:
    """Return a header, a line for each class with its tests and how many passed in each way, and
    the sums."""

    def line(name: str, some: Sequence[Row]) -> list[object]:
        return [name, len(some), *(_count(some, way) for way in ways)]

    classes = [line(_short(name), some) for name, some in _classes(rows).items()]
    return [["class", "tests", *ways], *classes, line("all", rows)]


def totals(rows: Sequence[Row], ways: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return way -> result -> number of tests."""
    return {
        way: {
            one: sum(1 for row in rows if row.outcomes[way].result is one)
            for one in Result
        }
        for way in ways
    }  # fmt: skip


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the comparison for programs, one object for each test."""
    return [
        {
            "test": row.test,
            "verdict": row.verdict,
            "why": row.why,
            "results": {way: one.result for way, one in row.outcomes.items()},
            "time_s": {way: round(one.time_s, 2) for way, one in row.outcomes.items()},
            "details": {way: one.details for way, one in row.outcomes.items() if one.details},
        }
        for row in rows
    ]


def _short(name: str) -> str:
    return name.removeprefix("tempest.api.compute.")


def _classes(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found = dict[str, list[Row]]()
    for row in rows:
        found.setdefault(row.test.rpartition(".")[0], []).append(row)
    return found


def _count(rows: Sequence[Row], way: str) -> int:
    return sum(1 for row in rows if row.outcomes[way].result is Result.PASSED)


def _passed(rows: Sequence[Row], way: str) -> str:
    return f"{_count(rows, way)}/{len(rows)} passed"


def _verdicts(rows: Sequence[Row]) -> str:
    counted = {one: sum(1 for row in rows if row.verdict is one) for one in Verdict}
    return ", ".join(f"{count} {one}" for one, count in counted.items() if count)
