"""Gives each manager what it needs, and runs it; the API speaks to managers through the host."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from oslo_config import cfg

from synergy.core.declared.answers.service import Change, Readiness
from synergy.core.declared.answers.service import Manager as ManagerShown
from synergy.core.errors import InvalidInput, NotFound
from synergy.db.store import SqlStore
from synergy.managers.base import Manager, assemble
from synergy.managers.supervision.health import health_of
from synergy.managers.supervision.supervisor import Supervisor, supervisor_json
from synergy.managers.support.owners import Owners
from synergy.ports import Clock
from synergy.service.audit import AuditLog
from synergy.service.bus import Bus
from synergy.service.periodic import Worker

LOG = logging.getLogger(__name__)
GRACE_S: Final = 10.0


class Host:
    """The managers of one process."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        classes: Mapping[str, type[Manager]],
        *,
        clock: Clock,
        store: SqlStore,
        needs: Mapping[str, Any],
    ) -> None:
        """Construct every manager, from `needs` such as the ports of the cloud.

        Raises ConfigurationInvalid listing every missing need.
        """
        self._conf, self._bus = conf, Bus()
        self._troubles: Callable[[], list[str]] = list
        self._store, self._audit = store, AuditLog(store, clock)
        self._workers: dict[str, Worker] = {}
        common = {"clock": clock, "publish": self._bus.publish, "store": store, **needs}
        common["charging"] = conf["fairshare"] if "fairshare" in classes else None
        if "identity" in needs:
            common["owners"] = Owners(needs["identity"], clock, conf["project"])
        made = assemble(
            classes,
            lambda name: {**common, "conf": conf[name], "wake": lambda: self._wake(name)},
        )
        for name, manager in made.items():
            worker = Worker(Supervisor(manager, conf[name], clock))
            self._workers[name] = worker
            self._bus.attach(worker)

    def _wake(self, name: str) -> None:
        if name in self._workers:
            self._workers[name].wake()

    def start(self) -> None:
        """Set every manager up, then start the threads: nobody runs before everyone is ready."""
        for name, worker in self._workers.items():
            worker.supervisor.setup(autostart=self._conf[name].autostart)
        for worker in self._workers.values():
            worker.start()

    def stop(self) -> None:
        """End every thread, waiting at most GRACE_S seconds for all of them together."""
        for worker in self._workers.values():
            worker.stop()
        deadline_s = time.monotonic() + GRACE_S
        for name, worker in self._workers.items():
            if worker.join(max(0.0, deadline_s - time.monotonic())):
                worker.supervisor.destroy()
            else:
                LOG.warning(
                    "manager %s did not end in %s s; its work is in the store", name, GRACE_S
                )

    def revive(self) -> None:
        """Give every manager whose thread died another one."""
        for worker in self._workers.values():
            worker.revive()

    def end_rest(self, kind: type[Exception]) -> None:
        """Run the managers again that rest after a failure of this kind: what it was is over."""
        for worker in self._workers.values():
            if worker.supervisor.rests_for(kind):
                worker.supervisor.end_rest()
                worker.wake()

    def wake_all(self) -> None:
        """Run every manager soon, since its options may have changed."""
        for worker in self._workers.values():
            worker.wake()

    def watched_by(self, troubles: Callable[[], list[str]]) -> None:
        """Let `troubles` tell what is wrong with the service besides its managers."""
        self._troubles = troubles

    # --- what the API offers ----------------------------------------------------------------------

    def health(self) -> Readiness:
        """Return whether the service is ready and healthy, and why not; waits for no manager."""
        reports = [worker.supervisor.report for worker in self._workers.values()]
        return health_of(reports, self._troubles(), self._store.damaged())

    def managers(self) -> list[ManagerShown]:
        """Return what is to be shown of every manager."""
        return [self.manager(name) for name in self._workers]

    def manager(self, name: str) -> ManagerShown:
        """Return what is to be shown of one manager. Raises NotFound."""
        return supervisor_json(self._worker(name).supervisor)

    def start_manager(self, name: str) -> ManagerShown:
        """Let a paused manager run. Raises NotFound."""
        worker = self._worker(name)
        worker.supervisor.start()
        worker.wake()
        return self.manager(name)

    def stop_manager(self, name: str) -> ManagerShown:
        """Pause a manager. Raises NotFound."""
        self._worker(name).supervisor.stop()
        return self.manager(name)

    def execute(self, name: str, command: str, arguments: Mapping[str, object]) -> object:
        """Run a manager's command. Raises NotFound, InvalidInput, and what the command raises."""
        if not all(isinstance(key, str) and key.isidentifier() for key in arguments):
            raise InvalidInput(f"{name} {command}: argument names must be identifiers")
        return self._worker(name).supervisor.execute(command, arguments)

    def begin_change(self, entry: Mapping[str, object]) -> int:
        """Write down a change that is about to be made. Raises UpstreamUnavailable."""
        return self._audit.begin(entry)

    def settle_change(self, number: int, settled: Mapping[str, object]) -> None:
        """Write down what became of it. Raises UpstreamUnavailable."""
        self._audit.settle(number, settled)

    def changes(self, filters: Mapping[str, object]) -> list[Change]:
        """Return changes that were asked for. Raises InvalidInput."""
        return self._audit.list(filters)

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            known = ", ".join(sorted(self._workers))
            raise NotFound(f"manager {name!r} is not loaded; there are {known}")
        return self._workers[name]
