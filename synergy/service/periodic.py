"""One thread per manager: runs the manager when it is due, or when an event wakes it."""

import logging
import threading

from synergy.managers.supervision.supervisor import Supervisor

LOG = logging.getLogger(__name__)


class Worker:
    """The thread of one manager. Events do not wake a manager that backs off after a failure."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self._changed = threading.Condition()
        self._woken = False
        self._started = self._stopping = False
        self._thread = self._new_thread(0.0)
        supervisor.on_thread(self._lives)

    def _new_thread(self, rest_s: float) -> threading.Thread:
        name = f"manager-{self.supervisor.manager.name}"
        return threading.Thread(target=self._loop, args=(rest_s,), name=name, daemon=True)

    def _lives(self) -> bool:
        return self._thread.is_alive() or not self._started or self._stopping

    def start(self) -> None:
        """Start running the manager."""
        self._started = True
        self._thread.start()

    def wake(self) -> None:
        """Let the manager run soon."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def revive(self) -> None:
        """Start a new thread if the manager's thread died."""
        if not self._lives():
            LOG.warning("manager %s gets a new thread", self.supervisor.manager.name)
            self._thread = self._new_thread(self.supervisor.rest_s)
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end after its current run."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, and return whether it ended."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _loop(self, rest_s: float) -> None:
        try:
            self._wait(rest_s)
            while not self._stopping:
                self._wait(self.supervisor.run())
        except BaseException as error:  # noqa: BLE001 - logged with its traceback; `revive` starts a new thread
            self.supervisor.died(error)

    def _wait(self, delay_s: float) -> None:
        with self._changed:
            self._changed.wait_for(self._is_due, delay_s)
            self._woken = False

    def _is_due(self) -> bool:
        return self._stopping or (self._woken and not self.supervisor.in_backoff())
