"""Fair Tree over a thousand to a million associations, and a pass of the manager.

The baseline of the algorithm is the time that a real Slurm took for as many associations on one
slow machine with two processors (22.05.8, recorded; upper bounds): 0.51-0.55 ms for 3,202 and
5.9-6.0 ms for 32,002. The baseline of a pass is one in which nobody held anything; that of factors
computed from what was charged is the computation of the whole tree.
"""

import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import Figures, show, timed_s
from synergy.core import fairshare, shares, usage
from synergy.core.fairshare import Algorithm
from synergy.core.fairtree import Ties
from synergy.core.usage import HalfLife, History, Spans

SIZES = {1_000: 60, 3_202: 201, 32_002: 2_001, 100_000: 5_000, 1_000_000: 20_000}
SLURM_MS = {3_202: [0.51, 0.55], 32_002: [5.9, 6.0]}
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def share_tree(associations: int, accounts: int) -> shares.ShareTree:
    nodes = [shares.ShareNode("root", None, 1)]
    nodes += [
        shares.ShareNode(f"a{n}", "root" if n < 20 else f"a{n % 20}", 1 + n % 7)
        for n in range(accounts)
    ]
    nodes += [
        shares.ShareNode(f"u{n}", f"a{n % accounts}", 1 + n % 3, True)
        for n in range(associations - accounts - 1)
    ]
    return shares.build(nodes)


def algorithms(associations: int, accounts: int) -> Figures:
    tree = share_tree(associations, accounts)
    own = np.where(tree.is_user, np.random.default_rng(1).random(len(tree)) * 1e6, 0.0)
    times = 5 if associations > 200_000 else 25

    def timed(algorithm: Algorithm, ties: Ties = Ties.MERGE) -> dict[str, float]:
        return timed_s(
            lambda: fairshare.compute(tree, own, algorithm=algorithm, ties=ties), times=times
        )

    return {
        "associations": associations,
        "accounts": accounts,
        "fair_tree_s": timed(Algorithm.FAIR_TREE),
        "fair_tree_ties_slurm_s": timed(Algorithm.FAIR_TREE, Ties.SLURM),
        "classic_s": timed(Algorithm.CLASSIC),
        "slurm_fair_tree_ms": SLURM_MS.get(associations),
    }


def changes(associations: int, accounts: int, charged: int) -> Figures:
    """Factors of a pass that charged so many associations, in turns by a bit and by much."""
    tree, rng = share_tree(associations, accounts), np.random.default_rng(3)
    users = np.flatnonzero(tree.is_user)
    own = np.where(tree.is_user, rng.random(len(tree)) * 1e6, 0.0)
    known = fairshare.compute(tree, own, algorithm=Algorithm.FAIR_TREE)
    result: Figures = {"associations": associations, "charged": charged}
    for name, maximum in (("small_charges", 1.0), ("large_charges", 1e6)):
        later = own.copy()
        later[rng.choice(users, charged, replace=False)] += rng.random(charged) * maximum
        result[f"{name}_s"] = timed_s(
            partial(fairshare.compute, tree, later, algorithm=Algorithm.FAIR_TREE, known=known),
            times=25,
        )
    result["whole_s"] = timed_s(
        lambda: fairshare.compute(tree, own, algorithm=Algorithm.FAIR_TREE), times=25
    )
    return result


def charging(associations: int, holds: int) -> Figures:
    """A pass over a history of that many associations of which some held something."""
    history = History(buckets={usage.DECAYING: np.random.default_rng(2).random(associations)})
    spans = Spans(
        association=np.arange(holds) * (associations // max(1, holds)),
        begin_ago_s=np.full(holds, 300.0),
        end_ago_s=np.zeros(holds),
        rate=np.ones(holds),
    )
    fading, changed = HalfLife(half_life_s=604_800.0), 0

    def one_pass() -> None:
        nonlocal changed
        later = NOW + timedelta(seconds=300)
        done = usage.charge(history, spans, fading, now=later, elapsed_s=300.0)
        changed = sum(len(ids) for ids in done.changed.values())

    return {"holds": holds, "pass_s": timed_s(one_pass, times=25), "rows_written": changed}


if __name__ == "__main__":
    sizes = [algorithms(associations, accounts) for associations, accounts in SIZES.items()]
    charged = [changes(100_000, 5_000, charged) for charged in (1, 100, 1_000, 10_000)]
    passes = [charging(100_000, holds) for holds in (0, 100, 10_000)]
    small, large = (size["fair_tree_s"]["median"] for size in (sizes[0], sizes[-1]))
    show({
        "benchmark": "fairshare",
        "baseline": "real Slurm's recorded times; a pass without holds",
        "sizes": sizes,
        "ratio_of_times_1k_to_1M": large / small,
        "ratio_to_slurm_3202": sizes[1]["fair_tree_s"]["median"] * 1e3 / SLURM_MS[3_202][1],
        "ratio_to_slurm_32002": sizes[2]["fair_tree_s"]["median"] * 1e3 / SLURM_MS[32_002][1],
        "factors_from_changes": charged,
        "ratio_whole_to_100_changes":
            charged[1]["whole_s"]["median"] / charged[1]["small_charges_s"]["median"],
        "charging_100000_associations": passes,
        "ratio_of_passes_10000_to_0_holds":
            passes[2]["pass_s"]["median"] / passes[0]["pass_s"]["median"],
    })  # fmt: skip
