"""The disciplines of a round, as words.

Why: the command line offers them where numpy, which rounds compute with, is not installed. Must not
know what they do.
"""

from synergy.core.declared.kinds import Explained


class Discipline(Explained):
    """What happens behind a request that does not fit."""

    FIFO = "fifo", "No request overtakes the first one that does not fit into the shared quota."
    GREEDY = "greedy", "Requests that do not fit are skipped, up to backfill_depth times."
    EASY = (
        "easy",
        (
            "The first reserve_depth requests that do not fit get a reservation at the earliest "
            "time known from lifetimes; requests that do not delay them may pass."
        ),
    )
    EASY_SJBF = (
        "easy_sjbf",
        (
            "Like easy, and of the requests that may pass, the one with the shortest lifetime goes "
            "first."
        ),
    )
    CONSERVATIVE = (
        "conservative",
        (
            "Every request gets a reservation, up to max_reserved; requests that delay none "
            "of them may pass."
        ),
    )
