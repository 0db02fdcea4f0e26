"""The same arrivals with fixed quotas only: plain Nova, which rejects what does not fit.

Each project gets its promised share of the shared quota as its own quota. Source: Nova's quota
check; a server counts from the request to its deletion, and nothing waits.
"""

import heapq
from collections.abc import Iterable, Mapping

from synergy.core.model import NOTHING, Resources
from synergy.sim.padova import Arrival, held_s


def utilisation(
    arrivals: Iterable[Arrival],
    quotas: Mapping[str, Resources],
    *,
    vcpus: int,
    span_s: float,
) -> float:
    """Return the fraction of `vcpus` in use over `span_s` seconds, in [0, 1]."""
    used = dict.fromkeys(quotas, NOTHING)
    ends: list[tuple[float, int, str, Resources]] = []
    held_vcpu_s = 0.0
    for number, arrival in enumerate(arrivals):
        while ends and ends[0][0] <= arrival.at_s:
            _, _, project, demand = heapq.heappop(ends)
            used[project] -= demand
        demand = Resources.of(VCPU=arrival.vcpus, MEMORY_MB=arrival.memory_mb)
        if not (used[arrival.project] + demand).fits_in(quotas[arrival.project]):
            continue  # 403 Quota exceeded
        used[arrival.project] += demand
        end_s = arrival.at_s + held_s(arrival)
        heapq.heappush(ends, (end_s, number, arrival.project, demand))
        held_vcpu_s += arrival.vcpus * (min(end_s, span_s) - arrival.at_s)
    return held_vcpu_s / (vcpus * span_s)


def split(whole: Resources, parts: Mapping[str, float]) -> dict[str, Resources]:
    """Split a resource vector by fractions; the largest gets what rounding down leaves."""
    shares = {
        name: Resources.of({c: int(amount * part) for c, amount in whole.items()})
        for name, part in parts.items()
    }
    largest = max(parts, key=lambda name: parts[name])
    rest = whole
    for share in shares.values():
        rest -= share
    shares[largest] += rest
    return shares
