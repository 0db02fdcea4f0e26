"""Managers on threads of their own, as the service runs them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from synergy.drivers.clock import SystemClock
from synergy.managers.base import Manager
from synergy.managers.supervision.supervisor import Supervisor
from synergy.service.periodic import Worker


@contextmanager
def workers(**usual: float) -> Iterator[Callable[..., Worker]]:
    """Yield what starts a manager with some options; all are stopped at the end.

    usual  options of managers that name no others
    """
    made = []

    def make(manager: Manager, **options: Any) -> Worker:
        conf: Any = SimpleNamespace(**{"debounce_s": 0.0, "stall_s": 300.0} | usual | options)
        supervisor = Supervisor(manager, conf, SystemClock())
        supervisor.setup(autostart=True)
        made.append(Worker(supervisor))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.stop()
        assert one.join(5)
