"""A discrete-event loop that drives the service's own managers on the embedded cloud.

Why: the demo and the simulator are meaningful only if they run the service's own code. Must not
decide anything: it moves the clock to the next due instant, and runs what is due.
"""

import heapq
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Final

from oslo_config import cfg
from sqlalchemy import Engine as DatabaseEngine

from synergy.core.errors import SynergyError
from synergy.core.events import Fact
from synergy.db.engine import DATABASE_OPTIONS, open_engine, upgrade
from synergy.db.key_file import new_key
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.notices import EmbeddedNotices
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import CloudSpec
from synergy.managers.base import Manager, assemble, register_options
from synergy.managers.expiry import ExpiryManager
from synergy.managers.fairshare import FairShareManager
from synergy.managers.keystone import KeystoneManager
from synergy.managers.nova import NovaManager
from synergy.managers.project import ProjectManager
from synergy.managers.queue import QueueManager
from synergy.managers.quota import QuotaManager
from synergy.managers.scheduler import SchedulerManager
from synergy.managers.supervision.supervisor import Supervisor, deliver_to
from synergy.managers.support.owners import Owners
from synergy.managers.support.watched_clock import WatchedClock
from synergy.ports import SiteFactor
from synergy.sim.clock import HostClock, VirtualClock
from synergy.sim.guard import Guarded

# Managers that are due at the same instant run in this order: ends, news, sizes, then decisions.
MANAGERS: tuple[type[Manager], ...] = (
    ProjectManager,
    ExpiryManager,
    QueueManager,
    NovaManager,
    QuotaManager,
    KeystoneManager,
    FairShareManager,
    SchedulerManager,
)
IDLE_SKIP = timedelta(
    hours=1
)  # a manager that was woken, or waits for others, is due sooner than this
Settings = Mapping[str, Mapping[str, object]]
NO_TIME: Final = timedelta()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that Synergy runs on: its boot, and how far its wall clock is ahead of the
    world's."""

    boot_id: str = "virtual"
    ahead: timedelta = NO_TIME


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """What a site adds: managers that the simulator does not need, what they need by name, and
    factors of the priority."""

    managers: Sequence[type[Manager]] = ()
    needs: Mapping[str, object] = field(default_factory=dict)
    site_factors: Mapping[str, SiteFactor] = field(default_factory=dict)


