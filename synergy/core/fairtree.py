"""Fair Tree: ranks users depth first through the account tree, best level_fs first.

Why: a user's rank depends on its account's rank first, and on its own level_fs only among its
siblings. Must not know usage records or time. Ties depend on exact equality, so everything is
computed in the 80 bit floating point that Slurm uses, where the machine has it (numpy's long
double). Source: Slurm 22.05, "Fair Tree Fairshare Algorithm", and its code where that differs.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synergy.core.shares import (
    Bools,
    Floats,
    Ints,
    Reals,
    ShareTree,
    level_shares_ratio,
    with_below,
)

PARENT_ACCOUNT_LEVEL_FS: Final = 4294967294.0  # Slurm's marker for an account with `parent` shares


ROOT_NORM_SHARES: Final = 1.0 / 4294967294.0  # what Slurm shows where `parent` leads to the root


class Ties(StrEnum):
    """How sibling accounts with equal level_fs are ranked.

    MERGE  their children are ranked as one list: what Slurm documents, and independent of order
    SLURM  accounts are walked one after the other, in the order of the input; the first users of
           the next share the last rank given in the one before: what Slurm's code computes
    """

    MERGE = "merge"
    SLURM = "slurm"


def norm_shares(tree: ShareTree) -> Floats:
    """Return each node's fraction of its siblings' shares, shape (n,), as Slurm shows it."""
    shares = level_shares_ratio(tree)
    shares[tree.inherits & (tree.share_parent == 0)] = ROOT_NORM_SHARES
    return shares


def effective_usage(tree: ShareTree, raw_usage: Reals, rows: Ints) -> Reals:
    """Return each row's fraction of its share parent's usage, shape (m,); 1 for the root."""
    used, above = raw_usage[rows], raw_usage[np.maximum(tree.share_parent[rows], 0)]
    part: Reals = np.divide(used, above, out=np.zeros_like(used), where=above > 0)
    part[rows == 0] = 1.0
    return part


def level_fs(tree: ShareTree, shares: Floats, effective: Reals, rows: Ints) -> Reals:
    """Return shares / effective usage of `rows`, all of shape (m,): inf where nothing was used, 0
    without shares."""
    ratio, used = np.zeros_like(effective), effective > 0
    ratio[(shares > 0) & ~used] = np.inf
    np.divide(shares, effective, out=ratio, where=used)
    inherits, is_user = tree.inherits[rows], tree.is_user[rows]
    ratio[inherits & is_user] = np.inf
    ratio[inherits & ~is_user] = PARENT_ACCOUNT_LEVEL_FS
    return ratio


@dataclass(frozen=True, eq=False)
class Walk:
    """The order in which the tree is walked, in columns of shape (n,).

    visit  how many users are visited before the node
    tied   whether the node ties with the one visited just before it
    head   for an account: the first account whose children are ranked in one list with its own
    """

    visit: Ints
    tied: Bools
    head: Ints


@dataclass(frozen=True, eq=False)
class Standing:
    """All results computed from a tree and its usage, in columns of shape (n,)."""

    own_usage: Reals
    raw_usage: Reals
    norm_shares: Floats
    effective_usage: Reals
    level_fs: Reals
    walk: Walk
    rank: Ints


def compute(tree: ShareTree, own_usage: Reals, ties: Ties) -> Standing:
    """Rank all users; `own_usage`, shape (n,), is the usage recorded on each node itself."""
    everything = np.arange(len(tree))
    raw_usage = with_below(tree, own_usage)
    shares = norm_shares(tree)
    effective = effective_usage(tree, raw_usage, everything)
    ratio = level_fs(tree, shares, effective, everything)
    walk = _walk(tree, ratio, ties)
    return Standing(own_usage, raw_usage, shares, effective, ratio, walk, _ranks(tree, walk))


def update(tree: ShareTree, known: Standing, own_usage: Reals, ties: Ties) -> Standing:
    """Return what `compute` would, bit for bit, starting from the result for earlier usage.

    Usage is summed again only on the paths from changed users to the root, level_fs is compared
    only in the lists on those paths, and the walk visits only these lists and those that move with
    them: the cost follows the changes. What still touches all nodes copies or compares columns.
    """
    changed = (own_usage != known.own_usage).nonzero()[0]
    touched = np.zeros(len(tree), dtype=np.bool_)
    touched[changed] = True
    for depth in reversed(tree.depths[1:]):
        touched[tree.parent[depth[touched[depth]]]] = True
    if not len(changed):
        return known
    raw_usage, effective = known.raw_usage.copy(), known.effective_usage.copy()
    ratio = known.level_fs.copy()
    raw_usage[touched] = own_usage[touched]
    for depth in reversed(tree.depths[1:]):
        rows = depth[touched[tree.parent[depth]]]
        np.add.at(raw_usage, tree.parent[rows], raw_usage[rows])
    rows = (touched[tree.share_parent] & (tree.share_parent >= 0)).nonzero()[0]
    effective[rows] = effective_usage(tree, raw_usage, rows)
    ratio[rows] = level_fs(tree, known.norm_shares[rows], effective[rows], rows)
    walk = _walk(tree, ratio, ties, known.walk, touched)
    rank = known.rank if walk is known.walk else _ranks(tree, walk)
    return Standing(own_usage, raw_usage, known.norm_shares, effective, ratio, walk, rank)


def _walk(
    tree: ShareTree,
    level_fs: Reals,
    ties: Ties,
    known: Walk | None = None,
    touched: Bools | None = None,
) -> Walk:
    """Return the order of a walk that visits the best level_fs first, depth first.

    It is computed level by level. A list holds the children that are ranked among each other: of
    one account, or of accounts that tie (Ties.MERGE). Its first member ties with the node visited
    just before it if the account that opens the list does.

    known, touched  an earlier walk, and the accounts whose children's level_fs may differ from it:
                    only their lists are walked, and the lists that these move, merge or split
    """
    if known is None:
        visit, tied = np.zeros(len(tree), dtype=np.int64), np.zeros(len(tree), dtype=np.bool_)
        head = np.zeros(len(tree), dtype=np.int64)
        walked = np.ones(len(tree), dtype=np.bool_)
    else:
        visit, tied, head = known.visit.copy(), known.tied.copy(), known.head.copy()
        walked = np.zeros(len(tree), dtype=np.bool_)
        walked[0] = True
    walk_changed = known is None
    for level in tree.levels[1:]:
        rows = level if touched is None else level[walked[tree.share_parent[level]]]
        lists = head[tree.share_parent[rows]]
        place, by_value = _places(level_fs[rows])
        order = _best_first(tree.account[lists], place, by_value, ~tree.is_user[rows])
        rows, lists, place = rows[order], lists[order], place[order]
        new_list = _changes(lists)
        new_run = new_list | _changes(place)
        below = tree.users_below[rows]
        ahead = below.cumsum() - below
        list_first = new_list.nonzero()[0][new_list.cumsum() - 1]
        visits = visit[lists] + ahead - ahead[list_first]
        ties_before = ~new_run | (new_list & tied[lists])
        moved = (visits != visit[rows]) | (ties_before != tied[rows])
        walk_changed |= bool(np.count_nonzero(moved))
        visit[rows], tied[rows] = visits, ties_before
        is_account = ~tree.is_user[rows]
        accounts, moved = rows[is_account], moved[is_account]
        run = new_run.cumsum()[is_account] if ties is Ties.MERGE else accounts
        opens = _changes(run)
        heads = accounts[opens][opens.cumsum() - 1]
        if touched is not None:
            walked[accounts] = touched[accounts] | moved
            walk_changed |= _mark_affected(walked, accounts, head[accounts], heads)
        head[accounts] = heads
    return Walk(visit, tied, head) if known is None or walk_changed else known


def _mark_affected(walked: Bools, accounts: Ints, heads_before: Ints, heads: Ints) -> bool:
    """Mark the accounts whose children's list changed members, then all accounts of those lists;
    return whether any list changed."""
    other = heads != heads_before
    walked[accounts] |= other
    walked[heads_before[other]] = True
    walked[heads[walked[accounts]]] = True
    walked[accounts] |= walked[heads]
    return bool(np.count_nonzero(other))


def _changes(values: npt.NDArray[Any]) -> Bools:
    """Return where a value differs from the one before it; the first counts as different."""
    changes = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes


def _best_first(lists: Ints, place: Ints, by_value: Ints, is_account: Bools) -> Ints:
    """Order by list, then place, then users before accounts, then input order.

    Two unstable sorts, by value and then by unique integers, are several times as fast as one sort
    by four keys. Where there are only users, their order within a tie does not matter, so the order
    by value is sorted by list with a stable sort: of 16 bit numbers that is a radix sort.
    """
    count = len(lists)
    if count and not np.count_nonzero(is_account) and int(lists.max()) < 2**16:
        return by_value[np.argsort(lists[by_value].astype(np.uint16), kind="stable")]
    if count and (int(lists.max()) + 1) * 2 * count * count >= 2**63:
        return np.lexsort((is_account, place, lists))
    key = ((lists * count + place) * 2 + is_account) * count + np.arange(count)
    return np.argsort(key)


def _places(values: Reals) -> tuple[Ints, Ints]:
    """Return each value's dense rank, 0 for the largest; and an order of the values, largest first.

    Doubles sort several times as fast as long doubles, so values are sorted as doubles, and only
    those that rounding made equal are sorted again as long doubles.
    """
    with np.errstate(over="ignore"):  # what overflows is infinite, and sorted again below
        rounded = -values.astype(np.float64)
    order = np.argsort(rounded)
    exact, new_run = values[order], _changes(rounded[order])
    changes = _changes(exact)
    mixed = changes & ~new_run
    if np.count_nonzero(mixed):
        run = new_run.cumsum() - 1
        again = np.isin(run, run[mixed])
        rows = order[again]
        order[again] = rows[np.argsort(-values[rows])]
        changes = _changes(values[order])
    place = np.zeros(len(values), dtype=np.int64)
    place[order] = changes.cumsum() - 1
    return place, order


def _ranks(tree: ShareTree, walk: Walk) -> Ints:
    """Return the rank of users, from the number of users down to 1, shape (n,); 0 for accounts.

    A user that ties with the sibling before it, and the first users of an account that ties with
    the user before it, share the last rank given; the ranks in between are skipped.
    """
    users = tree.is_user.nonzero()[0]
    ranks = np.zeros(len(tree), dtype=np.int64)
    if not len(users):
        return ranks
    visited = np.zeros(len(users), dtype=np.int64)
    visited[walk.visit[users]] = users
    leader = np.maximum.accumulate(np.where(walk.tied[visited], 0, np.arange(len(users))))
    ranks[visited] = len(users) - leader
    return ranks
