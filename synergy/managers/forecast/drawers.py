"""Where forecasts are drawn: here, or in a process of its own.

Why: threads of one interpreter take turns, so a round would wait for what is drawn beside it. The
process gets values and returns values; it has no store, no key and no socket, so nothing is lost
with it. Must not know what forecasts are for.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from synergy.core.forecasts.drawing import Drawn, Question, draw

LOG = logging.getLogger(__name__)
GRACE_S: Final = 60.0  # beyond its budget, in which the process starts and ends its first samples
_IDLE_S: Final = 900.0  # after which a process without work ends
_NICENESS: Final = 5
_END_S: Final = 5.0  # in which the system ends a process that was killed


class DrawingFailed(Exception):
    """Forecasts were not drawn, and why in words."""


class Drawer(Protocol):
    """Draws the forecasts of one question at a time."""

    @property
    def busy(self) -> bool:
        """Whether a question is asked of which not everything was given by `parts`."""

    def ask(self, question: Question, budget_s: float) -> None:
        """Begin to draw; after `budget_s` no more samples are begun. It must not be busy, and what
        the question has may change once this has returned."""

    def parts(self) -> Iterator[list[Drawn]]:
        """Yield what was drawn since the last call, without waiting. Raises DrawingFailed."""

    def close(self) -> None:
        """Break off, and leave nothing behind."""


class Here:
    """Draws on the thread that asks."""

    busy = False

    def __init__(self, elapsed_s: Callable[[], float]) -> None:
        self._elapsed_s = elapsed_s
        self._parts: list[list[Drawn]] = []

    def ask(self, question: Question, budget_s: float) -> None:
        self._parts = list(draw(question, _has_time(self._elapsed_s, budget_s)))

    def parts(self) -> Iterator[list[Drawn]]:
        parts, self._parts = self._parts, []
        yield from parts

    def close(self) -> None:
        self._parts = []


def _has_time(elapsed_s: Callable[[], float], budget_s: float) -> Callable[[], bool]:
    until_s = elapsed_s() + budget_s
    return lambda: elapsed_s() < until_s


@dataclass(frozen=True, slots=True)
class _Broken:
    """The process ended, or said what is wrong with the question."""

    why: str


_Found = list[Drawn] | _Broken | None  # None: that was everything


@dataclass(slots=True, kw_only=True)
class _Turn:
    """A question that is under way.

    A thread carries it to the process and the answer back: a pipe is full while nobody reads, and
    anyone who asks does not wait for that.
    """

    until_s: float
    limit_s: float
    found: SimpleQueue[_Found] = field(default_factory=SimpleQueue)

    def carry(self, link: Connection, packed: bytes) -> None:
        try:
            link.send_bytes(packed)
            while True:
                found = link.recv()
                self.found.put(found)
                if not isinstance(found, list):
                    return  # what comes after that answers another question
        except (EOFError, OSError):
            self.found.put(_Broken(""))


class ProcessDrawer:
    """Draws in a process of its own, which is started when it is needed, and again if it ends."""

    def __init__(self, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._process: SpawnProcess | None = None
        self._link: Connection | None = None
        self._turn: _Turn | None = None
        self._carrier: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        return self._turn is not None

    @property
    def pid(self) -> int | None:
        """The number of the process, None where there is none."""
        return self._process.pid if self._process is not None else None

    def ask(self, question: Question, budget_s: float) -> None:
        packed = pickle.dumps((question, budget_s))  # now: what it has may change afterwards
        link, limit_s = self._running(), budget_s + self._grace_s
        self._turn = turn = _Turn(until_s=time.monotonic() + limit_s, limit_s=limit_s)
        self._carrier = threading.Thread(
            target=turn.carry, args=(link, packed), name="forecast-carrier", daemon=True
        )
        self._carrier.start()

    def parts(self) -> Iterator[list[Drawn]]:
        if (turn := self._turn) is None:
            return
        with suppress(Empty):
            while True:
                found = turn.found.get_nowait()
                if found is None:
                    self._turn = None
                    return
                if isinstance(found, _Broken):
                    self._turn = None
                    raise DrawingFailed(found.why or self._ended())
                yield found
        if time.monotonic() > turn.until_s:
            self.close()
            raise DrawingFailed(
                f"forecasts were not drawn in {turn.limit_s:.0f} s, so their process was ended"
            )

    def close(self) -> None:
        process, link = self._process, self._link
        self._process = self._link = self._turn = None
        if process is not None:
            process.kill()
            process.join(_END_S)
        if self._carrier is not None:  # it sees the end of the process; then nobody uses the link
            self._carrier.join(_END_S)
        if link is not None:
            link.close()

    def _running(self) -> Connection:
        """Return the link to a process that runs."""
        process, link = self._process, self._link
        if process is not None and link is not None and process.is_alive():
            return link
        if process is not None and process.exitcode:
            LOG.warning("%s: another one is started", self._ended())
        self.close()
        context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
        ours, theirs = context.Pipe()
        # As a daemon it is ended with the interpreter, whatever else was forgotten.
        process = context.Process(
            target=serve, args=(theirs,), name="synergy-forecasts", daemon=True
        )
        process.start()
        theirs.close()  # or the end of the process would not be seen
        self._process, self._link = process, ours
        return ours

    def _ended(self) -> str:
        process = self._process
        if process is not None:
            process.join(_END_S)
        code = process.exitcode if process is not None else None
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return f"the process that draws forecasts ended {how}"


def serve(link: Connection) -> None:
    """Answer questions until there are none for long, or the parent is gone."""
    for number in (signal.SIGINT, signal.SIGHUP):  # they are for the service, which ends this one
        signal.signal(number, signal.SIG_IGN)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):
        while link.poll(_IDLE_S):
            question, budget_s = link.recv()
            try:
                for part in draw(question, _has_time(time.monotonic, budget_s)):
                    link.send(part)
                link.send(None)
            except (EOFError, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - the caller gets it
                link.send(_Broken("".join(traceback.format_exception_only(error)).strip()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
