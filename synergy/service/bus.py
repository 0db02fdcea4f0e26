"""Delivers events by type to the managers that listen, and wakes their threads."""

from synergy.core.events import Fact
from synergy.service.periodic import Worker


class Bus:
    """Publishing never blocks and never fails: a listener takes events in on its own thread."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def attach(self, worker: Worker) -> None:
        """Let a manager hear what is published from now on."""
        self._workers.append(worker)

    def publish(self, event: Fact) -> None:
        """Deliver an event."""
        for worker in self._workers:
            if worker.supervisor.deliver(event):
                worker.wake()
