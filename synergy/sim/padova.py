"""The Padova experiment of 2017 as a scenario: the cloud, two projects, and their robots.

6 nodes, 144 VCPU, 283 GB; 80 % belong to projects, 20 % are shared; two projects with shares 70/30
submit at one constant rate from several users; lifetimes end after 5 minutes. Must not know how
requests are scheduled.
"""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from synergy.core.model import Resources
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec, ProjectSpec

VIRTUAL_S: Final = 2 * 86_400.0
TTL_S: Final = 300
BOOT_S: Final = 50.0
NODES: Final = 6
TOTAL: Final = Resources.of(VCPU=144, MEMORY_MB=283 * 1024)
STATIC: Final = Resources.of(VCPU=math.floor(144 * 0.8), MEMORY_MB=math.floor(283 * 1024 * 0.8))
SHARED: Final = TOTAL - STATIC
PROMISED: Final = {"A": 0.7, "B": 0.3}

FLAVORS: Final = (
    (FlavorSpec(name="small", vcpus=1, memory_mb=1536), 0.6),
    (FlavorSpec(name="medium", vcpus=2, memory_mb=3072), 0.3),
    (FlavorSpec(name="large", vcpus=4, memory_mb=6144), 0.1),
)
ROBOT_S: Final = (
    50.0  # polling interval of a robot: it deletes finished servers and submits new ones
)
KEEP_PROBABILITY: Final = (
    0.53  # probability of keeping a server for one more poll; 2 % reach their TTL
)
SERVERS_PER_POLL: Final = 6  # by each robot; one robot alone nearly fills the shared quota

USERS: Final[Mapping[str, Mapping[str, Mapping[str, int]]]] = {
    "equal": {
        "A": {"alice": 1, "anna": 1, "aldo": 1},
        "B": {"bob": 1, "bianca": 1, "bruno": 1},
    },
    "different": {
        "A": {"alice": 40, "anna": 35, "aldo": 25},
        "B": {"bob": 50, "bianca": 30, "bruno": 20},
    },
}


@dataclass(frozen=True, slots=True)
class Arrival:
    """One server that a robot requests, and deletes at the `polls`-th poll that sees it running."""

    at_s: float
    project: str
    user: str
    flavor: str
    vcpus: int
    memory_mb: int
    polls: int


def cloud() -> CloudSpec:
    """Return the cloud with the static projects' quotas; A and B own nothing."""
    node = Resources.of({name: amount // NODES for name, amount in TOTAL.items()})
    left = TOTAL - Resources.of({name: amount * NODES for name, amount in node.items()})
    hosts = [HostSpec(name=f"node{n}", inventory=node) for n in range(2, NODES + 1)]
    return CloudSpec(
        hosts=(HostSpec(name="node1", inventory=node + left), *hosts),
        flavors=tuple(flavor for flavor, _ in FLAVORS),
        projects=(
            *(
                ProjectSpec(
                    project_id=f"project-{name}",
                    name=name,
                    users={f"user-{user}": user for user in USERS["equal"][name]},
                    quota=dict.fromkeys(TOTAL, 0),
                )
                for name in PROMISED
            ),
            ProjectSpec(
                project_id="project-static",
                name="static",
                domain_id="physics",
                domain_name="Physics",
                users={"user-sara": "sara"},
                quota=dict(STATIC),
            ),
        ),
        boot_s=BOOT_S,
    )


def settings(algorithm: str) -> dict[str, dict[str, object]]:
    """Return the managers' options: they react at once, and seldom run periodically."""
    return {
        "fairshare": {
            "algorithm": algorithm,
            "debounce_s": 120.0,
            "rate_s": 300.0,
        },
        "scheduler": {"debounce_s": 0.0, "rate_s": 600.0},
        "queue": {"rate_s": 600.0},
        "nova": {
            "rate_s": 600.0,
            "reconcile_s": 21_600.0,
            "full_reconcile_s": 21_600.0,
            "settle_s": 86_400.0,
            "sweep_s": 21_600.0,
        },
        "quota": {"rate_s": 600.0},
        "project": {"rate_s": 3600.0},
        "keystone": {"rate_s": 3600.0},
        "expiry": {
            "rate_s": 600.0,
            "warnings_s": [],
            "show_end": False,
            "metadata_check_s": 0.0,
            "most_per_pass": 1_000_000,
        },
    }


def arrivals(seed: int) -> Iterator[Arrival]:
    """Return what both robots submit, in order of time; the same for the same seed."""
    rng = random.Random(seed)
    kinds, odds = [flavor for flavor, _ in FLAVORS], [part for _, part in FLAVORS]
    turn = 0
    for step in range(int(VIRTUAL_S / ROBOT_S)):
        for _ in range(SERVERS_PER_POLL):
            for project, users in USERS["equal"].items():
                flavor = rng.choices(kinds, odds)[0]
                yield Arrival(
                    at_s=step * ROBOT_S,
                    project=project,
                    user=list(users)[turn % len(users)],
                    flavor=flavor.name,
                    vcpus=flavor.vcpus,
                    memory_mb=flavor.memory_mb,
                    polls=_polls(rng),
                )
            turn += 1


def held_s(arrival: Arrival) -> float:
    """Return how long the server holds quota if it starts at a poll of its robot, seconds."""
    return BOOT_S + min(arrival.polls * ROBOT_S, TTL_S)


def _polls(rng: random.Random) -> int:
    polls = 1
    while rng.random() < KEEP_PROBABILITY:
        polls += 1
    return polls
