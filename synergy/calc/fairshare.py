"""`fairshare compute`: the rows of `sshare -l` for the tree of a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from synergy.calc.document import Accounts, Method
from synergy.core import fairshare
from synergy.core.fairshare import Algorithm, FairShare

COLUMNS: Final = (
    "id", "account", "user", "parent", "raw_shares", "norm_shares", "raw_usage", "norm_usage",
    "effective_usage", "level_fs", "rank", "fairshare",
)  # fmt: skip
SSHARE: Final = (
    "Account", "User", "RawShares", "NormShares", "RawUsage", "NormUsage", "EffectvUsage",
    "FairShare", "LevelFS",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Result:
    """Fair-share of the tree of a file; `rows` are in the order of the file."""

    accounts: Accounts
    method: Method
    computed: FairShare

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each entry, by COLUMNS; None where Slurm shows nothing."""
        return [self._row(place, entry) for place, entry in enumerate(self.accounts.entries)]

    def depths(self) -> list[int]:
        """Return for each entry how far below the root account it is."""
        depth = np.zeros(len(self.accounts.tree), dtype=np.int64)
        for distance, rows in enumerate(self.accounts.tree.depths):
            depth[rows] = distance
        return [int(d) for d in depth[self.accounts.row]]

    def _row(self, place: int, entry: Mapping[str, Any]) -> dict[str, Any]:
        at, of = int(self.accounts.row[place]), self.computed
        fair_tree = self.method.algorithm is Algorithm.FAIR_TREE
        is_root, is_user = at == 0, bool(self.accounts.tree.is_user[at])
        ranked = is_user or not fair_tree
        levelled = fair_tree and not is_root and not self.accounts.tree.inherits[at]
        return {
            "id": entry["id"],
            "account": entry["account"],
            "user": entry["user"],
            "parent": entry["parent"],
            "raw_shares": entry.get("raw_shares"),
            "norm_shares": None if is_root else float(of.norm_shares[at]),
            "raw_usage": float(of.raw_usage[at]),
            "norm_usage": None if is_root else float(of.norm_usage[at]),
            "effective_usage": float(of.effective_usage[at]),
            "level_fs": _or_inf(float(of.level_fs[at])) if levelled else None,
            "rank": int(of.rank[at]) if fair_tree and is_user else None,
            "fairshare": float(of.fairshare[at]) if ranked else None,
        }


def compute(accounts: Accounts, method: Method) -> Result:
    """Compute fair-share of the tree of a file."""
    computed = fairshare.compute(
        accounts.tree,
        accounts.own_usage,
        algorithm=method.algorithm,
        dampening=method.dampening,
        ties=method.ties,
    )
    return Result(accounts, method, computed)


def sshare_row(row: Mapping[str, Any], depth: int) -> tuple[str, ...]:
    """Return a row as `sshare -l` prints it, the account indented by its depth."""
    return (
        " " * depth + row["account"],
        row["user"] or "",
        "" if row["raw_shares"] is None else str(row["raw_shares"]),
        _six(row["norm_shares"] or 0.0),
        str(int(row["raw_usage"])),
        _six(row["norm_usage"]),
        _six(row["effective_usage"]),
        _six(row["fairshare"]),
        _six(row["level_fs"]),
    )


def _six(number: float | str | None) -> str:
    if number is None:
        return ""
    return number if isinstance(number, str) else f"{number:.6f}"


def _or_inf(number: float) -> float | str:
    return "inf" if np.isinf(number) else number
