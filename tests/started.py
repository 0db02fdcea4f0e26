"""A world whose Synergy may start again, on a machine whose clock may be wrong."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from synergy.db.store import SqlStore
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.sim.clock import VirtualClock
from synergy.sim.engine import Engine, Machine, Settings
from tests.builders import Fragile, World, spec

HOUR_S, DAY_S = 3600.0, 86_400.0
THE_SAME = Machine()
# What is not looked at here works seldom, so that days pass quickly.
QUIET: dict[str, dict[str, Any]] = {
    name: {"rate_s": 3600.0}
    for name in ("project", "queue", "quota", "keystone", "fairshare", "scheduler")
}
QUIET["nova"] = {"rate_s": 3600.0, "settle_s": 14_400.0, "reconcile_s": 300.0}


class Started(World):
    """A world whose Synergy may start again, also on a machine whose clock is wrong."""

    def __init__(self, store: SqlStore, settings: Settings = QUIET) -> None:
        self._settings = settings
        clock, rng = VirtualClock(), random.Random(7)
        identity = EmbeddedIdentity(spec(), clock, rng)
        nova: Any = Fragile(EmbeddedNova(spec(), clock, identity, rng))
        super().__init__(
            Engine(spec(), settings, store=store, seed=7, clock=clock, cloud=(nova, identity))
        )
        self.engine.tolerant = True

    def restart(self, machine: Machine = THE_SAME) -> None:
        cloud, clock = (self.nova, self.engine.identity), self.engine.clock
        self.engine = Engine(
            spec(),
            self._settings,
            store=self.store,
            seed=7,
            clock=clock,
            cloud=cloud,
            machine=machine,
        )
        self.engine.tolerant = True

    def set_clock(self, off_s: float) -> None:
        self.engine.host_clock.off = timedelta(seconds=off_s)

    def running(self, count: int = 3, *, project: str = "A", **settings: Any) -> list[str]:
        self.add(project, **{"default_quota": "shared", "ttl_s": 7200} | settings)
        self.run(2)
        ids = self.create(project=project, count=count)
        self.run(20)
        assert self.states(ids) == ["ACTIVE"] * count
        return ids

    def shown(self) -> Any:
        return self.command("expiry", "show")

    def exist(self, ids: Sequence[str]) -> list[bool]:
        return [one in self.nova.servers(ids) for one in ids]
