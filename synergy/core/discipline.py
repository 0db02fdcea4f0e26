"""The disciplines of a round, as words.

Why: the command line offers them where numpy, which rounds compute with, is not installed. Must not
know what they do.
"""

from enum import StrEnum


class Discipline(StrEnum):
    """What happens behind a request that does not fit."""

    FIFO = "fifo"
    GREEDY = "greedy"
    EASY = "easy"
    EASY_SJBF = "easy_sjbf"
    CONSERVATIVE = "conservative"
