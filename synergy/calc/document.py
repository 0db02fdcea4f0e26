"""Reads the calculators' input: JSON with an account tree, as recorded from a real Slurm.

Why: both calculators start from the same tree and the same settings. Must not know the formulas.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synergy.calc import files, slurm_text
from synergy.core import shares
from synergy.core.errors import InvalidInput
from synergy.core.fairshare import Algorithm
from synergy.core.fairtree import Ties
from synergy.core.numbers import integer, number, shown
from synergy.core.shares import ShareNode, ShareTree

LongFloats = npt.NDArray[np.longdouble]
MAX_USAGE: Final = 1e30  # sums of these do not overflow a double
MAX_BYTES: Final = 2**28
_ENTRY_KEYS: Final = frozenset(
    {"id", "account", "user", "parent", "raw_shares", "raw_usage", "own_usage", "priority"}
)
_REMARKS: Final = frozenset(
    {
        "name",
        "note",
        "slurm_version",
        "user_associations",
        "expected",
        "ranks_differ_with_double",
        "ranks_differ_with_rational",
        "ranks_differ_with_documented_merge",
    }
)  # keys of a recording besides its input
FLAGS: Final = frozenset({
    "ACCRUE_ALWAYS", "CALCULATE_RUNNING", "DEPTH_OBLIVIOUS", "FAIR_TREE", "INCR_ONLY", "MAX_TRES",
    "NO_FAIR_TREE", "NO_NORMAL_ALL", "NO_NORMAL_ASSOC", "NO_NORMAL_PART", "NO_NORMAL_QOS",
    "NO_NORMAL_TRES", "SMALL_RELATIVE_TO_TIME",
})  # fmt: skip


def dampening_of(value: object, what: str) -> float:
    """Read classic's FairShareDampeningFactor, within Slurm's bounds. Raises InvalidInput."""
    return number(value, what, lowest=1, highest=65533)


_RESETS: Final = ("NONE", "NOW", "DAILY", "WEEKLY", "MONTHLY", "QUARTERLY", "YEARLY")
_WEIGHT: Final = partial(integer, lowest=0, highest=slurm_text.MAX_POINTS)
# Every setting that affects priority, with its parser: those of slurm.conf, and two of our own.
_SETTINGS: Final[Mapping[str, Callable[[object, str], object]]] = {
    "algorithm": partial(slurm_text.choice, allowed=[one.value for one in Algorithm]),
    "ties": partial(slurm_text.choice, allowed=[one.value for one in Ties]),
    "FairShareDampeningFactor": dampening_of,
    "PriorityCalcPeriod": slurm_text.seconds,
    "PriorityDecayHalfLife": slurm_text.seconds,
    "PriorityFavorSmall": slurm_text.yes,
    "PriorityFlags": partial(slurm_text.flags, known=FLAGS),
    "PriorityMaxAge": slurm_text.seconds,
    "PriorityParameters": slurm_text.name,
    "PrioritySiteFactorParameters": slurm_text.name,
    "PrioritySiteFactorPlugin": slurm_text.name,
    "PriorityType": slurm_text.name,
    "PriorityUsageResetPeriod": partial(slurm_text.choice, allowed=_RESETS),
    "PriorityWeightAge": _WEIGHT,
    "PriorityWeightAssoc": _WEIGHT,
    "PriorityWeightFairshare": _WEIGHT,
    "PriorityWeightJobSize": _WEIGHT,
    "PriorityWeightPartition": _WEIGHT,
    "PriorityWeightQOS": _WEIGHT,
    "PriorityWeightTRES": slurm_text.tres_weights,
}
_BY_SMALL_LETTERS: Final = {
    key.lower(): key for key in _SETTINGS
}  # slurm.conf is not case sensitive
_MIN_SIMILARITY: Final = 0.85  # one wrong letter in the shortest of them, a few in the longest


@dataclass(frozen=True, eq=False, kw_only=True)
class Accounts:
    """The account tree of a file.

    entries    the file's own, in its order
    tree       the share tree; `row`, shape (n,), maps an entry to its row
    own_usage  shape (n,) in the rows of `tree`, usage recorded on each node itself
    """

    entries: list[Mapping[str, Any]]
    tree: ShareTree
    row: npt.NDArray[np.int64]
    own_usage: LongFloats


@dataclass(frozen=True, kw_only=True)
class Method:
    """How to compute fair-share."""

    algorithm: Algorithm
    dampening: float
    ties: Ties


def read(path: str, *, more_keys: frozenset[str] = frozenset()) -> dict[str, object]:
    """Return the JSON object of a file or pipe, plain or gzip, or of standard input for "-".

    Raises InvalidInput.
    """
    name = files.name_of(path)
    with files.opened(path) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{name} has more than {MAX_BYTES} bytes")
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InvalidInput(f"{name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f'{name} must hold a JSON object with "tree"')
    slurm_text.known_keys(document, _REMARKS | {"config", "tree"} | more_keys, name)
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made: dict[str, object] = {}
    for key, value in pairs:
        if key in made:
            raise InvalidInput(f"{shown(key)} appears twice in one object")
        made[key] = value
    return made


def config_of(document: Mapping[str, object]) -> Mapping[str, Any]:
    """Return the parsed settings that affect priority, by their names in slurm.conf.

    Raises InvalidInput naming the setting, also for a misspelt one.
    """
    read: dict[str, object] = {}
    for key, value in _config(document).items():
        known = _setting(key)
        if known in read:
            raise InvalidInput(f"config: {known} appears twice")
        if known is not None:
            read[known] = _SETTINGS[known](value, known)
    return read


def ignored_settings(document: Mapping[str, object]) -> list[str]:
    """Return the names of settings that do not affect priority. Raises InvalidInput."""
    return [key for key in _config(document) if _setting(key) is None]


def _config(document: Mapping[str, object]) -> Mapping[str, object]:
    config = document.get("config", {})
    if not isinstance(config, dict):
        raise InvalidInput("config must be an object of settings")
    return config


def _setting(key: str) -> str | None:
    """Return the setting that a key names, None if it does not affect priority. Raises
    InvalidInput."""
    small = key.lower()
    if small in _BY_SMALL_LETTERS:
        return _BY_SMALL_LETTERS[small]
    ours = small.startswith("priority")
    near = get_close_matches(small, _BY_SMALL_LETTERS, n=1, cutoff=0.0 if ours else _MIN_SIMILARITY)
    if not near:
        return None
    raise InvalidInput(
        f"config: {shown(key)} is not one of the settings of slurm.conf; the nearest is "
        f"{_BY_SMALL_LETTERS[near[0]]}"
    )


def method_of(
    config: Mapping[str, Any],
    *,
    algorithm: str | None = None,
    dampening: float | None = None,
    ties: str | None = None,
) -> Method:
    """Return how to compute; arguments take precedence over the file's settings."""
    flags = config.get("PriorityFlags", frozenset())
    by_flags = Algorithm.CLASSIC if "NO_FAIR_TREE" in flags else Algorithm.FAIR_TREE
    if "DEPTH_OBLIVIOUS" in flags:
        by_flags = Algorithm.CLASSIC_DEPTH_OBLIVIOUS
    factor = config.get("FairShareDampeningFactor", 1.0) if dampening is None else dampening
    return Method(
        algorithm=Algorithm(algorithm or config.get("algorithm", by_flags)),
        dampening=factor,
        ties=Ties(ties or config.get("ties", Ties.MERGE)),
    )


