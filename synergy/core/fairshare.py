"""Usage compared with shares: level_fs and the FairShare factor in [0, 1].

Why: the factor is the promise of Synergy. Must not know requests, projects, the clock, or how usage
was recorded. Classic and depth-oblivious are here, Fair Tree's ranks in `fairtree`.
Source: Slurm 22.05, "Classic Fairshare Algorithm" and "Fair Tree Fairshare Algorithm".
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from synergy.core import fairtree
from synergy.core.errors import InvalidInput
from synergy.core.fairtree import Ties
from synergy.core.shares import Floats, Ints, Reals, ShareTree, norm_shares, with_below


class Algorithm(StrEnum):
    """How the factor follows from shares and usage."""

    FAIR_TREE = "fair_tree"
    CLASSIC = "classic"
    CLASSIC_DEPTH_OBLIVIOUS = "classic_depth_oblivious"


@dataclass(frozen=True, eq=False)
class FairShare:
    """Columns of shape (n,), a row for each node of the tree.

    norm_shares      fraction of the level's shares (Fair Tree) or of the whole tree's (classic)
    raw_usage        billed TRES-seconds of the node and everything below it, as long doubles
    norm_usage       raw_usage / that of the root
    effective_usage  what the algorithm compares with norm_shares
    level_fs         norm_shares / effective_usage, inf where nothing was used
    rank             Fair Tree: from the number of users down to 1; 0 for accounts and in classic
    fairshare        the factor of users (and of accounts in classic), in [0, 1]
    standing         Fair Tree's intermediate results, for `update`
    """

    norm_shares: Floats
    raw_usage: Reals
    norm_usage: Floats
    effective_usage: Floats
    level_fs: Floats
    rank: Ints
    fairshare: Floats
    standing: fairtree.Standing | None = None


def compute(
    tree: ShareTree,
    own_usage: Reals,
    *,
    algorithm: Algorithm,
    dampening: float = 1.0,
    ties: Ties = Ties.MERGE,
    known: FairShare | None = None,
) -> FairShare:
    """Return the fair-share columns of `tree`.

    own_usage  shape (n,), billed TRES-seconds recorded on the node itself, >= 0
    dampening  classic's FairShareDampeningFactor, >= 1
    ties       Fair Tree: how to rank tied sibling accounts
    known      an earlier result for the same tree and ties: Fair Tree then recomputes only what the
               changed usage affects; in classic, every user depends on the usage of all others

    Raises InvalidInput when a usage is negative or not finite.
    """
    if own_usage.shape != (len(tree),):
        raise InvalidInput(f"usage has shape {own_usage.shape}, the tree has {len(tree)} nodes")
    wrong = (~(np.isfinite(own_usage) & (own_usage >= 0))).nonzero()[0]
    if len(wrong):
        node_id, value = tree.node_ids[wrong[0]], own_usage[wrong[0]]
        raise InvalidInput(f"usage of {node_id!r} is {value}, but must be a number >= 0")
    if algorithm is Algorithm.FAIR_TREE:
        before = known.standing if known else None
        if before is None:
            return _fair_tree(tree, fairtree.compute(tree, own_usage, ties))
        return _fair_tree(tree, fairtree.update(tree, before, own_usage, ties))
    depth_oblivious = algorithm is Algorithm.CLASSIC_DEPTH_OBLIVIOUS
    return _classic(tree, with_below(tree, own_usage), dampening, depth_oblivious)


def _norm_usage(raw_usage: Reals) -> Floats:
    if raw_usage[0] <= 0:
        return np.zeros(len(raw_usage))
    part: Floats = raw_usage.astype(np.float64) / float(raw_usage[0])
    return np.minimum(part, 1.0, out=part)


def _fair_tree(tree: ShareTree, standing: fairtree.Standing) -> FairShare:
    return FairShare(
        norm_shares=standing.norm_shares,
        raw_usage=standing.raw_usage,
        norm_usage=_norm_usage(standing.raw_usage),
        effective_usage=standing.effective_usage.astype(np.float64),
        level_fs=_as_doubles(standing.level_fs),
        rank=standing.rank,
        fairshare=standing.rank / max(1, int(tree.users_below[0])),
        standing=standing,
    )


def _classic(
    tree: ShareTree, raw_usage: Reals, dampening: float, depth_oblivious: bool
) -> FairShare:
    shares, usage = norm_shares(tree), _norm_usage(raw_usage)
    effective = usage.copy()
    effective[0] = 1.0
    together = _usage_together(tree, usage)
    for level in tree.levels[2:]:
        above = tree.share_parent[level]
        if depth_oblivious:
            mixed = _depth_oblivious(
                shares[level],
                usage[level],
                shares[above],
                effective[above],
                together[above],
            )
        else:
            part = _ratio_or(tree.raw_shares[level], tree.level_shares[level], 1.0)
            mixed = usage[level] + (effective[above] - usage[level]) * part
        as_above = tree.inherits[level] | (tree.level_shares[level] <= 0)
        effective[level] = np.where(as_above, effective[above], mixed)
    burden = _ratio_or(effective, shares, 0.0)
    return FairShare(
        norm_shares=shares,
        raw_usage=raw_usage,
        norm_usage=usage,
        effective_usage=effective,
        level_fs=np.where(shares > 0, _ratio_or(shares, effective, np.inf), 0.0),
        rank=np.zeros(len(tree), dtype=np.int64),
        fairshare=np.where(shares > 0, np.exp2(-burden / dampening), 0.0),
    )


def _usage_together(tree: ShareTree, usage: Floats) -> Floats:
    """Return, shape (n,), the summed usage of the children that have their own shares."""
    together = np.zeros(len(tree))
    owners = np.flatnonzero(~tree.inherits[1:]) + 1
    np.add.at(together, tree.share_parent[owners], usage[owners])
    return together


def _depth_oblivious(
    shares: Floats,
    usage: Floats,
    above_shares: Floats,
    above_effective: Floats,
    together: Floats,
) -> Floats:
    """Return effective usage that depends on the ratio of usage to shares, not on depth.

    All of shape (m,): a level's norm_shares and norm_usage, its share parents' norm_shares and
    effective usage, and the usage of all children of the share parent together.
    Source: Slurm's DEPTH_OBLIVIOUS, `_depth_oblivious_set_usage_efctv`.
    """
    countable = (shares > 0) & (above_shares > 0) & (above_effective > 0) & (usage > 0)
    ratio_above = _ratio_or(above_effective, above_shares, 1.0)
    ratio_together = _ratio_or(together, above_shares, 1.0)
    ratio_level = _ratio_or(_ratio_or(usage, shares, 1.0), ratio_together, 1.0)
    log_above = np.log(np.where(countable, ratio_above, 1.0))
    log_level = np.log(np.where(countable, ratio_level, 1.0))
    bend = np.where(log_above * log_level >= 0, 1.0, 1.0 / (1.0 + (5.0 * log_above) ** 2))
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # computed everywhere, used only where countable
        bent: Floats = ratio_above * ratio_level**bend * shares
    effective: Floats = np.where(countable, bent, usage)
    return effective


def _as_doubles(ratios: Reals) -> Floats:
    """Return ratios as doubles; one that overflows becomes infinite."""
    with np.errstate(over="ignore"):
        return ratios.astype(np.float64)


def _ratio_or(part: Floats, whole: Floats, otherwise: float) -> Floats:
    """Divide, with `otherwise` where `whole` is not positive. A ratio that overflows is infinite;
    inf / inf is NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        ratio: Floats = np.divide(part, whole, out=np.full(len(part), otherwise), where=whole > 0)
    return ratio
