"""One number of TRES for a resource vector, which fair-share history is charged with.

Source: Slurm's TRESBillingWeights (sum over TRES of amount x weight) and MAX_TRES.
"""

from collections.abc import Mapping

from synergy.core.model import Resources


def billing(demand: Resources, weights: Mapping[str, float], *, maximum: bool = False) -> float:
    """Return the billed TRES of a demand; a class without weight costs nothing.

    maximum  bill only the class that costs most (Slurm's MAX_TRES: every Placement class is one of
             a host), instead of the sum
    """
    costs = [amount * weights.get(name, 0.0) for name, amount in demand.amounts]
    return max(costs, default=0.0) if maximum else sum(costs)
