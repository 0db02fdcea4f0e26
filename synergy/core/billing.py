"""One number of TRES for a resource vector, which fair-share history is charged with.

Source: Slurm's TRESBillingWeights (sum over TRES of amount x weight).
"""

from collections.abc import Mapping

from synergy.core.errors import InvalidInput
from synergy.core.model import RESOURCE_CLASS, Resources


def billing(demand: Resources, weights: Mapping[str, float]) -> float:
    """Return the billed TRES of a demand; a class without weight costs nothing."""
    return sum(amount * weights.get(name, 0.0) for name, amount in demand.amounts)


def read_weights(texts: Mapping[str, str]) -> dict[str, float]:
    """Read weights such as {"VCPU": "1.0"}. Raises InvalidInput naming the entry."""
    weights = {}
    for name, text in texts.items():
        try:
            weight = float(text)
        except ValueError:
            weight = -1.0
        if not RESOURCE_CLASS.fullmatch(name) or not 0 <= weight < 1e12:
            raise InvalidInput(
                f"tres_billing_weights: {name}:{text} must be a resource class and a number >= 0"
            )
        weights[name] = weight
    return weights
