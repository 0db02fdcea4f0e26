"""What a round decided, as values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from synergy.core import priority
from synergy.core.model import QuotaKind
from synergy.core.queue import QUOTAS, Int32s
from synergy.core.quota import QuotaBook
from synergy.core.reasons import Reason
from synergy.core.rounds.facts import Lack
from synergy.core.shares import Floats, Ints

Codes = npt.NDArray[np.int8]
REASONS: Final = tuple(Reason)
CODE: Final[Mapping[Reason, int]] = {reason: code for code, reason in enumerate(REASONS)}


class Outcome(StrEnum):
    """What a round does with a request it does not leave waiting."""

    DISPATCH = "dispatch"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Decision:
    """One request that leaves the queue.

    quota   what it holds from now on; None when it is rejected
    reason  why it is rejected, and `why` in words
    """

    request_id: str
    class_row: int
    queued_at_s: float
    outcome: Outcome
    quota: QuotaKind | None = None
    reason: Reason | None = None
    why: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """What a round decided. Why the others wait is worked out when somebody asks: a replay of years
    never does.

    decisions   those that leave the queue, in the order in which they were chosen
    complete    False when `round_size` ended the round
    lacks       what the round took for granted without knowing it: it is to be found out, and the
                round decided again, before anybody acts on a plan that lacks something
    look_at_s   epoch seconds when it is worth while to decide again although nobody tells anything
                new, because a host or a group may be free by then; infinite where there is no need
    taken       shape (c,), how many of each class the decisions are, its oldest first
    terms       the weighted terms of each class's oldest member at the start of the round
    total       their sums, shape (c,), or one number for all
    book        the accounting with all decisions in it
    reservations  by class row, the instants from which its members that wait, the oldest first,
                have what they ask for if every lifetime is kept, epoch seconds; infinite where no
                end is known that frees enough. Only of those that the policy reserves for
    explain     gives `reason` and `waits_for`
    """

    decisions: tuple[Decision, ...]
    complete: bool
    lacks: frozenset[Lack]
    look_at_s: float
    taken: Ints
    terms: priority.Terms
    total: priority.Column
    book: QuotaBook
    reservations: Mapping[int, Sequence[float]] = field(default_factory=dict)
    explain: Callable[[], tuple[Codes, Codes]]

    @cached_property
    def _explained(self) -> tuple[Codes, Codes]:
        return self.explain()

    @property
    def reason(self) -> Codes:
        """Why the rest of each class waits, shape (c,), position in REASONS."""
        return self._explained[0]

    @property
    def waits_for(self) -> Codes:
        """The quota whose bounds the reason is about, shape (c,), position in QUOTAS. A class that
        may use either is tried on its private quota first, and then waits by priority for the
        shared one, unless it may never borrow or waits for what was lent."""
        return self._explained[1]

    @cached_property
    def priority(self) -> Floats:
        """The priority of each class's oldest member, shape (c,)."""
        return priority.per_class(self.total, len(self.taken))

    def reserved(self, class_ids: Int32s) -> dict[int, Sequence[float]]:
        """Return the reservations by class_id, for the snapshot of the next round.

        class_ids  shape (c,), of the snapshot that was decided
        """
        return {int(class_ids[row]): at_s for row, at_s in self.reservations.items()}

    def reason_of(self, class_row: int) -> Reason:
        """Return why the members of a class that still wait do so."""
        return REASONS[int(self.reason[class_row])]

    def quota_of(self, class_row: int) -> QuotaKind:
        """Return the quota that they wait for."""
        return QUOTAS[int(self.waits_for[class_row])]
