"""The multifactor priority: one number per request, and the weighted terms that make it up.

Must not know where a factor comes from: fair-share arrives as a column, ages as seconds. Every
function takes columns, with one entry per request or class of equal requests, or single numbers.
Source: Slurm 22.05, "Multifactor Priority Plugin"; sums are in its order, so that integers agree to
the last unit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt

from synergy.core.declared.answers import rounds as answers
from synergy.core.shares import Floats

HIGHEST: Final = float(2**32 - 1)
LOWEST: Final = 1.0  # 0 is what Slurm shows for a held job
RAW_ABLE: Final = ("association", "partition", "qos", "tres")
Column = npt.NDArray[np.float64] | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weight of each factor; `tres` has a weight for each resource class that counts."""

    age: float = 1_000
    association: float = 0
    fairshare: float = 100_000
    size: float = 0
    partition: float = 0
    qos: float = 0
    tres: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """The scales and options of the factors.

    max_age_s         seconds in the queue after which the age factor is 1
    favor_small       inverts the size factor
    size_by_time      divides sizes by minutes of lifetime (Slurm's SMALL_RELATIVE_TO_TIME)
    qos_points        points of each QOS; the highest makes the factor 1, a missing one has 0
    partition_points  points of each partition, likewise
    raw               factors that are not divided by the highest or the whole (Slurm's NO_NORMAL
                      flags), of RAW_ABLE
    """

    max_age_s: float = 7 * 86_400.0
    favor_small: bool = False
    size_by_time: bool = False
    qos_points: Mapping[str, float] = field(default_factory=dict)
    partition_points: Mapping[str, float] = field(default_factory=dict)
    raw: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Weighted terms, each shape (c,) or one number for all: the columns of `sprio -l`.

    tres  the terms of the resource classes that have a weight
    site  points of the site's own factors
    nice  what is subtracted
    """

    age: Column = 0.0
    association: Column = 0.0
    fairshare: Column = 0.0
    size: Column = 0.0
    partition: Column = 0.0
    qos: Column = 0.0
    tres: Mapping[str, Column] = field(default_factory=dict)
    site: Column = 0.0
    nice: Column = 0.0

    def at(self, row: int, age: float) -> "Terms":
        """Return the terms of one row, with another age term."""

        def one(column: Column) -> float:
            return column if isinstance(column, float) else float(column[row])

        return Terms(
            age=age,
            association=one(self.association),
            fairshare=one(self.fairshare),
            size=one(self.size),
            partition=one(self.partition),
            qos=one(self.qos),
            tres={name: one(column) for name, column in self.tres.items()},
            site=one(self.site),
            nice=one(self.nice),
        )

    def as_dict(self) -> answers.Terms:
        """Return the terms of one row by name, with the priority as Slurm's integer."""
        return {
            "age": float(self.age),
            "association": float(self.association),
            "fairshare": float(self.fairshare),
            "size": float(self.size),
            "partition": float(self.partition),
            "qos": float(self.qos),
            "tres": {name: float(term) for name, term in self.tres.items()},
            "site": float(self.site),
            "nice": float(self.nice),
            "priority": int(total(self)),
        }


def total(terms: Terms) -> Column:
    """Return priorities as Slurm's integers (held in doubles), from 1 to 2^32 - 1.

    Numbers give a number, without the cost of an array: a queue of a million calls it that often.
    """
    summed = terms.age
    more = (terms.association, terms.fairshare, terms.size, terms.partition, terms.qos)
    for term in (*more, *terms.tres.values(), terms.site):
        if not isinstance(term, float) or term:  # no weight, no pass over a column
            summed = summed + term
    summed = summed - terms.nice
    if isinstance(summed, float):
        return min(max(float(math.floor(summed)), LOWEST), HIGHEST)
    return _between(np.floor(summed), LOWEST, HIGHEST)


def _between(column: Floats, low: float, high: float) -> Floats:
    """Clip a column in place; for few entries `np.clip` takes several times as long."""
    np.maximum(column, low, out=column)
    return np.minimum(column, high, out=column)


def per_class(column: Column, count: int) -> Floats:
    """Return a column of so many entries, also where it is one number for all."""
    return np.full(count, column) if isinstance(column, float) else column


@overload
def age_factor(age_s: float, max_age_s: float) -> float: ...
@overload
def age_factor(age_s: Floats, max_age_s: float) -> Floats: ...
def age_factor(age_s: Column, max_age_s: float) -> Column:
    """Return whole seconds of age / max_age_s, clipped to [0, 1]."""
    if isinstance(age_s, float):
        return min(max(math.floor(age_s) / max_age_s, 0.0), 1.0) if max_age_s > 0 else 1.0
    if max_age_s <= 0:
        return np.ones(age_s.shape)
    factor = np.floor(age_s)
    factor /= max_age_s
    return _between(factor, 0.0, 1.0)


def size_factor(
    requested: npt.NDArray[Any], whole: npt.NDArray[Any], *, favor_small: bool = False
) -> Floats:
    """Return the mean fraction of the whole that is requested, shape (c,), or that is left over.

    requested  shape (c, k), amounts of k kinds: Slurm's are nodes and CPUs
    whole      shape (k,), what exists; a kind of which nothing exists does not count
    """
    has = whole > 0
    if not has.any():
        return np.zeros(len(requested))
    part = (whole[has] - requested[:, has] if favor_small else requested[:, has]) / whole[has]
    factor: Floats = np.clip(part.mean(axis=1), 0.0, 1.0)
    return factor


def size_by_time_factor(
    requested: npt.ArrayLike, whole: float, lifetime_s: npt.ArrayLike, *, favor_small: bool = False
) -> Floats:
    """Return the fraction of the whole that is requested per minute of lifetime, or 1 minus that.

    requested   shape (c,), amounts of the kind with the largest requested fraction of the whole
    whole       what exists of it
    lifetime_s  shape (c,), seconds; less than a minute counts as one

    Source: Slurm's SMALL_RELATIVE_TO_TIME.
    """
    minutes = np.maximum(np.asarray(lifetime_s, dtype=np.float64) / 60.0, 1.0)
    factor = np.asarray(requested, dtype=np.float64) / minutes / whole
    clipped: Floats = np.clip(1.0 - factor if favor_small else factor, 0.0, 1.0)
    return clipped


def named_points(names: tuple[str, ...], points: Mapping[str, float], *, raw: bool) -> Floats:
    """Return the factor of each name, shape (len(names),); one without points has 0."""
    highest = None if raw else max(points.values(), default=0.0)
    return points_factor([points.get(name, 0.0) for name in names], highest)


def points_factor(points: npt.ArrayLike, highest: float | None) -> Floats:
    """Return points / highest; None leaves them raw (Slurm's NO_NORMAL flags)."""
    raw = np.asarray(points, dtype=np.float64)
    if highest is None:
        return raw
    return raw / highest if highest > 0 else np.zeros(raw.shape)


def tres_factor(
    requested: npt.NDArray[Any], whole: npt.ArrayLike, *, normalised: bool = True
) -> Floats:
    """Return amounts of one resource class / the whole, shape (c,), or raw amounts."""
    amounts = np.asarray(requested, dtype=np.float64)
    if not normalised:
        return amounts
    there = np.broadcast_to(np.asarray(whole, dtype=np.float64), amounts.shape)
    return np.divide(amounts, there, out=np.zeros(amounts.shape), where=there > 0)
