"""Past usage, decayed, compared with shares: level_fs and the FairShare factor in [0, 1].

Why: the factor is the promise of Synergy. Must not know requests, projects or the clock.
Source: Slurm 22.05, "Fair Tree Fairshare Algorithm" and "Classic Fairshare Algorithm".
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from synergy.core.errors import InvalidInput
from synergy.core.shares import Floats, Ints, ShareTree, level_shares_ratio, norm_shares

PARENT_ACCOUNT_LEVEL_FS = 4294967294.0  # Slurm's marker for an account with `parent` shares
SMALLEST_DECAY = 2.2e-308  # the factor never vanishes, so that ratios survive a long stop


class Algorithm(StrEnum):
    """How the factor is made from shares and usage."""

    FAIR_TREE = "fair_tree"
    CLASSIC = "classic"


@dataclass(frozen=True, eq=False)
class FairShare:
    """Columns of shape (n,), a row for each node of the tree.

    norm_shares      part of the level (Fair Tree) or of the whole (classic)
    raw_usage        billed TRES-seconds of the node and everything below it
    norm_usage       raw_usage over the root's
    effective_usage  what the algorithm compares with norm_shares
    level_fs         norm_shares / effective_usage, inf where nothing was used
    fairshare        the factor of users (and of accounts in classic), in [0, 1]
    """

    norm_shares: Floats
    raw_usage: Floats
    norm_usage: Floats
    effective_usage: Floats
    level_fs: Floats
    fairshare: Floats


def decay_factor(elapsed_s: float, half_life_s: float) -> float:
    """Return what is left of 1 TRES-second after `elapsed_s` seconds.

    half_life_s  seconds; 0 disables decay, as in Slurm
    elapsed_s    seconds; what is negative (the clock was set back) does not decay

    Source: Slurm's `_apply_decay`, (1 - 0.693 / half_life) ** elapsed, a first-order 2^(-t/h).
    """
    if half_life_s <= 0 or elapsed_s <= 0:
        return 1.0
    per_second = max(0.0, 1.0 - 0.693 / half_life_s)
    return max(float(per_second**elapsed_s), SMALLEST_DECAY)


def charged_usage(span_s: Floats, billing: Floats, half_life_s: float) -> Floats:
    """Return the usage of spans that end now, shape (n,), in billed TRES-seconds.

    span_s   shape (n,), seconds of each span since the last pass, >= 0
    billing  shape (n,), billed TRES held during the span, >= 0

    Source: Slurm's `_apply_new_usage`: the whole span is weighted with the decay of its length.
    """
    decays = np.array([decay_factor(float(span), half_life_s) for span in np.unique(span_s)])
    _, inverse = np.unique(span_s, return_inverse=True)
    charged: Floats = span_s * billing * decays[inverse] if len(span_s) else np.zeros(0)
    return charged


def account_usage(tree: ShareTree, own_usage: Floats) -> Floats:
    """Sum `own_usage`, shape (n,), up the tree: each node gets its own and all below it."""
    usage = own_usage.copy()
    for depth in reversed(tree.depths[1:]):
        np.add.at(usage, tree.parent[depth], usage[depth])
    return usage


def compute(
    tree: ShareTree, own_usage: Floats, *, algorithm: Algorithm, dampening: float = 1.0
) -> FairShare:
    """Return the fair-share columns of `tree`.

    own_usage  shape (n,), billed TRES-seconds recorded on the node itself, >= 0
    dampening  classic's FairShareDampeningFactor, >= 1

    Raises InvalidInput when a usage is negative or not finite.
    """
    if own_usage.shape != (len(tree),):
        raise InvalidInput(f"usage has shape {own_usage.shape}, the tree has {len(tree)} nodes")
    wrong = np.flatnonzero(~(np.isfinite(own_usage) & (own_usage >= 0)))
    if len(wrong):
        node_id, value = tree.node_ids[wrong[0]], own_usage[wrong[0]]
        raise InvalidInput(f"usage of {node_id!r} is {value}, but must be a number >= 0")
    raw_usage = account_usage(tree, own_usage)
    if algorithm is Algorithm.CLASSIC:
        return _classic(tree, raw_usage, dampening)
    return _fair_tree(tree, raw_usage)


def _norm_usage(raw_usage: Floats) -> Floats:
    if raw_usage[0] <= 0:
        return np.zeros_like(raw_usage)
    part: Floats = np.minimum(raw_usage / raw_usage[0], 1.0)
    return part


def _ratio(shares: Floats, usage: Floats) -> Floats:
    idle = np.where(shares > 0, np.inf, 0.0)
    return np.divide(shares, usage, out=idle, where=(usage > 0) & (shares > 0))


def _classic(tree: ShareTree, raw_usage: Floats, dampening: float) -> FairShare:
    shares, usage = norm_shares(tree), _norm_usage(raw_usage)
    effective = usage.copy()
    for level in tree.levels[2:]:
        above = tree.share_parent[level]
        part = np.divide(
            tree.raw_shares[level],
            tree.level_shares[level],
            out=np.ones(len(level)),
            where=tree.level_shares[level] > 0,
        )
        mixed = usage[level] + (effective[above] - usage[level]) * part
        as_above = tree.inherits[level] | (tree.level_shares[level] <= 0)
        effective[level] = np.where(as_above, effective[above], mixed)
    burden = np.divide(effective, shares, out=np.zeros(len(tree)), where=shares > 0)
    factor = np.where(shares > 0, np.exp2(-burden / dampening), 0.0)
    return FairShare(shares, raw_usage, usage, effective, _ratio(shares, effective), factor)


def _fair_tree(tree: ShareTree, raw_usage: Floats) -> FairShare:
    shares = level_shares_ratio(tree)
    above = np.maximum(tree.share_parent, 0)
    effective = np.divide(
        raw_usage, raw_usage[above], out=np.zeros(len(tree)), where=raw_usage[above] > 0
    )
    level_fs = _ratio(shares, effective)
    level_fs[tree.inherits & tree.is_user] = np.inf
    level_fs[tree.inherits & ~tree.is_user] = PARENT_ACCOUNT_LEVEL_FS
    return FairShare(
        shares,
        raw_usage,
        _norm_usage(raw_usage),
        effective,
        level_fs,
        _fair_tree_factor(tree, level_fs),
    )


def _users_below(tree: ShareTree) -> Ints:
    users = tree.is_user.astype(np.int64)
    for level in reversed(tree.levels[1:]):
        np.add.at(users, tree.share_parent[level], users[level])
    return users


def _fair_tree_factor(tree: ShareTree, level_fs: Floats) -> Floats:
    """Rank the users depth first, best level_fs first, and return rank / users.

    Sibling accounts with equal level_fs are merged: their children are ranked as one list, as
    Slurm documents it, so that the order of siblings never matters. Users that tie, and a user
    that ties with an account's first users, share a rank; the rank after them is skipped.

    The walk goes level by level. `before` counts the users ranked before a list of children;
    `shared_rank` is the place a list's first run takes over from a tie above it, or -1.
    """
    users = _users_below(tree)
    count = int(users[0])
    factor = np.zeros(len(tree))
    if count == 0:
        return factor
    list_of = np.full(len(tree), -1, dtype=np.int64)  # account row -> number of its children list
    list_of[0] = 0
    before, shared_rank = np.zeros(1, dtype=np.int64), np.full(1, -1, dtype=np.int64)
    for level in tree.levels[1:]:
        siblings = list_of[tree.share_parent[level]]
        order = np.lexsort((~tree.is_user[level], -level_fs[level], siblings))
        rows, siblings = level[order], siblings[order]
        new_list = np.diff(siblings, prepend=-1) != 0
        previous = np.concatenate([[np.nan], level_fs[rows][:-1]])
        new_run = new_list | (level_fs[rows] != previous)
        run = np.cumsum(new_run) - 1
        run_first = np.flatnonzero(new_run)
        ahead = np.cumsum(users[rows]) - users[rows]
        list_first = np.flatnonzero(new_list)[np.cumsum(new_list) - 1]
        place = before[siblings] + ahead - ahead[list_first]
        inherited = np.where(new_list, shared_rank[siblings], -1)[run_first]
        run_place = np.where(inherited >= 0, inherited, place[run_first])[run]
        factor[rows] = np.where(tree.is_user[rows], (count - run_place) / count, 0.0)
        # Children of a run's accounts form one list, which starts at the run's first account.
        accounts = np.flatnonzero(~tree.is_user[rows])
        lists, first_account = np.unique(run[accounts], return_index=True)
        first_account = accounts[first_account]
        list_of[rows[accounts]] = np.searchsorted(lists, run[accounts])
        before = place[first_account]
        tied = tree.is_user[rows[run_first[lists]]] | (inherited[lists] >= 0)
        shared_rank = np.where(tied, run_place[first_account], -1)
    return factor
