"""The second scenario of the demo: demand that alternates and comes in bursts, where fixed quotas
fail.

A project of courses works by day, one of analyses by night, and one of simulations comes in bursts;
all have the same share, and each could fill the cloud for hours. Must not print.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Final

from synergy.sim.compare import FIXED, Comparison, Policy, measured
from synergy.sim.scenarios import playing, reading
from synergy.sim.text import duration, percent

SYNERGY: Final = "Synergy"
FIFO: Final = "one queue, FIFO"
SCENARIO: Final = {
    "name": "alternating and bursty demand",
    "hours": 72,
    "cloud": {"VCPU": 96, "MEMORY_MB": 393_216},
    "boot_s": 50,
    "flavors": {
        "small": {"VCPU": 1, "MEMORY_MB": 4096},
        "medium": {"VCPU": 2, "MEMORY_MB": 8192},
        "large": {"VCPU": 8, "MEMORY_MB": 32_768},
    },
    "projects": {
        "courses": {"shares": 1, "users": {"carla": 1, "carlo": 1}},
        "analyses": {"shares": 1, "users": {"anna": 1, "aldo": 1}},
        "simulations": {"shares": 1, "users": {"silvia": 1}},
    },
    "demand": [
        {
            "project": "courses",
            "flavors": {"small": 2, "medium": 1},
            "arrivals": {"process": "day_night", "per_hour_by_day": 20, "per_hour_by_night": 1},
            "runs": {"distribution": "exponential", "mean_s": 3600},
            "lifetime_s": 10_800,
        },
        {
            "project": "analyses",
            "flavors": {"medium": 1},
            "arrivals": {"process": "day_night", "per_hour_by_day": 2, "per_hour_by_night": 24},
            "runs": {"distribution": "lognormal", "mean_s": 3600, "sigma": 0.7},
            "lifetime_s": 10_800,
        },
        {
            "project": "simulations",
            "flavors": {"large": 1},
            "arrivals": {
                "process": "bursts",
                "size": 80,
                "every_h": 24,
                "first_h": 10,
                "spread_s": 1800,
            },
            "runs": {"distribution": "exponential", "mean_s": 5400},
            "lifetime_s": 14_400,
        },
    ],
}


def run(*, seed: int, hours: float, progress: Callable[[float, str], None]) -> Comparison:
    """Play the scenario for `hours` under Synergy, FIFO and fixed quotas; see `playing.play`."""
    scenario = reading.scenario({**SCENARIO, "seed": seed, "hours": min(72.0, hours)})
    ways = {SYNERGY: ("easy", "multifactor"), FIFO: ("fifo", "submit")}
    policies = []
    for place, (name, (discipline, order)) in enumerate(ways.items()):
        began_s = time.monotonic()
        show = partial(_show, progress, place, name)
        outcomes = playing.play(scenario, discipline, order, show)
        policies.append(measured(name, outcomes, time.monotonic() - began_s))
    return Comparison(
        of=scenario.name,
        vcpus=scenario.total["VCPU"],
        order="multifactor",
        skipped={},
        policies=tuple(policies),
        fixed=measured(FIXED, playing.play_fixed(scenario), 0.0),
    )


def _show(
    progress: Callable[[float, str], None], place: int, name: str, done: int, of: int
) -> None:
    progress((place + done / max(1, of)) / 2, name)


def headline(found: Comparison) -> str:
    """Say in one sentence what fixed quotas, one queue and Synergy make of the same demand."""
    synergy, fifo = _of(found, SYNERGY).measured, _of(found, FIFO).measured
    fixed, waits = found.fixed.measured, synergy.whole.waits.mean
    refused = fixed.whole.refused / max(1, fixed.whole.requests)
    return (
        f"On the same demand fixed quotas reject {percent(refused)} of the requests and use "
        f"{percent(fixed.utilisation)} of the cloud; Synergy rejects "
        f"{synergy.whole.refused or 'none'} and uses {percent(synergy.utilisation)}, and a request "
        f"waits {duration(waits)} on average, in one queue without shares "
        f"{duration(fifo.whole.waits.mean)}."
    )


def _of(found: Comparison, name: str) -> Policy:
    return next(policy for policy in found.policies if policy.name == name)
