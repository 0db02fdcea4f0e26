"""What waits, kept current between rounds.

Why: facts are hints that keep the queue current; whatever goes wrong, it is read again from the
store. Must not know rounds or quotas.
"""

import heapq
import logging
from array import array
from collections.abc import Iterable
from dataclasses import replace

from synergy.core.model import Request
from synergy.core.queue import Waiting, WaitingQueue
from synergy.ports import Clock, Reading

LOG = logging.getLogger(__name__)


class LiveQueue:
    """The requests that wait, and those that wait to be tried again. Until it was read it knows
    nothing, and takes nothing in."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: WaitingQueue | None = None
        self._delayed: list[tuple[float, str, Request]] = []

    def forget(self) -> None:
        """Read it again for the next round."""
        self._queue = None

    @property
    def is_known(self) -> bool:
        """Whether it was read."""
        return self._queue is not None

    def __len__(self) -> int:
        return (len(self._queue) if self._queue is not None else 0) + len(self._delayed)

    def read(self, uow: Reading) -> None:
        """Read the whole queue, unless it is known, without writing anything."""
        if self._queue is not None:
            return
        queue, self._delayed = WaitingQueue(), []
        for line in uow.requests.lines():
            queue.load(line.class_id, line.request_class, line.ids, array("d", line.queued_at_s))
        self._queue = queue
        self.put_in(uow.requests.delayed())
        LOG.info("%d request(s) wait", len(self))

    def put_in(self, requests: Iterable[Request]) -> None:
        """Take in requests that wait from now on."""
        if self._queue is not None:
            for request in requests:
                self._enqueue(self._queue, request)

    def take_out(self, requests: Iterable[Request]) -> None:
        """Let go of requests that wait no longer."""
        for one in requests:
            self.remove(one.class_id, one.request_id, _seconds(one))

    def remove(self, class_id: int, request_id: str, queued_at_s: float) -> None:
        """Let go of a request."""
        if self._queue is not None:
            self._queue.remove(class_id, request_id, queued_at_s)

    def waiting(self) -> Waiting:
        """Return what waits now; those whose rest is over are among it."""
        queue = self._queue if self._queue is not None else WaitingQueue()
        now_s = self._clock.now().timestamp()
        while self._delayed and self._delayed[0][0] <= now_s:
            self._enqueue(queue, replace(heapq.heappop(self._delayed)[2], retry_at=None))
        return queue.snapshot()

    def next_retry_s(self) -> float | None:
        """Return in how many seconds the next one is tried again, None without one."""
        if not self._delayed:
            return None
        return max(0.0, self._delayed[0][0] - self._clock.now().timestamp())

    def _enqueue(self, queue: WaitingQueue, request: Request) -> None:
        if request.retry_at is not None and request.retry_at > self._clock.now():
            entry = (request.retry_at.timestamp(), request.request_id, request)
            heapq.heappush(self._delayed, entry)
        else:
            queue.add(
                request.class_id, request.request_class, request.request_id, _seconds(request)
            )


def _seconds(request: Request) -> float:
    return request.queued_at.timestamp()
