"""Bills a resource vector as one number of TRES, which is charged to the fair-share history.

Source: Slurm's TRESBillingWeights (sum over TRES of amount x weight) and MAX_TRES.
"""

from collections.abc import Mapping

from synergy.core.model import Resources


def billing(demand: Resources, weights: Mapping[str, float], *, maximum: bool = False) -> float:
    """Return the billed TRES of a demand; a class without weight costs nothing.

    maximum  bill only the most expensive class instead of the sum (Slurm's MAX_TRES, in which every
             Placement class counts as a per-host resource)
    """
    costs = [amount * weights.get(name, 0.0) for name, amount in demand.amounts]
    return max(costs, default=0.0) if maximum else sum(costs)
