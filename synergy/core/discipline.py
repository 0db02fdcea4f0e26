"""The disciplines of a round, as words.

Why: the command line offers them where numpy, which rounds compute with, is not installed. Must not
know what they do.
"""

from synergy.core.declared.kinds import Explained


class Discipline(Explained):
    """What happens behind a request that does not fit."""

    FIFO = "fifo", "Nobody overtakes the first request that the shared quota cannot hold."
    GREEDY = "greedy", "What does not fit is passed over, up to backfill_depth times."
    EASY = (
        "easy",
        (
            "The first reserve_depth requests that do not fit have a reservation at the earliest "
            "instant known from lifetimes; who does not delay them passes."
        ),
    )
    EASY_SJBF = (
        "easy_sjbf",
        "Likewise, and of those that pass the shortest lifetime goes first.",
    )
    CONSERVATIVE = (
        "conservative",
        "Every request has a reservation, up to most_reserved; who delays none passes.",
    )
