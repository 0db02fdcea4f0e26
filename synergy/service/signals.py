"""Turns the signals of the process into calls on its main thread, one after the other.

Why: a signal handler may run between any two instructions, so it only records which signal came. An
exception in a handler does not end the process. Must not know what a signal means.
"""

import logging
import signal
from collections.abc import Callable, Mapping
from queue import SimpleQueue

LOG = logging.getLogger(__name__)
Handler = Callable[[], None]


class Signals:
    """Waits for signals, and for `end`, which any thread may call."""

    def __init__(self, handlers: Mapping[signal.Signals, Handler]) -> None:
        """handlers  called on the main thread, by signal; other signals keep their default
        action."""
        self._handlers = dict(handlers)
        self._noted: SimpleQueue[signal.Signals | int] = SimpleQueue()
        for one in self._handlers:
            signal.signal(one, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self._noted.put(signal.Signals(number))

    def end(self, code: int = 0) -> None:
        """Make `wait` return `code` once it has handled the signals received before."""
        self._noted.put(code)

    def wait(self) -> int:
        """Handle signals until `end` is called, and return its code."""
        while True:
            noted = self._noted.get()
            if not isinstance(noted, signal.Signals):
                return noted
            try:
                self._handlers[noted]()
            except Exception:  # an error on SIGHUP must not end the service
                LOG.exception("signal %s could not be handled", noted.name)
