"""One thread for each manager: runs it when its time comes, or when an event wakes it."""

import logging
import threading

from synergy.managers.base import Supervisor

LOG = logging.getLogger(__name__)


class Worker:
    """The thread of one manager. A manager that rests after a failure is not woken by events."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self._changed = threading.Condition()
        self._woken = False
        self._stopping = False
        name = f"manager-{supervisor.manager.name}"
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin to run the manager."""
        self._thread.start()

    def wake(self) -> None:
        """Let the manager run soon."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def stop(self) -> None:
        """Ask the thread to end after the run it may be in."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, and tell whether it ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        try:
            while not self._stopping:
                delay_s = self.supervisor.run()
                with self._changed:
                    self._changed.wait_for(self._is_due, delay_s)
                    self._woken = False
        except BaseException as error:
            self.supervisor.died(error)
            raise

    def _is_due(self) -> bool:
        return self._stopping or (self._woken and not self.supervisor.in_backoff())
