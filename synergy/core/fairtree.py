"""Fair Tree: ranks users depth first through the account tree, best level_fs first.

Why: a user's place depends on its account's standing first, and on its own only among its siblings.
Must not know usage records or time. Ties hang on exact equality, so everything is computed in the
80 bit floating point that Slurm computes in, where the machine has it (numpy's long double).
Source: Slurm 22.05, "Fair Tree Fairshare Algorithm", and what its program does where it differs.
"""

from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synergy.core.shares import Bools, Floats, Ints, Reals, ShareTree, level_shares_ratio

PARENT_ACCOUNT_LEVEL_FS: Final = 4294967294.0  # Slurm's marker for an account with `parent` shares


ROOT_NORM_SHARES: Final = 1.0 / 4294967294.0  # what Slurm shows where `parent` leads to the root


class Ties(StrEnum):
    """What becomes of sibling accounts with equal level_fs.

    MERGE  their children are ranked as one list: what Slurm documents, and independent of order
    SLURM  one account is walked after the other, in the order of the input; the first users of the
           next share the last rank given in the one before: what Slurm's program computes
    """

    MERGE = "merge"
    SLURM = "slurm"


def norm_shares(tree: ShareTree) -> Floats:
    """Return each node's part among its siblings, shape (n,), as Slurm shows it."""
    shares = level_shares_ratio(tree)
    shares[tree.inherits & (tree.share_parent == 0)] = ROOT_NORM_SHARES
    return shares


def effective_usage(tree: ShareTree, raw_usage: Reals) -> Reals:
    """Return each node's part of what its share parent used, shape (n,); the root's is 1."""
    above = raw_usage[np.maximum(tree.share_parent, 0)]
    part: Reals = np.divide(raw_usage, above, out=np.zeros_like(raw_usage), where=above > 0)
    part[0] = 1.0
    return part


def level_fs(tree: ShareTree, shares: Floats, effective: Reals) -> Reals:
    """Return shares / effective usage, shape (n,): inf where nothing was used, 0 without shares."""
    ratio, used = np.zeros(len(tree), dtype=effective.dtype), effective > 0
    ratio[(shares > 0) & ~used] = np.inf
    np.divide(shares, effective, out=ratio, where=used)
    ratio[tree.inherits & tree.is_user] = np.inf
    ratio[tree.inherits & ~tree.is_user] = PARENT_ACCOUNT_LEVEL_FS
    return ratio


def ranks(tree: ShareTree, level_fs: Reals, ties: Ties) -> Ints:
    """Return the rank of users, from the number of users down to 1, shape (n,); 0 for accounts.

    A user that ties with the sibling before it, and the first users of an account that ties with
    the user before it, share the rank given last; the ranks in between are skipped.

    The walk goes level by level instead of depth first. A list is the children that are ranked
    among each other; `before` counts the users visited before it, and `list_tied` tells whether
    its first member ties with what was visited just before.
    """
    below = _users_below(tree)
    users = np.flatnonzero(tree.is_user)
    visit = np.zeros(len(tree), dtype=np.int64)
    tied = np.zeros(len(tree), dtype=np.bool_)
    list_of = np.zeros(len(tree), dtype=np.int64)  # account row -> number of its children's list
    before, list_tied = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.bool_)
    for level in tree.levels[1:]:
        lists = list_of[tree.share_parent[level]]
        place, by_value = _places(level_fs[level])
        order = _best_first(lists, place, by_value, ~tree.is_user[level])
        rows, lists = level[order], lists[order]
        new_list = _changes(lists)
        new_run = new_list | _changes(place[order])
        ahead = np.cumsum(below[rows]) - below[rows]
        list_first = np.flatnonzero(new_list)[np.cumsum(new_list) - 1]
        visit[rows] = before[lists] + ahead - ahead[list_first]
        tied[rows] = ~new_run | (new_list & list_tied[lists])
        accounts = np.flatnonzero(~tree.is_user[rows])
        merged = np.cumsum(new_run)[accounts] if ties is Ties.MERGE else accounts
        opens = _changes(merged)
        list_of[rows[accounts]] = np.cumsum(opens) - 1
        first = rows[accounts[opens]]
        before, list_tied = visit[first], tied[first]
    return _shared_ranks(users, visit, tied)


def _users_below(tree: ShareTree) -> Ints:
    users = tree.is_user.astype(np.int64)
    for level in reversed(tree.levels[1:]):
        np.add.at(users, tree.share_parent[level], users[level])
    return users


def _changes(values: npt.NDArray[Any]) -> Bools:
    """Tell where a value differs from the one before it; the first does."""
    changes = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def _best_first(lists: Ints, place: Ints, by_value: Ints, is_account: Bools) -> Ints:
    """Order by list, then place, then users before accounts, then input order.

    Two unstable sorts, by value and by unique integers, are several times as fast as one by four
    keys. Where there are only users, whose order in a tie is all the same, what is in the order of
    values already is parted by list: numbers of 16 bits are not compared, but counted.
    """
    count = len(lists)
    if count and not is_account.any() and int(lists.max()) < 2**16:
        return by_value[np.argsort(lists[by_value].astype(np.uint16), kind="stable")]
    if count and (int(lists.max()) + 1) * 2 * count * count >= 2**63:
        return np.lexsort((is_account, place, lists))
    key = ((lists * count + place) * 2 + is_account) * count + np.arange(count)
    return np.argsort(key)


def _places(values: Reals) -> tuple[Ints, Ints]:
    """Return for each value how many larger ones there are, equal ones counted once; and an order
    of the values, the largest first.

    Doubles sort several times as fast as long doubles: only those that rounding made equal are
    sorted once more.
    """
    rounded = -values.astype(np.float64)
    order = np.argsort(rounded)
    exact, new_run = values[order], _changes(rounded[order])
    changes = _changes(exact)
    mixed = changes & ~new_run
    if mixed.any():
        run = np.cumsum(new_run) - 1
        again = np.isin(run, run[mixed])
        rows = order[again]
        order[again] = rows[np.argsort(-values[rows])]
        changes = _changes(values[order])
    place = np.zeros(len(values), dtype=np.int64)
    place[order] = np.cumsum(changes) - 1
    return place, order


def _shared_ranks(users: Ints, visit: Ints, tied: Bools) -> Ints:
    """Rank users in the order of visit; who is tied gets the rank of the one visited before."""
    ranks = np.zeros(len(visit), dtype=np.int64)
    if not len(users):
        return ranks
    visited = np.zeros(len(users), dtype=np.int64)
    visited[visit[users]] = users
    leader = np.maximum.accumulate(np.where(tied[visited], 0, np.arange(len(users))))
    ranks[visited] = len(users) - leader
    return ranks
