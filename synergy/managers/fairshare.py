"""Keeps usage history and fair-share factors current.

Why: only what is held on the shared quota is charged, from the moment it is held, in every pass.
A pass is a function of the stored usage, the instant it was charged, and the spans since then, so a
crash between two passes loses nothing. Must not know the queue.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from oslo_config import cfg

from synergy.core import fairshare, shares
from synergy.core.accounts import share_nodes, user_node
from synergy.core.billing import billing, read_weights
from synergy.core.events import (
    Fact,
    FactorsChanged,
    ProjectsChanged,
    QuotaHeld,
    QuotaReleased,
)
from synergy.core.fairshare import Algorithm
from synergy.core.model import Association
from synergy.core.shares import ShareTree
from synergy.managers.base import Json, Manager, Publish, command
from synergy.managers.render import instant_json
from synergy.ports import Clock, Hold, OpenUnitOfWork, UnitOfWork

LOG = logging.getLogger(__name__)


class FairShareManager(Manager):
    """Charges usage, decays it, and publishes factors."""

    name = "fairshare"
    listens = (ProjectsChanged, QuotaHeld, QuotaReleased)
    options = (
        cfg.StrOpt(
            "algorithm",
            default=Algorithm.FAIR_TREE.value,
            choices=[one.value for one in Algorithm],
            mutable=True,
            help="How factors are made of shares and usage.",
        ),
        cfg.FloatOpt(
            "decay_half_life_s",
            default=7 * 86_400.0,
            min=0,
            max=366 * 86_400,
            mutable=True,
            help="Seconds after which past usage counts half; 0 disables decay.",
        ),
        cfg.FloatOpt(
            "dampening",
            default=1.0,
            min=1,
            max=1000,
            mutable=True,
            help="Classic only: FairShareDampeningFactor.",
        ),
        cfg.FloatOpt(
            "debounce_s",
            default=1.0,
            min=0,
            max=3600,
            mutable=True,
            help="Shortest time in seconds between two passes that events ask for.",
        ),
        cfg.DictOpt(
            "tres_billing_weights",
            default={"VCPU": "1.0"},
            mutable=True,
            help="Weight of each resource class in the one number that is charged, such as "
            "VCPU:1.0,MEMORY_MB:0.00025.",
        ),
    )

    def __init__(
        self, conf: Any, clock: Clock, publish: Publish, unit_of_work: OpenUnitOfWork
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._unit_of_work = unit_of_work
        self._tree: ShareTree | None = None
        self._associations: Sequence[Association] = ()
        self._factors: dict[int, float] = {}
        self._computed: fairshare.FairShare | None = None
        self._computed_at: datetime | None = None

    def setup(self) -> None:
        read_weights(self._conf.tres_billing_weights)

    def on_event(self, event: Fact) -> None:
        if isinstance(event, ProjectsChanged):
            self.resync()

    def resync(self) -> None:
        self._tree = None

    def task(self) -> float | None:
        now = self._clock.now()
        with self._unit_of_work() as uow:
            if self._tree is None:
                self._read_tree(uow)
            usage = self._charge(uow, now)
            uow.usage.save(now, usage)
            uow.commit()
        factors = self._factors_of(usage, now)
        if factors != self._factors:
            self._factors = factors
            self._publish(FactorsChanged(factors))
        return None

    def _read_tree(self, uow: UnitOfWork) -> None:
        self._associations = uow.projects.associations()
        projects = uow.projects.all()
        nodes = share_nodes(uow.projects.domains(), projects, self._associations)
        self._tree = shares.build(nodes)
        managed = {project.project_id for project in projects}
        self._associations = [a for a in self._associations if a.project_id in managed]

    def _charge(self, uow: UnitOfWork, now: datetime) -> dict[int, float]:
        """Decay what was charged before, and add what was held since."""
        charged_at, usage = uow.usage.load()
        half_life_s = self._conf.decay_half_life_s
        if charged_at is not None:
            left = fairshare.decay_factor((now - charged_at).total_seconds(), half_life_s)
            usage = {key: value * left for key, value in usage.items()}
        since = charged_at or datetime.min.replace(tzinfo=now.tzinfo)
        holds = uow.requests.holds_since(since)
        weights = read_weights(self._conf.tres_billing_weights)
        spans = np.array([_span_s(hold, since, now) for hold in holds])
        rates = np.array([billing(hold.demand, weights) * hold.count for hold in holds])
        charged = fairshare.charged_usage(spans, rates, half_life_s)
        for hold, amount in zip(holds, charged, strict=True):
            usage[hold.association_id] = usage.get(hold.association_id, 0.0) + float(amount)
        return usage

    def _factors_of(self, usage: Mapping[int, float], now: datetime) -> dict[int, float]:
        tree = self._tree
        assert tree is not None  # a pass reads it
        own = np.zeros(len(tree))
        row = {node_id: index for index, node_id in enumerate(tree.node_ids)}
        for association in self._associations:
            node = row[user_node(association.association_id)]
            own[node] = usage.get(association.association_id, 0.0)
        self._computed = fairshare.compute(
            tree,
            own,
            algorithm=Algorithm(self._conf.algorithm),
            dampening=self._conf.dampening,
        )
        self._computed_at = now
        return {
            a.association_id: float(self._computed.fairshare[row[user_node(a.association_id)]])
            for a in self._associations
        }

    @command()
    def do_shares(self) -> Json:
        """Show the share tree with usage and factors, as sshare -l does."""
        tree, computed = self._tree, self._computed
        if tree is None or computed is None:
            return {"computed_at": None, "shares": []}
        names = {
            user_node(association.association_id): association.user_name
            for association in self._associations
        }
        rows = [
            {
                "id": node_id,
                "parent": tree.node_ids[tree.parent[row]] if tree.parent[row] >= 0 else None,
                "user": names.get(node_id),
                "raw_shares": int(tree.raw_shares[row]),
                "norm_shares": float(computed.norm_shares[row]),
                "raw_usage": float(computed.raw_usage[row]),
                "effective_usage": float(computed.effective_usage[row]),
                "level_fs": _finite(float(computed.level_fs[row])),
                "fairshare": float(computed.fairshare[row]),
            }
            for row, node_id in enumerate(tree.node_ids)
        ]
        return {"computed_at": instant_json(self._computed_at), "shares": rows}


def _span_s(hold: Hold, since: datetime, now: datetime) -> float:
    """Return for how many seconds since the last pass the quota was held."""
    begin, end = max(hold.held_from, since), min(hold.released_at or now, now)
    return max(0.0, (end - begin).total_seconds())


def _finite(number: float) -> float | str:
    return "inf" if np.isinf(number) else number