class Engine:
    """The virtual world: a cloud, a store, managers, and what is due when."""

    def __init__(
        self,
        spec: CloudSpec,
        settings: Settings,
        *,
        store: SqlStore,
        seed: int,
        clock: VirtualClock | None = None,
        cloud: tuple[EmbeddedNova, EmbeddedIdentity] | None = None,
        machine: Machine = Machine(),
        plugins: Plugins = Plugins(),
    ) -> None:
        """Start Synergy with a new cloud or, after a crash, with one that kept running."""
        self.clock = clock or VirtualClock()
        self.host_clock = HostClock(self.clock)
        self.host_clock.off = machine.ahead
        rng = random.Random(seed)
        if cloud is None:
            identity = EmbeddedIdentity(spec, self.clock, rng)
            cloud = EmbeddedNova(spec, self.clock, identity, rng), identity
        self.nova, self.identity = cloud
        self.store = store
        self._watched = WatchedClock(self.host_clock, boot_id=machine.boot_id)
        with store.reading() as uow:
            self._watched.go_on_from(uow.safety.mark())
        self._plugins = plugins
        self.tolerant = False  # continue when a manager fails, as the service does
        self._heap: list[tuple[datetime, int, Callable[[], None]]] = []
        self._count = 0
        self._listeners: list[Callable[[Fact], None]] = []
        self._due: dict[str, datetime] = {}
        conf = cfg.ConfigOpts()
        conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
        classes = {cls.name: cls for cls in (*MANAGERS, *plugins.managers)}
        for name, cls in classes.items():
            register_options(conf, name, cls)
            for option, value in settings.get(name, {}).items():
                conf.set_override(option, value, group=name)
        self._conf = conf
        self._owners = Owners(self.identity, self._watched, conf["project"])
        self.managers = assemble(classes, self.needs_of)
        self.supervisors = {
            name: Supervisor(manager, conf[name], self._watched)
            for name, manager in self.managers.items()
        }
        for name, supervisor in self.supervisors.items():
            supervisor.setup(autostart=conf[name].autostart)
            self._due[name] = self.clock.now()

    def needs_of(self, name: str) -> dict[str, object]:
        """Return what a manager's constructor may need, by parameter name."""
        ports = {
            "intake": self.nova,
            "conductor": self.nova,
            "changes": self.nova.changes,
            "compute": self.nova,
            "notices": EmbeddedNotices(self.nova),
            "identity": self.identity,
            "owners": self._owners,
        }
        return {
            "conf": self._conf[name],
            "scheduler_options": self._conf["scheduler"],
            "clock": self._watched,
            "publish": self.publish,
            "wake": lambda: self._wake(name),
            "store": self.store,
            "site_factors": self._plugins.site_factors,
            "charging": self._conf["fairshare"],
            **self._plugins.needs,
            **{port: Guarded(it, lambda: self.store.is_writing) for port, it in ports.items()},
        }

    def listen(self, listener: Callable[[Fact], None]) -> None:
        """Call `listener` with every event that managers publish."""
        self._listeners.append(listener)

    def publish(self, event: Fact) -> None:
        """Deliver an event to managers and listeners."""
        for supervisor in deliver_to(self.supervisors.values(), event):
            if not supervisor.in_backoff():
                self._wake(supervisor.manager.name)
        for listener in self._listeners:
            listener(event)

    def _wake(self, name: str) -> None:
        self._due[name] = self.clock.now()

    def at(self, instant: datetime, action: Callable[[], None]) -> None:
        """Schedule an action at an instant, after the actions already scheduled for it."""
        self._count += 1
        heapq.heappush(self._heap, (instant, self._count, action))

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Schedule an action in `delay_s` seconds."""
        self.at(self.clock.now() + timedelta(seconds=delay_s), action)

    def run_until(self, end: datetime) -> None:
        """Run until `end`. Raises SimulationFailed when a manager fails."""
        while (instant := self._next_instant()) <= end:
            self.clock.move_to(instant)
            self._run_instant()
        self.clock.move_to(end)

    def run_until_idle(
        self, is_done: Callable[[], bool], *, is_quiet: Callable[[], bool] = lambda: False
    ) -> None:
        """Run until `is_done`, which is checked after each instant.

        While `is_quiet`, periodic runs of managers are skipped up to the next scheduled action: a
        log may have gaps of years.
        """
        while not is_done():
            instant = self._next_instant()
            if self._heap and is_quiet() and instant >= self.clock.now() + IDLE_SKIP:
                instant = max(instant, self._heap[0][0])
                self._due = {name: max(due, instant) for name, due in self._due.items()}
            self.clock.move_to(instant)
            self._run_instant()

    def has_pending(self) -> bool:
        """Return whether anything is scheduled besides the managers' periodic runs."""
        return bool(self._heap) or self.nova.next_due_at() is not None

    def _next_instant(self) -> datetime:
        due = min(self._due.values())
        boot = self.nova.next_due_at()
        instants = [due, *([boot] if boot else []), *([self._heap[0][0]] if self._heap else [])]
        return min(instants)

    def _run_instant(self) -> None:
        now = self.clock.now()
        self.nova.catch_up()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        for name, supervisor in self.supervisors.items():
            if self._due[name] <= now:
                self._due[name] = datetime.max.replace(tzinfo=now.tzinfo)
                delay_s = supervisor.run()
                if supervisor.report.last_error and not self.tolerant:
                    raise SimulationFailed(name, supervisor.report.last_error)
                later = now + timedelta(seconds=max(delay_s, 1e-3))
                self._due[name] = min(self._due[name], later)


class SimulationFailed(SynergyError):
    """A manager failed during a simulation."""

    code = "simulation_failed"

    def __init__(self, manager: str, error: str) -> None:
        super().__init__(f"manager {manager} failed: {error}")


@contextmanager
def temporary_store(folder: Path | None = None) -> Iterator[SqlStore]:
    """Create a temporary SQLite store with its own key, and remove it afterwards."""
    with tempfile.TemporaryDirectory(prefix="synergy-", dir=folder) as place:
        file = Path(place, "synergy.sqlite")
        file.write_bytes(migrated_file())
        store = SqlStore(_opened(file), Vault([new_key()]))
        try:
            yield store
        finally:
            store.close()


@cache
def migrated_file() -> bytes:
    """Return the file of an empty database. The migrations always make the same one, and take far
    longer than a copy of it."""
    with tempfile.TemporaryDirectory(prefix="synergy-") as place:
        file = Path(place, "synergy.sqlite")
        engine = _opened(file, create=True)
        upgrade(engine)
        engine.dispose()  # the last connection moves what lies in the write-ahead log into the file
        return file.read_bytes()


def _opened(file: Path, *, create: bool = False) -> DatabaseEngine:
    conf = cfg.ConfigOpts()
    conf.register_opts(DATABASE_OPTIONS, group="database")
    conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", f"sqlite:///{file}", group="database")
    conf.set_override("sqlite_synchronous", False, group="database")
    conf.set_override("sqlite_busy_s", 0.1, group="database")  # no other process uses it
    return open_engine(conf.database, create=create)
