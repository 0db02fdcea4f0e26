"""How a round decides: the part of it that an operator sets."""

from dataclasses import dataclass

from synergy.core.discipline import Discipline
from synergy.core.priority import Scales, Weights

__all__ = ["Discipline", "Policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a round decides.

    scales          what the factors of the priority are measured with
    backfill_depth  greedy: how many users' different demands that the pool cannot hold are passed
                    over; requests that differ in lifetime, QOS or nice only meet the same bound,
                    so they count once
    reserve_depth   easy, easy_sjbf: how many requests that the pool cannot hold have a reservation
    max_reserved   conservative: how many requests have a reservation at most
    round_size      most requests that one round lets go; the next round, with news of what
                    happened meanwhile, takes up the rest
    """

    discipline: Discipline = Discipline.EASY
    backfill_depth: int = 100
    reserve_depth: int = 1
    max_reserved: int = 10_000
    round_size: int = 1_000
    weights: Weights = Weights()
    scales: Scales = Scales()
