"""`fairshare compute`: the rows of `sshare -l` for the tree of a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from synergy.calc.document import Accounts, Method
from synergy.core import fairshare
from synergy.core.errors import InvalidInput
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

    def rows(self) -> list[dict[str, object]]:
        """Return a row for each entry, by COLUMNS; None where Slurm shows nothing."""
        return [self._row(place, entry) for place, entry in enumerate(self.accounts.entries)]

    def sshare(self) -> list[tuple[str, ...]]:
        """Return the rows as `sshare -l` prints them, by SSHARE, accounts indented by depth."""
        depth = np.zeros(len(self.accounts.tree), dtype=np.int64)
        for distance, rows in enumerate(self.accounts.tree.depths):
            depth[rows] = distance
        printed = self._printed_of_root()
        return [
            _sshare_row(
                row if depth[at] else row | printed,
                int(self.computed.raw_usage[at]),  # truncated, not rounded, from full precision
                int(depth[at]),
            )
            for row, at in zip(self.rows(), self.accounts.row, strict=True)
        ]

    def _printed_of_root(self) -> dict[str, float]:
        """Return the meaningless values that sshare prints for the root account all the same."""
        if self.method.algorithm is Algorithm.FAIR_TREE:
            return {"norm_shares": 0.0}
        return {"norm_shares": 1.0, "fairshare": float(self.computed.fairshare[0])}

    def _row(self, place: int, entry: Mapping[str, object]) -> dict[str, object]:
        at, of = int(self.accounts.row[place]), self.computed
        fair_tree = self.method.algorithm is Algorithm.FAIR_TREE
        is_root, is_user = at == 0, bool(self.accounts.tree.is_user[at])
        ranked = is_user or not (fair_tree or is_root)
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
    """Compute fair-share for the tree of a file. Raises InvalidInput naming an entry whose fraction
    of the shares is so small that its numbers overflow a double."""
    computed = fairshare.compute(
        accounts.tree,
        accounts.own_usage,
        algorithm=method.algorithm,
        dampening=method.dampening,
        ties=method.ties,
    )
    _check_finite(accounts, computed)
    return Result(accounts, method, computed)


def _check_finite(accounts: Accounts, computed: FairShare) -> None:
    for name in ("norm_shares", "raw_usage", "norm_usage", "effective_usage", "fairshare"):
        wrong = np.flatnonzero(~np.isfinite(getattr(computed, name)[accounts.row]))
        if len(wrong):
            share = computed.norm_shares[accounts.row[wrong[0]]]
            raise InvalidInput(
                f"id {accounts.entries[wrong[0]]['id']}: with {share} of all shares, its {name} "
                "cannot be computed; make the tree flatter, or its shares less unequal"
            )


def _sshare_row(row: Mapping[str, Any], raw_usage: int, depth: int) -> tuple[str, ...]:
    return (
        " " * depth + row["account"],
        row["user"] or "",
        "" if row["raw_shares"] is None else str(row["raw_shares"]),
        _six(row["norm_shares"]),
        str(raw_usage),
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
