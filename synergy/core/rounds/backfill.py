"""What happens behind a request that the shared quota cannot hold now: one class a policy.

Why: a policy is a choice of whom to let pass, and nothing else, so a new one is a class and an
entry in BACKFILLS. A round asks it at two places: about the first request that does not fit, and
about each later one that would. Must not know private quotas, checks, or how the queue is walked.

    fifo          nobody passes
    greedy        whoever fits passes
    easy          whoever fits passes, unless it delays the first few that wait
    easy_sjbf     the same, and of those that pass the shortest lifetime goes first
    conservative  whoever fits passes, unless it delays anybody before it
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from math import inf
from typing import Final

import numpy as np

from synergy.core.quota import QuotaBook
from synergy.core.reasons import Reason
from synergy.core.rounds.policy import Discipline, Policy
from synergy.core.rounds.profile import Profile
from synergy.core.rounds.snapshot import Asked, Snapshot
from synergy.core.shares import Bools, Floats, Ints

# One for which no known end frees enough must not take the reservation from those behind it.
_MOST_TRIES: Final = 100


class Backfill(ABC):
    """How a round goes on behind a request that the pool cannot hold; made for one round.

    counts         whether it counts those that are passed: it is asked about each of them then
    reserves_more  whether the next request, of the same class too, is given a reservation if it has
                   to wait: it is looked at then even when nothing can start
    reservations  instants from which members of a class, by row and the oldest first, have what
                  they ask for, epoch seconds; infinite where no end is known that frees enough
    """

    counts = False

    def __init__(self, snapshot: Snapshot, policy: Policy, book: QuotaBook) -> None:
        self.snapshot, self.policy, self.book = snapshot, policy, book
        self.reserves_more = False
        self.reservations: dict[int, list[float]] = {}

    @abstractmethod
    def passes(self, row: int, asked: Asked) -> bool:
        """Count a request of a class that the pool cannot hold; tell whether others may pass it."""

    def hinders(self, row: int, asked: Asked) -> Reason | None:
        """Return why a request of a class that fits now has to wait all the same."""
        return None

    def starts(self, row: int, asked: Asked) -> None:  # noqa: B027 - most policies need not know
        """Count a request of a class that starts."""

    def candidates(self, rows: Ints) -> Bools | None:
        """Return, shape (len(rows),), which classes may still start; None when any may."""
        return None

    def ranks(self) -> Floats | None:
        """Return the order of those that pass, shape (c,), the highest first; None by priority."""
        return None


class Fifo(Backfill):
    """Nobody passes."""

    def passes(self, row: int, asked: Asked) -> bool:
        return False


class Greedy(Backfill):
    """Whoever fits passes, up to a number of different demands of users."""

    counts = True

    def __init__(self, snapshot: Snapshot, policy: Policy, book: QuotaBook) -> None:
        super().__init__(snapshot, policy, book)
        self._passed: set[tuple[int, int]] = set()

    def passes(self, row: int, asked: Asked) -> bool:
        waiting = self.snapshot.waiting
        bound = int(waiting.association[row]), int(waiting.shape[row])
        if bound not in self._passed and len(self._passed) >= self.policy.backfill_depth:
            return False
        self._passed.add(bound)
        return True


class _Reserving(Backfill):
    """Keeps reservations in a profile of what will be free."""

    def __init__(self, snapshot: Snapshot, policy: Policy, book: QuotaBook) -> None:
        super().__init__(snapshot, policy, book)
        self._made: Profile | None = None
        self._started: list[Asked] = []  # what started before it was made

    @property
    def profile(self) -> Profile | None:
        """What will be free; made when it is first needed, None when no end is known."""
        if self._made is None and self.snapshot.ends is not None:
            self._made = Profile(self.book, self.snapshot.ends, self.snapshot.at_s)
            for leaf, demand, lifetime_s in self._started:
                self._made.frees(leaf, demand, self.snapshot.at_s + lifetime_s)
        return self._made

    @cached_property
    def lifetimes_s(self) -> Floats:
        """Lifetimes of the classes, shape (c,), infinite without end."""
        ttl_s = self.snapshot.waiting.ttl_s
        return np.where(ttl_s > 0, ttl_s, inf)

    def reserve(self, row: int, asked: Asked, profile: Profile) -> float:
        """Give a request of a class the earliest instant from which it fits, and return that."""
        begin_s = profile.earliest_s(*asked)
        if begin_s < inf:
            profile.take(asked.leaf, asked.demand, begin_s, asked.lifetime_s)
        self.reservations.setdefault(row, []).append(begin_s)
        return begin_s

    def starts(self, row: int, asked: Asked) -> None:
        if self._made is None:
            self._started.append(asked)
        else:
            self._made.take(asked.leaf, asked.demand, self.snapshot.at_s, asked.lifetime_s)

    def hinders(self, row: int, asked: Asked) -> Reason | None:
        if self._made is None or self._made.fits_now(*asked):
            return None
        endless = asked.lifetime_s == inf
        return Reason.RESERVED_FOR_OTHER if endless else Reason.BACKFILL_WOULD_DELAY


class Easy(_Reserving):
    """Whoever fits passes, unless it delays one of the first that do not fit (Lifka 1995)."""

    def __init__(self, snapshot: Snapshot, policy: Policy, book: QuotaBook) -> None:
        super().__init__(snapshot, policy, book)
        self._left = 0 if snapshot.ends is None else policy.reserve_depth
        self._tries = _MOST_TRIES
        self.reserves_more = self._left > 0

    def passes(self, row: int, asked: Asked) -> bool:
        profile = self.profile if self.reserves_more else None
        if profile is not None:
            if self.reserve(row, asked, profile) < inf:
                self._left -= 1
            else:
                self._tries -= 1
            self.reserves_more = self._left > 0 and self._tries > 0
        return True

    def candidates(self, rows: Ints) -> Bools | None:
        if self._made is None:
            return None
        until_s = self._made.fit_until_s(self.snapshot.demand)[self.snapshot.waiting.shape[rows]]
        may: Bools = self.snapshot.at_s + self.lifetimes_s[rows] <= until_s
        return may


class EasyShortestFirst(Easy):
    """Easy, where of those that pass the shortest lifetime goes first (Tsafrir 2007)."""

    def ranks(self) -> Floats | None:
        return -self.lifetimes_s


class Conservative(_Reserving):
    """Whoever fits passes, unless it delays anybody before it.

    What an earlier round reserved is kept, and moves to an earlier instant where there is room
    now, in the order of the queue; so no reservation moves later by our own doing. Members of a
    class are alike: the oldest has the earliest of their instants.
    """

    def __init__(self, snapshot: Snapshot, policy: Policy, book: QuotaBook) -> None:
        super().__init__(snapshot, policy, book)
        self._kept = self._keep_reserved(snapshot.reserved) if snapshot.reserved else {}
        self._made_count = 0
        self.reserves_more = snapshot.ends is not None

    def passes(self, row: int, asked: Asked) -> bool:
        profile = self.profile
        if profile is None:
            return True
        if self._made_count >= self.policy.max_reserved:
            return False
        self._lift(row, asked, profile)
        self.reserve(row, asked, profile)
        self._made_count += 1
        return True

    def hinders(self, row: int, asked: Asked) -> Reason | None:
        profile = self.profile
        if profile is None:
            return None
        self._lift(row, asked, profile)
        reason = super().hinders(row, asked)
        if reason is not None:
            self.reserve(row, asked, profile)
            self._made_count += 1
        return reason

    def _keep_reserved(self, reserved: Mapping[int, Sequence[float]]) -> dict[int, list[float]]:
        """Take what was reserved; what does not fit there any more moves to a later instant."""
        profile, kept = self.profile, dict[int, list[float]]()
        if profile is None:
            return kept
        waiting, now_s = self.snapshot.waiting, self.snapshot.at_s
        count = waiting.end - waiting.first
        entries = [
            (begin_s, row)
            for row, class_id in enumerate(waiting.class_id.tolist())
            for begin_s in sorted(reserved.get(class_id, ()))[: count[row]]
        ]
        for wanted_s, row in sorted(entries):
            leaf, demand, lifetime_s = self.snapshot.asked(row)
            begin_s = profile.earliest_s(leaf, demand, lifetime_s, not_before_s=wanted_s)
            if begin_s < inf:
                profile.take(leaf, demand, max(begin_s, now_s), lifetime_s)
                kept.setdefault(row, []).append(max(begin_s, now_s))
        return kept

    def _lift(self, row: int, asked: Asked, profile: Profile) -> None:
        """Give back what the next member of a class has reserved."""
        if kept := self._kept.get(row):
            profile.give_back(asked.leaf, asked.demand, kept.pop(0), asked.lifetime_s)


RESERVING: Final = frozenset({Discipline.EASY, Discipline.EASY_SJBF, Discipline.CONSERVATIVE})
BACKFILLS: Final[Mapping[Discipline, type[Backfill]]] = {
    Discipline.FIFO: Fifo,
    Discipline.GREEDY: Greedy,
    Discipline.EASY: Easy,
    Discipline.EASY_SJBF: EasyShortestFirst,
    Discipline.CONSERVATIVE: Conservative,
}
