"""What would become of the living queue under other rules."""

from typing import TypedDict

from synergy.core.declared.answers.parts import Amounts, At, Count
from synergy.core.declared.answers.rounds import RoundSeen


class Foreseen(TypedDict):
    """How a queue runs to its end; up to `until` of the answer."""

    requests: Count
    starts: Count
    mean_wait_s: float
    utilisation: float
    share_error: float
    last_start: At | None


class Shifted(TypedDict):
    """How many requests start earlier, later, at the same time, no longer, or only now."""

    earlier: Count
    later: Count
    same: Count
    never: Count
    after_all: Count
    mean_change_s: float


class ShiftedProject(Shifted):
    """How the requests of a project fare."""

    project_id: str
    name: str


class ShiftedClass(Shifted):
    """How requests that ask for the same fare."""

    project_id: str
    user_id: str
    demand: Amounts


class ShiftedRequest(TypedDict):
    """A request that starts earlier or later; null where it never starts."""

    id: str
    project_id: str
    before: At | None
    after: At | None
    change_s: float | None


class Hypothetical(TypedDict):
    """What becomes of the servers that somebody would ask for."""

    count: Count
    starts: Count
    first_start: At | None
    last_start: At | None


class _Supposed(TypedDict):
    supposed: list[str]
    until: At
    before: Foreseen
    after: Foreseen
    projects: list[ShiftedProject]
    classes: list[ShiftedClass]
    most_earlier: list[ShiftedRequest]
    most_later: list[ShiftedRequest]
    hypothetical: Hypothetical | None
    seconds: float


class WhatIf(_Supposed, RoundSeen):
    """Who would start earlier or later; nothing of it happens."""
