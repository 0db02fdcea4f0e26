"""Fair-share of every recorded tree, number by number."""

import math
from pathlib import Path
from typing import Any

import pytest

from synergy.calc import document, fairshare
from synergy.core.fairshare import Algorithm
from synergy.core.fairtree import Ties
from tests.golden.recordings import name_of, read, recordings

FILES = recordings("fairshare")
NUMBERS = {
    "norm_shares": "norm_shares",
    "norm_usage": "norm_usage",
    "effectv_usage": "effective_usage",
    "level_fs": "level_fs",
}
RANKED = {"rank": "rank", "fairshare": "fairshare"}


def rows_of(path: Path, ties: str) -> tuple[dict[str, Any], fairshare.Result]:
    recorded = read(path)
    data = document.read(str(path))
    method = document.method_of(document.config_of(data), ties=ties)
    result = fairshare.compute(document.accounts_of(data), method)
    return recorded, result


def close(
    found: str | float | None, expected: str | float | None, tolerance: float = 1e-12
) -> bool:
    if found is None or isinstance(found, str) or expected is None or isinstance(expected, str):
        return found == expected
    return math.isclose(found, expected, rel_tol=tolerance, abs_tol=1e-18)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_number_is_slurms_with_the_ties_of_slurm(path: Path) -> None:
    recorded, result = rows_of(path, "slurm")
    found: dict[object, tuple[int, dict[str, Any]]] = {
        row["id"]: (place, row) for place, row in enumerate(result.rows())
    }
    classic = result.method.algorithm is not Algorithm.FAIR_TREE
    assert len(found) == len(recorded["expected"])
    for expected in recorded["expected"]:
        place, row = found[expected["id"]]
        for theirs, ours in (NUMBERS | RANKED).items():
            tolerance = 1e-12
            if theirs == "fairshare" and classic and expected["norm_shares"]:
                tolerance *= 1 + expected["effectv_usage"] / expected["norm_shares"]
            assert close(row[ours], expected.get(theirs), tolerance), (expected["id"], theirs)
        assert int(result.computed.raw_usage[result.accounts.row[place]]) == expected["raw_usage"]


@pytest.mark.parametrize("path", recordings("fairshare", "*__ft"), ids=name_of)
def test_merged_ties_differ_only_where_the_documentation_differs_from_the_program(
    path: Path,
) -> None:
    recorded, result = rows_of(path, "merge")
    differing = set(recorded["ranks_differ_with_documented_merge"])
    found: dict[object, dict[str, Any]] = {row["id"]: row for row in result.rows()}
    for expected in recorded["expected"]:
        row = found[expected["id"]]
        for theirs, ours in NUMBERS.items():
            assert close(row[ours], expected.get(theirs)), (expected["id"], theirs)
        if expected["id"] not in differing:
            for theirs, ours in RANKED.items():
                assert close(row[ours], expected.get(theirs)), (expected["id"], theirs)
    ranks = {one["id"]: one.get("rank") for one in recorded["expected"]}
    assert {i for i, row in found.items() if row["rank"] != ranks[i]} == differing


def test_all_treatments_of_ties_and_all_algorithms_are_among_the_recordings() -> None:
    ties = [read(path) for path in recordings("fairshare", "*__ft")]
    assert any(one["ranks_differ_with_documented_merge"] for one in ties)
    assert any(one["ranks_differ_with_double"] for one in ties)
    assert {read(path)["config"]["algorithm"] for path in FILES} == set(Algorithm)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_printed_digit_is_that_of_sshare(path: Path) -> None:
    recorded, result = rows_of(path, Ties.SLURM.value)
    printed = {
        one["id"]: one["printed"].split("|") for one in recorded["expected"] if "printed" in one
    }
    for row, shown in zip(result.rows(), result.sshare(), strict=True):
        if row["id"] in printed:
            expected = printed[row["id"]]
            assert list(shown[3:])[: len(expected)] == expected, row["id"]
