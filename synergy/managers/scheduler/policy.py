"""How rounds decide, as the operator sets it.

Must not know when a round is due, nor what it decides about.
"""

from typing import Final

from oslo_config import cfg

from synergy.core.rounds import Discipline, Policy
from synergy.managers.scheduler import ranking

OPTIONS: Final = (
    cfg.StrOpt(
        "discipline",
        default=Discipline.EASY.value,
        choices=[(one.value, one.meaning) for one in Discipline],
        mutable=True,
        help="How a round treats the requests behind one that does not fit into the shared "
        "quota. Requests are taken in the order of their priority.",
    ),
    cfg.IntOpt(
        "backfill_depth",
        default=100,
        min=0,
        max=1_000_000,
        mutable=True,
        help="How many different demands of users a greedy round may skip because they do not "
        "fit; those that differ only in lifetime, QOS or nice count once.",
    ),
    cfg.IntOpt(
        "reserve_depth",
        default=1,
        min=1,
        max=1000,
        mutable=True,
        help="With discipline easy or easy_sjbf: how many requests that do not fit into the "
        "shared quota get a reservation.",
    ),
    cfg.IntOpt(
        "max_reserved",
        deprecated_name="most_reserved",
        default=1000,
        min=1,
        max=100_000,
        mutable=True,
        help="With discipline conservative: how many requests get a reservation; those behind "
        "them wait until some of these have started.",
    ),
    cfg.IntOpt(
        "round_size",
        default=1000,
        min=1,
        max=1_000_000,
        mutable=True,
        help="Maximum number of requests that one round dispatches; the next round follows at "
        "once.",
    ),
    *ranking.OPTIONS,
)


def policy_of(conf: cfg.ConfigOpts.GroupAttr, maximum: int | None = None) -> Policy:
    """Return how rounds decide by the options of the scheduler; `maximum` instead of round_size."""
    return Policy(
        discipline=Discipline(conf.discipline),
        backfill_depth=conf.backfill_depth,
        reserve_depth=conf.reserve_depth,
        max_reserved=conf.max_reserved,
        round_size=conf.round_size if maximum is None else maximum,
        weights=ranking.read_weights(conf),
        scales=ranking.read_scales(conf),
    )
