"""Takes in what Nova's notifications tell.

Why: a notification is a hint that is judged before it is believed. One that ends a server, or says
that it is elsewhere, only lets Nova be asked; instants are those of a host whose clock may be
wrong. Must not know how they arrive, nor what is done about those that never did.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from oslo_config import cfg

from synergy.core.batches import handle_individually
from synergy.core.errors import UpstreamUnavailable
from synergy.core.lifecycle import TERMINAL, Event, Unchanged
from synergy.core.reconcile import possible_instant
from synergy.managers.nova.following import Following
from synergy.managers.nova.moves import OF_FAILURE, Moves, forget_bodies
from synergy.ports import Clock, Notice, NoticeKind, Notices, Store

LOG = logging.getLogger(__name__)
_EVENT_OF: Final = {
    NoticeKind.BOOTED: Event.BOOTED,
    NoticeKind.ATTEMPT_FAILED: Event.ATTEMPT_FAILED,
    NoticeKind.FAILED: Event.BUILD_FAILED,
    NoticeKind.SHELVED: Event.SHELVED,
    NoticeKind.UNSHELVED: Event.UNSHELVED,
}
CONFIRM_S: Final = 60.0  # how long Nova is asked whether a server is gone that was reported gone
OVERLAP: Final = timedelta(seconds=300)  # how far Nova's clock may be behind ours


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A server that Nova is asked about: since when something happened to it, until when."""

    at: datetime
    until_s: float
    gone: bool  # it is reported to be


class Notifications:
    """The notifications that arrived, in batches.

    broken  server -> host on which its last attempt broke, as long as nobody knows what Nova does
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        store: Store,
        notices: Notices,
        moves: Moves,
        following: Following,
    ) -> None:
        self._conf, self._clock, self._store, self._notices = conf, clock, store, notices
        self._moves, self._following = moves, following
        self._batch: Sequence[Notice] = ()
        self._doubts: dict[str, _Doubt] = {}
        self._nova_down = False
        self.broken: dict[str, str | None] = {}

    @property
    def doubts(self) -> bool:
        """Return whether Nova is to be asked about a server again."""
        return bool(self._doubts)

    def drain(self) -> None:
        """Take in every notification that arrived."""
        while True:
            if not self._batch:
                self._batch = self._notices.fetch(limit=self._conf.commit_size)
            if not self._batch:
                break
            events = [notice for notice in self._batch if notice.kind in _EVENT_OF]
            handle_individually(events, self._take_in, _set_aside)
            self._doubt([notice for notice in self._batch if notice.kind not in _EVENT_OF])
            self._notices.acknowledge(self._batch)
            self._batch = ()
        self.confirm()

    def _take_in(self, notices: Sequence[Notice]) -> None:
        with self._store.writing() as uow:
            current = uow.requests.find(list({notice.server_id for notice in notices}))
            before = dict(current)
            moves, broken = [], dict(self.broken)
            for notice in notices:
                request = current.get(notice.server_id)
                if request is None:
                    continue  # a server that Synergy never had
                if notice.kind is NoticeKind.ATTEMPT_FAILED:
                    if notice.server_id in broken and broken[notice.server_id] == notice.host:
                        continue  # it came in the other format already
                    broken[notice.server_id] = notice.host
                move = self._moves.apply(
                    request,
                    _EVENT_OF[notice.kind],
                    notice.at,
                    host=_host(notice),
                    why=_why(notice),
                    reason=OF_FAILURE.get(notice.failure) if notice.failure else None,
                )
                if move is not None and move.step is not None:
                    moves.append(move)
                    saved = replace(move.request, generation=request.generation + 1)
                    current[notice.server_id] = saved
            uow.requests.save(moves)
            forget_bodies(uow, [current[key] for key in before if before[key] is not current[key]])
            uow.commit()
        self.broken = broken
        failures = {n.server_id: n.failure for n in notices if n.failure is not None}
        self._moves.publish_changes(before, current, failures)

    def _doubt(self, notices: Sequence[Notice]) -> None:
        """Note which servers Nova is to be asked about."""
        until_s = self._clock.monotonic_s() + CONFIRM_S
        for notice in notices:
            gone = notice.kind is NoticeKind.DELETED
            known = self._doubts.get(notice.server_id)
            if known is None or not known.gone:
                self._doubts[notice.server_id] = _Doubt(notice.at, until_s, gone)

    def confirm(self) -> None:
        """Ask Nova about the servers that are reported gone, or changed."""
        if not self._doubts:
            return
        with self._store.reading() as uow:
            found = uow.requests.find(list(self._doubts))
        open_ = {key: one for key, one in found.items() if one.state not in TERMINAL}
        self._doubts = {key: doubt for key, doubt in self._doubts.items() if key in open_}
        if not self._doubts:
            return
        now = self._clock.now()
        at_of = {
            key: possible_instant(open_[key], doubt.at, now) for key, doubt in self._doubts.items()
        }
        try:
            views, asked = self._following.look_up(
                list(open_.values()), since=min(at_of.values()) - OVERLAP
            )
        except UpstreamUnavailable as error:
            if not self._nova_down:
                LOG.warning("whether servers are gone cannot be asked now: %s", error)
            self._nova_down = True
            return
        self._nova_down = False
        moved = self._following.compare(views, asked, at_of=at_of, drifted=False)
        self._keep_doubting(set(asked), moved)

    def _keep_doubting(self, asked: set[str], moved: set[str]) -> None:
        now_s = self._clock.monotonic_s()
        left = {}
        for key, doubt in self._doubts.items():
            if key not in asked:
                left[key] = doubt
            elif key not in moved and doubt.gone and now_s < doubt.until_s:
                left[key] = doubt  # the news may be ahead of Nova's API
            elif key not in moved and doubt.gone:
                self._moves.drift["false_deletion"] += 1
                LOG.error(
                    "server %s was reported as deleted, but Nova still has it: it is kept",
                    key,
                )
        self._doubts = left


def _host(notice: Notice) -> str | Unchanged:
    if notice.kind in (NoticeKind.BOOTED, NoticeKind.UNSHELVED):
        return notice.host or Unchanged.HOST
    return Unchanged.HOST


def _set_aside(notice: Notice, error: Exception) -> None:
    LOG.error(
        "the notification %s of server %s failed, and is skipped", notice.kind, notice.server_id,
        exc_info=error,
    )  # fmt: skip


def _why(notice: Notice) -> str:
    """Return what the ledger keeps of a notification."""
    if notice.kind is NoticeKind.ATTEMPT_FAILED:
        return f"{notice.host}: {notice.detail}"
    return f"{notice.failure}: {notice.detail}" if notice.failure else notice.detail
