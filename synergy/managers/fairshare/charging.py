"""What a held server is charged with: the options, and how holds become spans.

Why: an operator decides what an hour on which host costs whom, in one place. Must not know history
or shares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

import numpy as np
from oslo_config import cfg

from synergy.core.billing import billing
from synergy.core.usage import Decay, HalfLife, Periods, ResetPeriod, Spans
from synergy.managers.support.option_types import Numbers, ResourceNumbers, TimeZone, zone_of
from synergy.ports import Hold

OPTIONS: Final = (
    cfg.StrOpt(
        "decay",
        default="half_life",
        choices=[
            ("half_life", "Continuously, as in Slurm, by decay_half_life_s."),
            (
                "periods",
                (
                    "By whole periods of period_length_s, of which the last `periods` count, each "
                    "decay_weight times as much as the one after it, as in the first Synergy."
                ),
            ),
        ],
        mutable=True,
        help="How past usage decays. Changing the mode keeps the usage that counts at that moment.",
    ),
    cfg.FloatOpt(
        "decay_half_life_s",
        default=7 * 86_400.0,
        min=0,
        max=366 * 86_400,
        mutable=True,
        help="Seconds after which past usage counts half; 0 disables decay.",
    ),
    cfg.IntOpt(
        "periods",
        default=3,
        min=1,
        max=1000,
        mutable=True,
        help="With decay=periods: how many periods count, the current one included.",
    ),
    cfg.IntOpt(
        "period_length_s",
        default=7 * 86_400,
        min=60,
        max=366 * 86_400,
        mutable=True,
        help="With decay=periods: length of a period in seconds; periods begin at multiples of it "
        "since 1970-01-01 00:00 UTC.",
    ),
    cfg.FloatOpt(
        "decay_weight",
        default=0.5,
        min=0,
        max=1,
        mutable=True,
        help="With decay=periods: weight of a period, relative to the one after it.",
    ),
    cfg.StrOpt(
        "usage_reset_period",
        default=ResetPeriod.NONE.value,
        choices=[
            (ResetPeriod.NONE.value, "Never."),
            (ResetPeriod.DAILY.value, "Each day."),
            (ResetPeriod.WEEKLY.value, "Each Sunday."),
            (ResetPeriod.MONTHLY.value, "The first day of each month."),
            (ResetPeriod.QUARTERLY.value, "The first of January, April, July and October."),
            (ResetPeriod.YEARLY.value, "The first of January."),
        ],
        mutable=True,
        help="At which midnights all usage is cleared. `synergy manager execute fairshare reset` "
        "clears it now.",
    ),
    cfg.Opt(
        "usage_reset_timezone",
        type=TimeZone(),
        default="UTC",
        mutable=True,
        help="Time zone of that midnight, such as Europe/Rome.",
    ),
    cfg.Opt(
        "tres_billing_weights",
        type=ResourceNumbers(),
        default={"VCPU": 1.0},
        mutable=True,
        help="Weight of each resource class in the usage that is charged, such as "
        "VCPU:1.0,MEMORY_MB:0.00025.",
    ),
    cfg.BoolOpt(
        "max_tres",
        default=False,
        mutable=True,
        help="Charge only the resource class that costs most, instead of the sum (Slurm's "
        "MAX_TRES).",
    ),
    cfg.Opt(
        "qos_usage_factors",
        type=Numbers(),
        default={},
        mutable=True,
        help="Factor by which usage is multiplied for each QOS, such as "
        "urgent:2.0,scavenger:0.3; 1 for any other.",
    ),
    cfg.Opt(
        "host_factors",
        type=Numbers(),
        default={},
        mutable=True,
        help="Factor by which usage is multiplied for each host, such as its HEPscore23 over "
        "that of the slowest: node1:1.0,node2:1.35; 1 for any other, and until the host is "
        "known.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """The options, read."""

    fading: Decay
    weights: dict[str, float]
    max_tres: bool
    qos: dict[str, float]
    hosts: dict[str, float]
    reset: ResetPeriod
    zone: tzinfo


def read_tariff(conf: cfg.ConfigOpts.GroupAttr) -> Tariff:
    """Read the options."""
    if conf.decay == "periods":
        fading: Decay = Periods(
            length_s=conf.period_length_s, count=conf.periods, weight=conf.decay_weight
        )
    else:
        fading = HalfLife(half_life_s=conf.decay_half_life_s, slice_s=max(1.0, conf.rate_s))
    return Tariff(
        fading=fading,
        weights=dict(conf.tres_billing_weights),
        max_tres=conf.max_tres,
        qos=dict(conf.qos_usage_factors),
        hosts=dict(conf.host_factors),
        reset=ResetPeriod(conf.usage_reset_period),
        zone=zone_of(conf.usage_reset_timezone),
    )


def spans_of(holds: Sequence[Hold], tariff: Tariff, *, since: datetime, now: datetime) -> Spans:
    """Return what was held between two instants, with its price."""
    kept = [(hold, *_limits(hold, since, now)) for hold in holds]
    rows = [
        (
            hold.association_id,
            (now - begin).total_seconds(),
            (now - end).total_seconds(),
            rate_of(hold, tariff) * hold.count,
        )
        for hold, begin, end in kept
        if begin < end
    ]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
    return Spans(
        association=table[:, 0].astype(np.int64),
        begin_ago_s=table[:, 1],
        end_ago_s=table[:, 2],
        rate=table[:, 3],
    )


def rate_of(hold: Hold, tariff: Tariff) -> float:
    """Return the billed TRES of one server of a hold."""
    billed = billing(hold.demand, tariff.weights, maximum=tariff.max_tres)
    return billed * tariff.qos.get(hold.qos, 1.0) * tariff.hosts.get(hold.host or "", 1.0)


def _limits(hold: Hold, since: datetime, now: datetime) -> tuple[datetime, datetime]:
    """Return begin and end within the pass.

    Records from before the clock was set back lie ahead of now: what lasts was held all the time,
    and what ended did so before the last pass.
    """
    if hold.released_at is not None and hold.released_at > now:
        return now, now
    begin = since if hold.held_from > now else max(hold.held_from, since)
    return begin, hold.released_at or now
