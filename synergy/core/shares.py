"""The account tree as columns, and norm_shares down the tree.

Why: every fair-share algorithm walks the same tree. Must not know usage, time or where the shares
were set. Source: Slurm 22.05, association manager.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from synergy.core.errors import InvalidInput

Floats = npt.NDArray[np.float64]
Reals = npt.NDArray[np.floating[Any]]  # doubles, or long doubles, which Slurm uses
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PARENT: Final = None  # raw_shares of a node that competes one level up, as Slurm's `parent`


class ShareNode(NamedTuple):
    """One account or user; the root has no parent."""

    node_id: str
    parent_id: str | None
    raw_shares: int | None
    is_user: bool = False


@dataclass(frozen=True, eq=False)
class ShareTree:
    """n nodes, parents before children, in columns of shape (n,).

    parent         row of the node above; the root, row 0, has -1
    share_parent   row of the nearest ancestor with shares of its own: its children compete
                   together (Slurm: fair-share parent); the root has -1
    raw_shares     0 where `inherits`
    inherits       raw_shares is `parent`
    position       index of the node in the input: the order of siblings where Slurm depends on it
    levels         rows by distance from the root over `share_parent`, the root's level first; in
                   the order of the input
    depths         rows by distance from the root over `parent`
    level_shares   sum of raw_shares over the node and those it competes with
    account        index of the account among accounts, in the order of rows; undefined for users
    users_below    number of users at and below the node
    """

    node_ids: tuple[str, ...]
    parent: Ints
    share_parent: Ints
    raw_shares: Floats
    inherits: Bools
    is_user: Bools
    position: Ints
    levels: tuple[Ints, ...]
    depths: tuple[Ints, ...]
    level_shares: Floats
    account: Ints
    users_below: Ints

    def __len__(self) -> int:
        return len(self.node_ids)


def build(nodes: Sequence[ShareNode]) -> ShareTree:
    """Return the tree of `nodes`, which may come in any order.

    Raises InvalidInput naming the entry on: no or several roots, a duplicate id, an unknown
    parent, a cycle, a node below a user, raw_shares that are negative or not finite.
    """
    ordered, position = _parents_first(nodes)
    row = {node.node_id: index for index, node in enumerate(ordered)}
    parent = np.array(
        [-1 if node.parent_id is None else row[node.parent_id] for node in ordered], dtype=np.int64
    )
    inherits = np.array([node.raw_shares is PARENT for node in ordered], dtype=np.bool_)
    inherits[0] = False
    share_parent = parent.copy()
    for index in range(1, len(ordered)):  # parents come first: the parent's own link is final
        above = parent[index]
        if inherits[above]:
            share_parent[index] = share_parent[above]
    raw_shares = np.array([float(node.raw_shares or 0) for node in ordered])
    sums = np.bincount(share_parent[1:], weights=raw_shares[1:], minlength=len(ordered))
    level_shares = np.where(share_parent >= 0, sums[share_parent], 0.0)
    is_user = np.array([node.is_user for node in ordered], dtype=np.bool_)
    levels = _by_depth(share_parent, position)
    users_below = is_user.astype(np.int64)
    for level in reversed(levels[1:]):
        np.add.at(users_below, share_parent[level], users_below[level])
    return ShareTree(
        node_ids=tuple(node.node_id for node in ordered),
        parent=parent,
        share_parent=share_parent,
        raw_shares=raw_shares,
        inherits=inherits,
        is_user=is_user,
        position=position,
        levels=levels,
        depths=_by_depth(parent, position),
        level_shares=level_shares,
        account=np.cumsum(~is_user) - 1,
        users_below=users_below,
    )


def _parents_first(nodes: Sequence[ShareNode]) -> tuple[list[ShareNode], Ints]:
    known: dict[str, ShareNode] = {}
    place: dict[str, int] = {}
    children: dict[str, list[ShareNode]] = {}
    roots = []
    for index, node in enumerate(nodes):
        if node.node_id in known:
            raise InvalidInput(f"account tree: {node.node_id!r} appears twice")
        shares = node.raw_shares
        if shares is not PARENT and not 0 <= shares < 2**31 - 1:
            raise InvalidInput(
                f"account tree: raw_shares of {node.node_id!r} is {shares!r}, "
                "but must be from 0 to 2147483646"
            )
        known[node.node_id] = node
        place[node.node_id] = index
        if node.parent_id is None:
            roots.append(node)
        else:
            children.setdefault(node.parent_id, []).append(node)
    if len(roots) != 1:
        raise InvalidInput(
            f"account tree: {len(roots)} nodes have no parent; there must be exactly 1"
        )
    for parent_id, below in children.items():
        if parent_id not in known:
            raise InvalidInput(
                f"account tree: the parent {parent_id!r} of {below[0].node_id!r} does not exist"
            )
        if known[parent_id].is_user:
            raise InvalidInput(
                f"account tree: {below[0].node_id!r} is below the user {parent_id!r}"
            )
    ordered = roots
    for node in ordered:  # the loop appends to the list it walks: breadth first
        ordered.extend(children.get(node.node_id, ()))
    if len(ordered) != len(nodes):
        unreachable = min(known.keys() - {node.node_id for node in ordered})
        raise InvalidInput(f"account tree: {unreachable!r} is part of a cycle, or below one")
    return ordered, np.array([place[node.node_id] for node in ordered], dtype=np.int64)


def _by_depth(above: Ints, position: Ints) -> tuple[Ints, ...]:
    depth = np.zeros(len(above), dtype=np.int64)
    for row in range(1, len(above)):
        depth[row] = depth[above[row]] + 1
    order = np.lexsort((position, depth))
    bounds = np.flatnonzero(np.diff(depth[order])) + 1
    return tuple(np.split(order, bounds))


def with_below(tree: ShareTree, own_usage: Reals) -> Reals:
    """Sum usage, shape (n,), up the tree: each node gets its own and all below it."""
    usage: Reals = own_usage.astype(np.longdouble)
    for depth in reversed(tree.depths[1:]):
        np.add.at(usage, tree.parent[depth], usage[depth])
    return usage


def level_shares_ratio(tree: ShareTree) -> Floats:
    """Return each node's fraction of the shares it competes with, shape (n,): Fair Tree's
    norm_shares.

    The root has 1; a node that inherits has its share parent's value; 0 where no node of the
    level has shares.
    """
    ratio = np.divide(
        tree.raw_shares,
        tree.level_shares,
        out=np.zeros(len(tree)),
        where=tree.level_shares > 0,
    )
    ratio[0] = 1.0
    for level in tree.levels[1:]:
        inherits = level[tree.inherits[level]]
        ratio[inherits] = ratio[tree.share_parent[inherits]]
    return ratio


def norm_shares(tree: ShareTree) -> Floats:
    """Return each node's fraction of the whole, shape (n,): classic norm_shares.

    The product of the level ratios from the node up to the root.
    """
    whole = level_shares_ratio(tree)
    for level in tree.levels[1:]:
        above = tree.share_parent[level]
        whole[level] = np.where(tree.inherits[level], whole[above], whole[level] * whole[above])
    return whole
