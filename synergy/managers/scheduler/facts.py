"""Finds out what a round lacks, and lets it decide again: the only place where a round asks Nova.

Why: the decision is a pure function that does not wait for anybody, and Nova is asked only about
what matters to it. Must not know checks or quotas.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from synergy.core.ask_each import ask_each, ask_together
from synergy.core.errors import error_line
from synergy.core.ids import NOBODY
from synergy.core.model import Request, Resources, State
from synergy.core.rounds import (
    NO_FACTS,
    Facts,
    Lack,
    LacksGroup,
    LacksRoom,
    LacksZones,
    Plan,
    Policy,
    Room,
    Shape,
    Snapshot,
    decide,
    group_of,
    shape_of,
)
from synergy.managers.base import Part
from synergy.ports import (
    Capacity,
    Clock,
    Servers,
    Store,
)

ZONES_KEPT_S: Final = 60.0  # how long a list of zones is good enough
NO_ROOM: Final[Room] = {}
_USUAL_SHAPE: Final = Shape(Resources.of(VCPU=1))  # about which Placement can always answer
LOG = logging.getLogger(__name__)
_PAGE: Final = 1000


class CloudFacts(Part):
    """Asks Nova and Placement. Several threads may decide at once."""

    def __init__(self, capacity: Capacity, servers: Servers, clock: Clock, store: Store) -> None:
        self._capacity, self._servers = capacity, servers
        self._clock, self._store = clock, store
        self._zones: tuple[float, frozenset[str]] = (float("-inf"), frozenset())
        self._logged: frozenset[Shape] = frozenset()  # refused at the last look, which was logged

    def decide(
        self, snapshot: Snapshot, policy: Policy, known: Facts = NO_FACTS
    ) -> tuple[Plan, Facts]:
        """Return a plan that lacks nothing, and the facts that it rests on.

        known  what was found out for another question of the same moment
        Raises UpstreamUnavailable when Nova or Placement does not answer.
        """
        facts = known
        while (plan := decide(snapshot, facts, policy)).lacks:
            facts = self._found(facts, plan.lacks)
        return plan, facts

    def _found(self, facts: Facts, lacks: Collection[Lack]) -> Facts:
        groups = {one.group for one in lacks if isinstance(one, LacksGroup)}
        zones = {name for one in lacks if isinstance(one, LacksZones) for name in one.asked}
        # In one order, so that the same questions find the same answers.
        shapes = sorted({one.shape for one in lacks if isinstance(one, LacksRoom)}, key=repr)
        first = bool(shapes) and not facts.rooms
        in_flight = self.in_flight() if groups or first else []
        if zones:
            facts = replace(facts, zones=self._known_zones(zones))
        if groups:
            busy = self._under_way(groups, in_flight)
            found = {group: group in busy for group in groups}
            facts = replace(facts, groups={**facts.groups, **found})
        if first:
            # Asked before the hosts are: one that gets its allocation in between counts twice for
            # now, never not at all.
            # So does one that Placement cannot be asked about.
            placed = ask_together(
                [one.request_id for one in in_flight],
                lambda some: dict.fromkeys(self._capacity.placed(some)),
                nothing=NOBODY,
            ).known
            unplaced = [one for one in in_flight if one.request_id not in placed]
            facts = replace(facts, in_flight=tuple(shape_of(one.request_class) for one in unplaced))
        rooms = self._rooms(shapes)
        return replace(facts, rooms={**facts.rooms, **rooms}) if rooms else facts

    def _rooms(self, shapes: Sequence[Shape]) -> dict[Shape, Room]:
        """Return the hosts that could take each shape; none for one that Placement refuses, which
        waits and keeps no other from starting. Raises what was raised when it answers nothing."""
        asked = ask_each(
            shapes,
            lambda one: self._capacity.room_for(one.demand, one.placement),
            nothing=_USUAL_SHAPE,
        )
        rooms, failed = asked.known, asked.unknown
        for one in failed.keys() - self._logged:
            LOG.error(
                "no host can be found for %s, which waits: %s", one.demand, error_line(failed[one])
            )
        self._logged = frozenset(failed)
        return rooms | dict.fromkeys(failed, NO_ROOM)

    def in_flight(self) -> list[Request]:
        """Return the requests that were handed over and are not known to have a host."""
        found: list[Request] = []
        with self._store.reading() as uow:
            while page := uow.requests.search(
                states=[State.DISPATCHING, State.BUILDING], limit=_PAGE,
                after=found[-1].request_id if found else None,
            ):  # fmt: skip
                found += page
        return found

    def _known_zones(self, asked: Collection[str]) -> frozenset[str]:
        """Return the zones that there are; one that is not in the list may be younger than it."""
        listed_s, zones = self._zones
        now_s = self._clock.monotonic_s()
        if now_s >= listed_s + ZONES_KEPT_S or not zones.issuperset(asked):
            zones = self._capacity.zones()
            self._zones = now_s, zones
        return zones

    def _under_way(self, groups: Collection[str], in_flight: Sequence[Request]) -> set[str]:
        """Return the groups of which a server was handed over and has no host yet."""
        group = {one.request_id: group_of(one.request_class.placement) for one in in_flight}
        away = {key: named for key, named in group.items() if named in groups}
        views = self._servers.servers(away)
        return {named for key in views if views[key].host is None and (named := away[key])}