def accounts_of(document: Mapping[str, object]) -> Accounts:
    """Return the account tree. Raises InvalidInput naming the entry."""
    entries = document.get("tree")
    if not isinstance(entries, list) or not entries:
        raise InvalidInput("tree must be a list with at least the root account")
    labels = [_label(entry, place) for place, entry in enumerate(entries)]
    known = _accounts(entries, labels)
    users = {entry["user"] for entry in entries}
    nodes = [
        ShareNode(
            label,
            _parent_label(entry, label, known, users),
            _raw_shares(entry, label),
            entry["user"] is not None,
        )
        for entry, label in zip(entries, labels, strict=True)
    ]
    tree = shares.build(nodes)
    row = np.zeros(len(tree), dtype=np.int64)
    row[tree.position] = np.arange(len(tree))
    return Accounts(
        entries=entries, tree=tree, row=row, own_usage=_own_usage(entries, labels, tree, row)
    )


def _label(entry: object, place: int) -> str:
    """Return the name of an entry in error messages; it is unique if ids are."""
    if not isinstance(entry, dict):
        raise InvalidInput(f"tree entry {place + 1} must be an object")
    identity = entry.get("id")
    if isinstance(identity, bool) or not isinstance(identity, int | str):
        raise InvalidInput(f"tree entry {place + 1}: id must be a number or a text")
    label = f"id {slurm_text.name(str(identity), f'tree entry {place + 1}: id')}"
    slurm_text.known_keys(entry, _ENTRY_KEYS, label)
    for key in ("account", "user", "parent"):
        if key not in entry:
            raise InvalidInput(f"{label}: {key!r} is missing")
        if key == "account" or entry[key] is not None:
            slurm_text.name(entry[key], f"{label}: {key}")
    return label


