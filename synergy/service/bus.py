"""Delivers events by type to the managers that listen for them, and wakes their threads."""

from synergy.core.events import Fact
from synergy.service.periodic import Worker


class Bus:
    """Publishing never blocks and never fails: a listener handles events on its own thread."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def attach(self, worker: Worker) -> None:
        """Deliver events to a manager from now on."""
        self._workers.append(worker)

    def publish(self, event: Fact) -> None:
        """Deliver an event to all managers that listen for it."""
        for worker in self._workers:
            if worker.supervisor.deliver(event):
                worker.wake()
