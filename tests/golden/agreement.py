"""Prints how closely Synergy agrees with the recordings: python -m tests.golden.agreement"""

import json
import sys
from collections import defaultdict
from typing import Any

from synergy.calc import document, fairshare, priority
from tests.golden.recordings import name_of, read, recordings
from tests.golden.test_fairshare import NUMBERS, RANKED
from tests.golden.test_priority import UNRECORDED_SITE


class Kind:
    """Files and numbers compared, the largest relative deviation, and what is not equal."""

    def __init__(self) -> None:
        self.files, self.numbers, self.largest, self.unequal = 0, 0, 0.0, 0

    def compare(
        self, found: float | None, expected: float | str | None, scale: float = 1.0
    ) -> None:
        self.numbers += 1
        if found == expected:
            return
        if found is None or isinstance(expected, str) or expected is None:
            self.unequal += 1
            return
        deviation = abs(found - expected) / max(abs(expected), 1e-300) / scale
        if abs(found - expected) > 1e-18:
            self.largest = max(self.largest, deviation)
            self.unequal += deviation > 1e-12

    def as_dict(self) -> dict[str, float]:
        return {
            "files": self.files,
            "numbers": self.numbers,
            "largest_relative_deviation": self.largest,
            "beyond_1e-12": self.unequal,
        }


Kinds = defaultdict[str, Kind]


def fairshares(kinds: Kinds) -> None:
    for path in recordings("fairshare"):
        recorded, data = read(path), document.read(str(path))
        method = document.method_of(document.config_of(data), ties="slurm")
        result = fairshare.compute(document.accounts_of(data), method)
        found: dict[object, dict[str, Any]] = {row["id"]: row for row in result.rows()}
        kind = kinds[f"fairshare {method.algorithm}, ties=slurm"]
        kind.files += 1
        for expected in recorded["expected"]:
            for theirs, ours in (NUMBERS | RANKED).items():
                if theirs in expected:
                    share = expected["norm_shares"]
                    near = theirs == "fairshare" and share and method.algorithm != "fair_tree"
                    scale = 1 + expected["effectv_usage"] / share if near else 1.0
                    kind.compare(found[expected["id"]][ours], expected[theirs], scale)


def priorities(kinds: Kinds) -> None:
    for path in recordings("priority"):
        recorded, data = read(path), document.read(str(path), more_keys=priority.KEYS)
        method = document.method_of(document.config_of(data), ties="slurm")
        rows: list[dict[str, Any]] = priority.compute(data, document.accounts_of(data), method)
        kinds["priority"].files += 1
        kinds["weighted terms"].files += 1
        for row, job in zip(rows, recorded["jobs"], strict=True):
            if (name_of(path), job["job"]) in UNRECORDED_SITE:
                kinds["priority, site factor not recorded"].numbers += 1
            else:
                kinds["priority"].compare(row["priority"], job["priority"])
            weighted = job["weighted"] or {"tres": {}}
            pairs = [(row[name], one) for name, one in weighted.items() if name != "tres"]
            pairs += [(row["tres"][name], one) for name, one in weighted["tres"].items()]
            for found, expected in pairs:
                kinds["weighted terms"].compare(found, expected)


if __name__ == "__main__":
    kinds: Kinds = defaultdict(Kind)
    fairshares(kinds)
    priorities(kinds)
    json.dump({name: kind.as_dict() for name, kind in kinds.items()}, sys.stdout, indent=2)
    sys.stdout.write("\n")