def _accounts(entries: list[Mapping[str, Any]], labels: list[str]) -> dict[str, str]:
    known: dict[str, str] = {}
    seen: dict[tuple[str, str | None], str] = {}
    for entry, label in zip(entries, labels, strict=True):
        key = entry["account"], entry["user"]
        if key in seen:
            who = f"user {key[1]!r} of account {key[0]!r}" if key[1] else f"account {key[0]!r}"
            raise InvalidInput(f"{label}: {who} appears already, as {seen[key]}")
        seen[key] = label
        if entry["user"] is None:
            known[entry["account"]] = label
    return known


def _parent_label(
    entry: Mapping[str, Any], label: str, known: Mapping[str, str], users: set[str | None]
) -> str | None:
    parent: str | None = entry["parent"]
    if parent is None:
        if entry["user"] is not None:
            raise InvalidInput(f"{label}: user {entry['user']!r} must have an account as parent")
        return None
    if parent not in known:
        kind = "is a user, not an account" if parent in users else "is not an account of the tree"
        raise InvalidInput(f"{label}: its parent {parent!r} {kind}")
    if entry["user"] is not None and parent != entry["account"]:
        raise InvalidInput(
            f"{label}: user {entry['user']!r} is of account {entry['account']!r}, "
            f"so its parent cannot be {parent!r}"
        )
    return known[parent]


def _raw_shares(entry: Mapping[str, object], label: str) -> int | None:
    value = entry.get("raw_shares")
    if value == "parent":
        return shares.PARENT
    if value is None:
        if entry["parent"] is not None:
            raise InvalidInput(f'{label}: raw_shares is missing; give a number, or "parent"')
        return 1
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31 - 1:
        raise InvalidInput(
            f"{label}: raw_shares is {shown(value)}, but must be a whole number from 0 to "
            '2147483646, or "parent"'
        )
    return value


def _usage(entry: Mapping[str, Any], key: str, label: str) -> np.longdouble:
    value = entry.get(key)
    if value is None:
        return np.longdouble(0)
    number(value, f"{label}: {key}", lowest=0, highest=MAX_USAGE)
    return np.longdouble(value)


def _own_usage(
    entries: list[Mapping[str, object]],
    labels: list[str],
    tree: ShareTree,
    row: npt.NDArray[np.int64],
) -> LongFloats:
    """Return the usage recorded on each node itself.

    An account's raw_usage includes all below it. A surplus over `own_usage` and all below it comes
    from removed users. A deficit is an error, except for 0, which means unknown.
    """
    own, recorded = np.zeros(len(tree), np.longdouble), np.zeros(len(tree), np.longdouble)
    for place, (entry, label) in enumerate(zip(entries, labels, strict=True)):
        recorded[row[place]] = _usage(entry, "raw_usage", label)
        given = _usage(entry, "own_usage", label)
        own[row[place]] = given if entry["user"] is None else recorded[row[place]]
    open_ = np.array([e["user"] is None and e.get("own_usage") is None for e in entries])
    left = {int(row[place]): place for place in np.flatnonzero(open_)}
    summed = own.copy()
    for depth in reversed(tree.depths):
        for at in depth:
            if at in left and recorded[at] > 0:
                surplus = recorded[at] - summed[at]
                if surplus < -1e-6 - 1e-12 * recorded[at]:
                    raise InvalidInput(
                        f"{labels[left[int(at)]]}: raw_usage is {recorded[at]}, but what is below "
                        f"it sums up to {summed[at]}; leave it out to have it computed"
                    )
                # Recordings have six decimals: a smaller surplus is a rounding error.
                own[at] = surplus if surplus > 1e-6 + 1e-12 * recorded[at] else 0
                summed[at] += own[at]
        if depth[0] != 0:
            np.add.at(summed, tree.parent[depth], summed[depth])
    return own
