"""A round: a frozen snapshot and what is known of the cloud go in, a plan comes out.

    snapshot, facts, policy -> decide -> plan: decisions, reasons, and what facts it lacked

`snapshot` puts together what is known of the queue, `facts` is what only the cloud knows, `checks`
is the list of what may keep a request from starting, `order` walks the queue by priority, `decide`
hands out the quotas, and `backfill` says who may pass whom, by the `profile` of what will be free.
`timeline` runs rounds forward. Must not know clocks, threads, Nova, SQL or configuration.
"""

from synergy.core.rounds.backfill import RESERVING
from synergy.core.rounds.decide import NO_FACTS, decide
from synergy.core.rounds.facts import (
    Facts,
    Lack,
    LacksGroup,
    LacksRoom,
    LacksZones,
    Room,
    Shape,
    group_of,
    shape_of,
)
from synergy.core.rounds.plan import REASONS, Decision, Outcome, Plan
from synergy.core.rounds.policy import Discipline, Policy
from synergy.core.rounds.profile import Ends, KnownEnd, in_order
from synergy.core.rounds.snapshot import Snapshot, build_snapshot
from synergy.core.rounds.terms import terms_on, weighted_terms

__all__ = [
    "NO_FACTS",
    "REASONS",
    "RESERVING",
    "Decision",
    "Discipline",
    "Ends",
    "Facts",
    "KnownEnd",
    "Lack",
    "LacksGroup",
    "LacksRoom",
    "LacksZones",
    "Outcome",
    "Plan",
    "Policy",
    "Room",
    "Shape",
    "Snapshot",
    "build_snapshot",
    "decide",
    "group_of",
    "in_order",
    "shape_of",
    "terms_on",
    "weighted_terms",
]
