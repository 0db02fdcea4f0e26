"""One number a request, from weighted factors, and the terms it is made of.

Must not know how a factor came about: fair-share arrives as a column, ages as seconds.
Source: Slurm, "Multifactor Priority Plugin".
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from synergy.core.shares import Floats, Ints

HIGHEST: Final = float(2**32 - 1)
LOWEST: Final = 1.0  # 0 is what Slurm shows for a held job


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each factor counts, and the scales that the factors need.

    max_age_s       seconds in the queue after which the age factor is 1
    qos_priorities  points of each QOS; the highest makes the factor 1
    favor_small     turns the size factor round
    """

    age: int = 1_000
    fairshare: int = 100_000
    size: int = 0
    qos: int = 0
    max_age_s: float = 7 * 86_400.0
    favor_small: bool = False
    qos_priorities: Mapping[str, int] = field(default_factory=lambda: {"normal": 0})


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The weighted terms of one request's priority, as `sprio -l` shows them."""

    age: float
    fairshare: float
    size: float
    qos: float
    nice: int
    priority: int

    def as_dict(self) -> dict[str, float]:
        """Return the terms by name."""
        return asdict(self)


def age_term(age_s: npt.ArrayLike, weights: Weights) -> Floats:
    """Return the weighted age factor of ages in whole seconds; what is negative counts 0."""
    if weights.max_age_s <= 0:
        return np.full(np.shape(age_s), float(weights.age))
    term: Floats = weights.age * np.clip(np.floor(age_s) / weights.max_age_s, 0.0, 1.0)
    return term


def size_term(demand: Ints, capacity: Ints, weights: Weights) -> Floats:
    """Return the weighted size factor of shapes.

    demand    shape (s, r), amounts of r resource classes
    capacity  shape (r,), what the cloud has; a class it lacks counts as nothing asked

    The mean, over the classes the cloud has, of the part of the cloud that is asked for.
    """
    has = capacity > 0
    if not has.any():
        return np.zeros(len(demand))
    factor = np.clip((demand[:, has] / capacity[has]).mean(axis=1), 0.0, 1.0)
    term: Floats = weights.size * (1.0 - factor if weights.favor_small else factor)
    return term


def qos_factors(names: tuple[str, ...], weights: Weights) -> Floats:
    """Return the weighted QOS factor of each name; an unknown QOS has 0 points."""
    highest = max(weights.qos_priorities.values(), default=0)
    points = [weights.qos_priorities.get(name, 0) for name in names]
    return weights.qos * np.array([p / highest if highest > 0 else 0.0 for p in points])


def combine(standing: npt.ArrayLike, age: npt.ArrayLike) -> Floats:
    """Return priorities as Slurm's integers (held in doubles), from 1 to 2^32 - 1.

    standing  weighted terms that do not change with age, less nice
    age       the weighted age term
    """
    whole: Floats = np.clip(np.floor(np.add(standing, age)), LOWEST, HIGHEST)
    return whole


def terms(
    *,
    age_s: float,
    fairshare: float,
    demand: Ints,
    capacity: Ints,
    qos: str,
    nice: int,
    weights: Weights,
) -> Terms:
    """Return one request's priority term by term, from the functions that rank the queue."""
    age = float(age_term(age_s, weights))
    share = weights.fairshare * fairshare
    size = float(size_term(demand[np.newaxis, :], capacity, weights)[0])
    service = float(qos_factors((qos,), weights)[0])
    return Terms(
        age=age,
        fairshare=share,
        size=size,
        qos=service,
        nice=nice,
        priority=int(combine(share + size + service - nice, age)),
    )
