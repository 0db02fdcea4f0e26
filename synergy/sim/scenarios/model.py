"""A scenario as values, and what arrives in it.

Each part of the demand draws from random numbers of its own, so that a part that is added or
changed leaves the others as they were, and every policy meets the same arrivals. Must not know
files, or how requests are scheduled.
"""

import heapq
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from synergy.core.errors import InvalidInput
from synergy.core.model import NOTHING, Resources

HOUR_S: Final = 3600.0
MAX_REQUESTS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One server that is asked for.

    at_s       seconds since the scenario began
    runs_s     how long it runs if nobody ends it, and `lifetime_s` after which it expires
    part       which part of the demand it is of
    loop       which closed-loop user of that part asks for it; None where nobody waits for it
    """

    at_s: float
    project: str
    user: str
    demand: Resources
    runs_s: float
    lifetime_s: int
    part: int
    loop: int | None = None

    @property
    def held_s(self) -> float:
        """How long it runs at most."""
        return min(self.runs_s, float(self.lifetime_s))


class Process(Protocol):
    """When requests come."""

    def instants_s(self, rng: random.Random, until_s: float) -> Iterator[float]:
        """Yield instants before `until_s`, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One request after the other at equal distances, the first after one of them."""

    per_hour: float

    def instants_s(self, rng: random.Random, until_s: float) -> Iterator[float]:
        """Yield instants before `until_s`, in order."""
        every_s = HOUR_S / self.per_hour if self.per_hour else math.inf
        count = 1
        while count * every_s < until_s:
            yield count * every_s
            count += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Requests that know nothing of each other."""

    per_hour: float

    def instants_s(self, rng: random.Random, until_s: float) -> Iterator[float]:
        """Yield instants before `until_s`, in order."""
        at_s = 0.0
        while self.per_hour and (at_s := at_s + rng.expovariate(self.per_hour / HOUR_S)) < until_s:
            yield at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """Many requests at a time, again and again, spread evenly over `spread_s` seconds."""

    size: int
    every_h: float
    first_h: float = 0.0
    spread_s: float = 0.0

    def instants_s(self, rng: random.Random, until_s: float) -> Iterator[float]:
        """Yield instants before `until_s`, in order."""
        begin_s = self.first_h * HOUR_S
        while begin_s < until_s:
            burst = sorted(begin_s + rng.random() * self.spread_s for _ in range(self.size))
            yield from (at_s for at_s in burst if at_s < until_s)
            begin_s += self.every_h * HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class DayNight:
    """Poisson with one rate by day and another by night; the scenario begins at midnight."""

    per_hour_by_day: float
    per_hour_by_night: float
    day_from_h: float = 8.0
    day_until_h: float = 20.0

    def instants_s(self, rng: random.Random, until_s: float) -> Iterator[float]:
        """Yield instants before `until_s`, in order."""
        highest = max(self.per_hour_by_day, self.per_hour_by_night)
        for at_s in Poisson(per_hour=highest).instants_s(rng, until_s):
            hour = at_s / HOUR_S % 24
            by_day = self.day_from_h <= hour < self.day_until_h
            rate = self.per_hour_by_day if by_day else self.per_hour_by_night
            if rng.random() * highest < rate:
                yield at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """Users who each ask for one server, and for the next one some time after it ended; who is
    rejected thinks as long and asks again."""

    users: int
    think_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """How long servers run: always `mean_s`, exponentially, or log-normally around it.

    sigma  of the logarithm, log-normal only: 1 gives runs of a fifth and of five times the median
    """

    distribution: str
    mean_s: float
    sigma: float = 1.0

    def draw_s(self, rng: random.Random) -> float:
        """Return how long one runs."""
        if self.distribution == "constant":
            return self.mean_s
        if self.distribution == "exponential":
            return rng.expovariate(1 / self.mean_s)
        return rng.lognormvariate(math.log(self.mean_s) - self.sigma**2 / 2, self.sigma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project with its shares, its private quota, and the shares of its users."""

    raw_shares: int
    users: Mapping[str, int]
    quota: Resources = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the demand: who asks for what, when and for how long; flavors by weight."""

    project: str
    users: tuple[str, ...]
    flavors: Mapping[str, float]
    arrivals: Process | ClosedLoop
    runs: Runs
    lifetime_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A cloud, its projects, and what they ask for.

    total    what the cloud has; what no project has as its quota is shared
    until_s  no request arrives from then on
    """

    name: str
    total: Resources
    until_s: float
    flavors: Mapping[str, Resources]
    projects: Mapping[str, Project]
    parts: tuple[Part, ...]
    seed: int = 1
    boot_s: float = 0.0

    @property
    def shared(self) -> Resources:
        """What no project has as its quota."""
        left = self.total
        for project in self.projects.values():
            left -= project.quota
        return left

    def owners(self) -> dict[tuple[str, str], int]:
        """Return a number, from 1, for each (project, user)."""
        every = [(name, user) for name, one in self.projects.items() for user in one.users]
        return {owner: number for number, owner in enumerate(every, start=1)}


@dataclass(slots=True)
class _Loop:
    """A closed-loop user: what comes next does not depend on what became of it."""

    part: int
    user: str
    rng: random.Random = field(repr=False)


class Submissions:
    """What arrives in a scenario: what is sure to, and what closed-loop users ask for in turn."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._loops: list[_Loop] = []
        self._numbers = 0

    def arriving(self) -> Iterator[Submission]:
        """Yield what arrives whatever becomes of it, and the first request of each closed-loop
        user, in order. Raises InvalidInput when it is too much."""
        parts = [self._of(place, part) for place, part in enumerate(self._scenario.parts)]
        merged = heapq.merge(*parts, key=lambda submission: submission.at_s)
        yield from islice(merged, MAX_REQUESTS)
        if next(merged, None) is not None:
            raise InvalidInput(
                f"{self._scenario.name}: more than {MAX_REQUESTS:,} requests arrive: lower the "
                "rates under demand, or hours"
            )

    def after(self, submission: Submission, at_s: float) -> Submission | None:
        """Return what a closed-loop user asks for after a request that ended, or was rejected, at
        an instant; None if nobody waits for it, or it would come too late."""
        if submission.loop is None:
            return None
        loop = self._loops[submission.loop]
        part = self._scenario.parts[loop.part]
        assert isinstance(part.arrivals, ClosedLoop)  # noqa: S101 - it has a loop
        at_s += loop.rng.expovariate(1 / part.arrivals.think_s)
        if at_s >= self._scenario.until_s:
            return None
        return self._drawn(part, loop.part, loop.user, at_s, loop.rng, submission.loop)

    def _of(self, place: int, part: Part) -> Iterator[Submission]:
        if isinstance(part.arrivals, ClosedLoop):
            yield from sorted(self._first(place, part, part.arrivals), key=lambda one: one.at_s)
            return
        rng = random.Random(f"{self._scenario.seed}/{place}")
        for at_s in part.arrivals.instants_s(rng, self._scenario.until_s):
            yield self._drawn(part, place, rng.choice(part.users), at_s, rng, None)

    def _first(self, place: int, part: Part, process: ClosedLoop) -> list[Submission]:
        found = []
        for number in range(process.users):
            rng = random.Random(f"{self._scenario.seed}/{place}/{number}")
            self._loops.append(_Loop(place, part.users[number % len(part.users)], rng))
            at_s = rng.expovariate(1 / process.think_s)
            if at_s < self._scenario.until_s:
                loop = len(self._loops) - 1
                found.append(self._drawn(part, place, self._loops[loop].user, at_s, rng, loop))
        return found

    def _drawn(
        self, part: Part, place: int, user: str, at_s: float, rng: random.Random, loop: int | None
    ) -> Submission:
        (flavor,) = rng.choices([*part.flavors], [*part.flavors.values()])
        return Submission(
            at_s=at_s,
            project=part.project,
            user=user,
            demand=self._scenario.flavors[flavor],
            runs_s=part.runs.draw_s(rng),
            lifetime_s=part.lifetime_s,
            part=place,
            loop=loop,
        )
