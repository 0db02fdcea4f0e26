"""Runs Tempest without Synergy, with it, and with all projects managed, and compares the results.

Why: whoever runs a cloud under Synergy must not find an API of Nova that answers differently. The
lab has to be up. The exit code is 1 where a result differs for no reason that is written down.
"""

import argparse
import csv
import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

from lab.settings import read_settings
from lab.steps import Lab
from tests.tempest.comparison import (
    Outcome,
    Result,
    as_json,
    bare,
    by_class,
    compare,
    judged,
    outcomes,
    totals,
)
from tests.tempest.comparison import table as drawn
from tests.tempest.environment import Tempest
from tests.tempest.selection import PREFIX, ListOfTests, WrongList, read
from tests.tempest.ways import WAYS, WITHOUT, Cloud

LIST: Final = Path(__file__).with_name("tests.yaml")


def main() -> int:
    """Run and compare; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.tempest", description=__doc__)
    parser.add_argument("--only", default="", help="Run only tests whose name has this pattern.")
    parser.add_argument(
        "--ways", default=",".join(WAYS),
        help="Run these, and compare with what the last run of the others found; none: run nothing.",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=Path("build/tempest.json"),
        help="Write the comparison here; beside it, with the ending csv, that of the classes.",
    )  # fmt: skip
    given = parser.parse_args()
    ways = [] if given.ways == "none" else given.ways.split(",")
    if unknown := set(ways) - set(WAYS):
        parser.error(f"no way is called {', '.join(sorted(unknown))}: there are {', '.join(WAYS)}")
    lab = Lab(read_settings(), lambda text: None)
    tempest = Tempest(lab, say)
    try:
        tempest.install()
        tempest.configure()
        known = {bare(test): test for test in tempest.tests(PREFIX)}
        tests = read(LIST, set(WAYS) - {WITHOUT})
        selected = [test for test in tests.selected(known) if re.search(given.only, test)]
        say(f"{len(selected)} of {len(known)} tests: {len(tests.reasons(known))} are left out")
        cloud = Cloud(lab, say)
        try:
            for name in ways:
                run(name, cloud, tempest, [known[test] for test in selected])
        finally:
            if ways:
                cloud.publish_to("core")  # as whoever uses the lab next expects it
    except (RuntimeError, WrongList) as error:
        say(f"tempest: {error}")
        return 1
    return show(tempest, tests, known, selected, given.output)


def run(name: str, cloud: Cloud, tempest: Tempest, tests: list[str]) -> None:
    """Run the tests in one way, and keep what they found."""
    say(f"--- {name}: {WAYS[name]}")
    began_s = time.monotonic()
    with cloud.way(name, tempest.projects()):
        found = outcomes(tempest.run(tests, name), [bare(test) for test in tests])
    say(f"--- {name}: {time.monotonic() - began_s:.0f} s")
    path = _kept(tempest, name)
    kept = json.loads(path.read_text()) if path.exists() else {}
    kept |= {test: asdict(one) for test, one in found.items()}
    path.write_text(json.dumps(kept, indent=1))


def show(
    tempest: Tempest, tests: ListOfTests, known: dict[str, str], selected: list[str], output: Path
) -> int:
    """Print and write the comparison; return the exit code."""
    by_way = {name: _read(_kept(tempest, name), selected) for name in WAYS}
    rows = compare(by_way, WITHOUT, tests)
    sys.stdout.write(drawn(rows, list(WAYS)) + "\n")
    output.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "ways": WAYS,
        "totals": totals(rows, list(WAYS)),
        "tests": as_json(rows),
        "left_out": tests.reasons(known),
    }
    output.write_text(json.dumps(written, indent=1) + "\n")
    with output.with_suffix(".csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(by_class(rows, list(WAYS)))
    say(f"written to {output} and {output.with_suffix('.csv')}")
    return 0 if judged(rows) else 1


def _kept(tempest: Tempest, name: str) -> Path:
    return tempest.folder / f"{name}.json"


def _read(path: Path, selected: list[str]) -> dict[str, Outcome]:
    kept = json.loads(path.read_text()) if path.exists() else {}
    absent = {"result": Result.ABSENT, "time_s": 0.0}
    return {
        test: Outcome(**one | {"result": Result(one["result"])})
        for test in selected
        for one in [kept.get(test, absent)]
    }


def say(text: str) -> None:
    """Tell who waits what is going on."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
