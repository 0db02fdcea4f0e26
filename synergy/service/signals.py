"""Turns the signals of the process into calls on its main thread, one after the other.

Why: a handler may run between any two instructions, so it does nothing but note which signal came.
A handler that fails ends nothing. Must not know what a signal means.
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
        """handlers  what is called on the main thread for a signal. Any other keeps its meaning."""
        self._handlers = dict(handlers)
        self._noted: SimpleQueue[signal.Signals | int] = SimpleQueue()
        for one in self._handlers:
            signal.signal(one, self._note)

    def _note(self, number: int, _frame: object) -> None:
        self._noted.put(signal.Signals(number))

    def end(self, code: int = 0) -> None:
        """Let `wait` return `code` after the signals that came before."""
        self._noted.put(code)

    def wait(self) -> int:
        """Handle signals until `end` is called, and return its code."""
        while True:
            noted = self._noted.get()
            if not isinstance(noted, signal.Signals):
                return noted
            try:
                self._handlers[noted]()
            except Exception:  # a signal such as SIGHUP must not end what it was to change
                LOG.exception("signal %s could not be handled", noted.name)
