"""Priorities of every recorded job, to the last unit."""

import math
from pathlib import Path
from typing import Any

import pytest

from synergy.calc import document, priority
from tests.golden.recordings import name_of, read, recordings

# Jobs whose site factor was not recorded (null), as sprio does not list jobs that begin later.
# In every other file the job of that name has this one.
UNRECORDED_SITE = {
    ("priority__classic_all_weights", "j9"): 123,
    ("priority__classic_favor_small", "j9"): 123,
    ("priority__large_fairtree", "j5"): 5000,
}


@pytest.mark.parametrize("ties", ["slurm", "merge"])
@pytest.mark.parametrize("path", recordings("priority"), ids=name_of)
def test_every_priority_and_every_term_is_slurms(path: Path, ties: str) -> None:
    recorded = read(path)
    data = document.read(str(path), more_keys=priority.KEYS)
    method = document.method_of(document.config_of(data), ties=ties)
    rows: list[dict[str, Any]] = priority.compute(data, document.accounts_of(data), method)
    assert [row["job"] for row in rows] == [job["job"] for job in recorded["jobs"]]
    for row, job in zip(rows, recorded["jobs"], strict=True):
        site = UNRECORDED_SITE.get((name_of(path), job["job"]), 0)
        assert row["priority"] + site == job["priority"], job["job"]
        for name, expected in (job["weighted"] or {}).items():
            shown = row[name] if name == "tres" else {name: row[name]}
            for key, number in expected.items() if name == "tres" else [(name, expected)]:
                assert math.isclose(shown[key], number, rel_tol=1e-12, abs_tol=1e-12), (
                    job["job"],
                    key,
                )


@pytest.mark.parametrize("path", recordings("priority"), ids=name_of)
def test_every_printed_term_is_that_of_sprio(path: Path) -> None:
    recorded = read(path)
    data = document.read(str(path), more_keys=priority.KEYS)
    method = document.method_of(document.config_of(data), ties="slurm")
    rows = priority.compute(data, document.accounts_of(data), method)
    compared = 0
    for row, job in zip(rows, recorded["jobs"], strict=True):
        if job["weighted"] and "sprio_l" in job:
            shown = dict(zip(priority.SPRIO, priority.sprio_row(row), strict=True))
            for column, text in job["sprio_l"].items():
                if column in ("JOBID", "PARTITION"):
                    continue  # a number we do not know, and a name that sprio gives two columns
                if column == "PRIORITY" and job["priority"] == 2**32 - 1:
                    continue  # sprio shows the sum before it is cut
                assert shown[column].startswith(text), (job["job"], column)  # sprio cuts TRES
                compared += 1
    assert compared or not any("sprio_l" in job for job in recorded["jobs"])
