"""Takes in what Nova's notifications tell.

Must not know how they arrive, nor what is done about those that never did.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from synergy.core.lifecycle import Event
from synergy.managers.nova.following import Following
from synergy.managers.nova.moves import Moves, forget_bodies
from synergy.ports import Compute, Notice, NoticeKind, Notices, Store

_EVENT_OF: Final = {
    NoticeKind.BOOTED: Event.BOOTED,
    NoticeKind.ATTEMPT_FAILED: Event.ATTEMPT_FAILED,
    NoticeKind.FAILED: Event.BUILD_FAILED,
    NoticeKind.DELETED: Event.REMOVED,
    NoticeKind.SHELVED: Event.PARKED,
    NoticeKind.UNSHELVED: Event.UNPARKED,
}


class Notifications:
    """The notifications that arrived, in batches.

    broken  server -> host on which its last attempt broke, as long as nobody knows what Nova does
    """

    def __init__(
        self,
        conf: Any,
        store: Store,
        notices: Notices,
        compute: Compute,
        moves: Moves,
        following: Following,
    ) -> None:
        self._conf, self._store, self._notices, self._compute = conf, store, notices, compute
        self._moves, self._following = moves, following
        self._batch: Sequence[Notice] = ()
        self.broken: dict[str, str | None] = {}

    def drain(self) -> None:
        """Take in every notification that arrived."""
        while True:
            if not self._batch:
                self._batch = self._notices.fetch(limit=self._conf.commit_size)
            if not self._batch:
                return
            self._take_in(self._batch)
            self._notices.acknowledge(self._batch)
            self._batch = ()

    def _take_in(self, notices: Sequence[Notice]) -> None:
        with self._store.writing() as uow:
            current = uow.requests.find(list({notice.server_id for notice in notices}))
            before = dict(current)
            moves, broken = [], dict(self.broken)
            for notice in notices:
                request = current.get(notice.server_id)
                if request is None or notice.kind is NoticeKind.RESIZED:
                    continue  # a server that Synergy never had, or one that Nova is asked about
                if notice.kind is NoticeKind.ATTEMPT_FAILED:
                    if notice.server_id in broken and broken[notice.server_id] == notice.host:
                        continue  # told in the other format already
                    broken[notice.server_id] = notice.host
                move = self._moves.apply(
                    request, _EVENT_OF[notice.kind], notice.at, host=notice.host, why=_why(notice)
                )
                if move is not None and move.step is not None:
                    moves.append(move)
                    saved = replace(move.request, generation=request.generation + 1)
                    current[notice.server_id] = saved
            uow.requests.save(moves)
            forget_bodies(uow, current.values())
            uow.commit()
        self.broken = broken
        failures = {n.server_id: n.failure for n in notices if n.failure is not None}
        self._moves.tell(before, current, failures)
        sized = [n.server_id for n in notices if n.kind is NoticeKind.RESIZED]
        if sized:
            self._following.compare(self._compute.servers(sized), sized)


def _why(notice: Notice) -> str:
    """Return what the ledger keeps of a notification."""
    if notice.kind is NoticeKind.ATTEMPT_FAILED:
        return f"{notice.host}: {notice.detail}"
    return f"{notice.failure}: {notice.detail}" if notice.failure else notice.detail
