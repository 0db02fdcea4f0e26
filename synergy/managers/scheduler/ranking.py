"""How waiting requests are ranked: the options of the priority, and the site's own factors.

Why: the weights and scales of a priority are one operator's decision, in one place. Must not know
the queue's content or when rounds happen.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Final

import numpy as np
from oslo_config import cfg, types

from synergy.core.errors import InvalidInput
from synergy.core.model import Association
from synergy.core.priority import RAW_ABLE, Column, Scales, Weights
from synergy.core.queue import Waiting
from synergy.managers.base import Part
from synergy.managers.support.option_types import Numbers, ResourceNumbers
from synergy.ports import SiteFactor

LOG = logging.getLogger(__name__)
MAX_POINTS: Final = float(2**31 - 1)


def _weight(name: str, default: int, what: str) -> cfg.Opt:
    return cfg.IntOpt(
        f"weight_{name}", default=default, min=0, max=2**32 - 1, mutable=True, help=what
    )


OPTIONS: Final = (
    _weight("age", 1_000, "Weight of the age factor."),
    _weight("fairshare", 100_000, "Weight of the fair-share factor."),
    _weight("size", 0, "Weight of the size factor, the part of the cloud that is asked for."),
    _weight("qos", 0, "Weight of the QOS factor."),
    _weight("partition", 0, "Weight of the partition factor, see partition_priorities."),
    _weight("association", 0, "Weight of the association factor: the priority of the user or its "
            "project over the highest of all."),
    cfg.Opt("weight_tres", type=ResourceNumbers(), default={}, mutable=True,
            help="Weight of the part of the cloud that is asked for, by resource class, such as "
            "VCPU:1000,MEMORY_MB:2000."),
    cfg.BoolOpt("favor_small", default=False, mutable=True,
                help="Whether the size factor favors small requests."),
    cfg.BoolOpt("size_relative_to_time", default=False, mutable=True,
                help="Whether the size factor is the largest part of the cloud that is asked "
                     "for, divided by the lifetime in minutes (Slurm's SMALL_RELATIVE_TO_TIME)."),
    cfg.FloatOpt("max_age_s", default=7 * 86_400.0, min=0, max=366 * 86_400, mutable=True,
                 help="Seconds in the queue after which the age factor is 1."),
    cfg.Opt("qos_priorities", type=Numbers(), default={"normal": 0.0}, mutable=True,
            help="Points of each QOS, such as normal:0,urgent:100. The highest makes the QOS "
            "factor 1."),
    cfg.Opt("partition_priorities", type=Numbers(), default={}, mutable=True,
            help="Points of each partition, such as default:1,gpu:10. A request's partition is "
            "named by its flavor's extra spec synergy:partition, else it is the availability zone "
            "that it asks for, else \"default\". The highest makes the factor 1."),
    cfg.ListOpt("raw_factors", item_type=types.String(choices=RAW_ABLE), default=[], mutable=True,
                help="Factors that stay as they are instead of being divided by the highest, or by "
                f"what the cloud has: any of {', '.join(RAW_ABLE)} (Slurm's NO_NORMAL flags)."),
)  # fmt: skip


def read_weights(conf: cfg.ConfigOpts.GroupAttr) -> Weights:
    """Read the weights."""
    return Weights(
        age=conf.weight_age,
        association=conf.weight_association,
        fairshare=conf.weight_fairshare,
        size=conf.weight_size,
        partition=conf.weight_partition,
        qos=conf.weight_qos,
        tres=dict(conf.weight_tres),
    )


def read_scales(conf: cfg.ConfigOpts.GroupAttr) -> Scales:
    """Read what the factors are measured with."""
    return Scales(
        max_age_s=conf.max_age_s,
        favor_small=conf.favor_small,
        size_by_time=conf.size_relative_to_time,
        qos_points=dict(conf.qos_priorities),
        partition_points=dict(conf.partition_priorities),
        raw=frozenset(conf.raw_factors),
    )


class SitePoints(Part):
    """The sum of what the site's factors add; one that fails adds nothing, and stops nobody."""

    def __init__(self, site_factors: Mapping[str, SiteFactor]) -> None:
        self._factors = site_factors
        self._lock = threading.Lock()  # a plugin is asked by one thread at a time
        self.associations: Mapping[int, Association] = {}
        self.errors: dict[str, str] = {}  # the last one by factor; "" once it works again

    @property
    def any(self) -> bool:
        """Whether the site has a factor of its own."""
        return bool(self._factors)

    def points(self, waiting: Waiting, at_s: float) -> Column:
        """Return the points to add, shape (c,), or 0 where there is no factor."""
        if not self._factors:
            return 0.0
        with self._lock:
            return self._sum(waiting, at_s)

    def _sum(self, waiting: Waiting, at_s: float) -> Column:
        total: Column = 0.0
        for name, factor in self._factors.items():
            try:
                total = total + self._checked(
                    factor.points(waiting, self.associations, at_s), waiting
                )
                self.errors.pop(name, None)
            except Exception as error:  # a plugin's fault must not stop the queue
                if self.errors.get(name) != repr(error):
                    LOG.exception("priority factor %r fails: it adds nothing", name)
                self.errors[name] = repr(error)
        return total

    @staticmethod
    def _checked(points: object, waiting: Waiting) -> Column:
        column = np.asarray(points, dtype=np.float64)
        if column.shape != (len(waiting),):
            raise InvalidInput(f"points have shape {column.shape}, not ({len(waiting)},)")
        if not np.isfinite(column).all():
            raise InvalidInput("points must be finite numbers")
        return np.clip(column, -MAX_POINTS, MAX_POINTS)
