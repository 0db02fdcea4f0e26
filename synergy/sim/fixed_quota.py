"""The same arrivals with fixed quotas only: plain Nova, which rejects what does not fit.

Each project gets its promised share of the shared quota as its own quota. Source: Nova's quota
check; a server counts from the request to its deletion, and nothing waits.
"""

import heapq
from collections.abc import Iterable, Mapping

from synergy.core.model import NOTHING, Resources
from synergy.sim.padova import Arrival, held_s


class FixedQuotas:
    """Projects that each have a quota of their own, and use nobody else's."""

    def __init__(self, quotas: Mapping[str, Resources]) -> None:
        self._quotas = quotas
        self._used = dict.fromkeys(quotas, NOTHING)
        self._ends: list[tuple[float, int, str, Resources]] = []
        self._count = 0

    def admit(self, project: str, demand: Resources, at_s: float, for_s: float) -> bool:
        """Return whether a request is admitted, which then holds its quota for that long; otherwise
        it is rejected: 403 Quota exceeded. Requests come in the order of their instants."""
        while self._ends and self._ends[0][0] <= at_s:
            _, _, owner, freed = heapq.heappop(self._ends)
            self._used[owner] -= freed
        if not (self._used[project] + demand).fits_in(self._quotas[project]):
            return False
        self._used[project] += demand
        self._count += 1
        heapq.heappush(self._ends, (at_s + for_s, self._count, project, demand))
        return True


def utilisation(
    arrivals: Iterable[Arrival],
    quotas: Mapping[str, Resources],
    *,
    vcpus: int,
    span_s: float,
) -> float:
    """Return the fraction of `vcpus` in use over `span_s` seconds, in [0, 1]."""
    fixed, held_vcpu_s = FixedQuotas(quotas), 0.0
    for arrival in arrivals:
        demand = Resources.of(VCPU=arrival.vcpus, MEMORY_MB=arrival.memory_mb)
        if fixed.admit(arrival.project, demand, arrival.at_s, held_s(arrival)):
            end_s = min(arrival.at_s + held_s(arrival), span_s)
            held_vcpu_s += arrival.vcpus * (end_s - arrival.at_s)
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


def by_demand(vcpus: int, demanded: Mapping[str, float]) -> dict[str, Resources]:
    """Split VCPUs in proportion to what each project asks for in all, the rest of rounding down to
    those that lose most by it: quotas as an operator would set them who knew the future."""
    whole = sum(demanded.values()) or 1.0
    exact = {name: vcpus * amount / whole for name, amount in demanded.items()}
    quotas = {name: int(amount) for name, amount in exact.items()}
    by_loss = sorted(exact, key=lambda name: (quotas[name] - exact[name], name))
    for name in by_loss[: vcpus - sum(quotas.values())]:
        quotas[name] += 1
    return {name: Resources.of(VCPU=amount) for name, amount in quotas.items()}
