"""Threads that answer requests, separate for each kind of request.

Why: anyone who asks whether the service lives must not wait behind those who ask for a year of
usage. Each lane has threads and a short queue of its own; a full queue refuses at once. Must not
know what the work is.
"""

import asyncio
import contextlib
import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar

from synergy.core.errors import Overloaded

LOG = logging.getLogger(__name__)
_QUEUED_PER_THREAD: Final = 16
T = TypeVar("T")


class LaneThreads:
    """The threads of one lane. They end with the process: none of them keeps it alive."""

    def __init__(self, name: str, threads: int, *, queued: int | None = None) -> None:
        """queued  how many requests may wait; None for some of each thread"""
        self.name = name
        maximum = threads * _QUEUED_PER_THREAD if queued is None else queued
        self._queue: queue.Queue[Callable[[], None] | None] = queue.Queue(maximum)
        self._threads = [
            threading.Thread(target=self._work, name=f"api-{name}-{n}", daemon=True)
            for n in range(threads)
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End each thread after the work it may be at; what is queued is not done any more."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put(None)

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` returns on one of the threads. Raises Overloaded and what it does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            self._queue.put_nowait(partial(_carry_out, work, loop, future))
        except queue.Full as error:
            raise Overloaded(
                f"too many {self.name} requests wait to be answered: try again later"
            ) from error
        return await future

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            entry()


def _carry_out(
    work: Callable[[], T], loop: asyncio.AbstractEventLoop, future: "asyncio.Future[T]"
) -> None:
    """Do the work on this thread, and give what it returns or raises to the loop."""
    if future.cancelled():
        return
    settle: Callable[[], None]
    try:
        settle = partial(future.set_result, work())
    except BaseException as error:  # noqa: BLE001 - raised again by who asked
        settle = partial(future.set_exception, error)
    with contextlib.suppress(RuntimeError):  # the loop was closed: the service stops
        loop.call_soon_threadsafe(_settle, future, settle)


def _settle(future: "asyncio.Future[T]", settle: Callable[[], None]) -> None:
    if not future.done():
        settle()
