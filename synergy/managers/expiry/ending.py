"""Ends servers at Nova: what a project wants done, what Nova refused, and when it is tried again.

Why: a server that cannot be ended now must keep no other from ending, and must not be tried in a
hot loop. Must not know which servers are due.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from oslo_config import cfg

from synergy.core.backoff import Backoff
from synergy.core.declared.answers import ends as answers
from synergy.core.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    SynergyError,
    UpstreamUnavailable,
)
from synergy.core.lifecycle import Event, transition
from synergy.core.model import ExpiryAction, Project, Request, ServerStatus, State
from synergy.managers.support.server_views import views_of
from synergy.managers.support.watched_clock import WatchedClock
from synergy.ports import ServerActions, Servers, ServerView, Store

LOG = logging.getLogger(__name__)
MAX_RETRY_S: Final = 3600.0
DONE_LOOK_S: Final = 300.0  # a user may start a server again that was stopped
MAX_TRIES: Final = 5  # looks at a server after which `delete_after_s` counts
SILENT: Final = 5  # servers in a row for which Nova does not answer, then the others wait


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rest:
    """A server whose end is under way.

    until_s  when to look again, seconds of the monotonic clock
    delay_s  how long the last refusal lets it rest
    tries    how often it was looked at
    cause    code of the error with which Nova refuses to end it, "" if it does not
    why      the same in words
    """

    until_s: float
    delay_s: float = 0.0
    tries: int = 0
    cause: str = ""
    why: str = ""


class Endings:
    """The servers whose end is under way."""

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: WatchedClock,
        store: Store,
        servers: Servers,
        actions: ServerActions,
    ) -> None:
        self._conf, self._clock, self._store = conf, clock, store
        self._servers, self._actions = servers, actions
        self._images: dict[str, str] = {}  # server -> image that must be complete first
        self._rests: dict[str, _Rest] = {}

    def waits_s(self) -> list[float]:
        """Return in how many seconds each of them is to be looked at again."""
        now_s = self._clock.monotonic_s()
        return [rest.until_s - now_s for rest in self._rests.values()]

    def refused(self, now: datetime) -> list[answers.RefusedEnd]:
        """Return those that Nova refuses to end, and when each is tried again."""
        now_s = self._clock.monotonic_s()
        return [
            {
                "id": key,
                "why": rest.why,
                "next_try_at": (
                    now + timedelta(seconds=max(0.0, rest.until_s - now_s))
                ).isoformat(),
            }
            for key, rest in sorted(self._rests.items())
            if rest.cause
        ]

    def end(
        self, expiring: Sequence[Request], projects: Mapping[str, Project], now: datetime
    ) -> None:
        """Do to each server what its project wants, except to those that rest."""
        present = {request.request_id for request in expiring}
        self._rests = {key: rest for key, rest in self._rests.items() if key in present}
        now_s = self._clock.monotonic_s()
        due = [r for r in expiring if self._rest_of(r).until_s <= now_s]
        views = views_of(self._servers, [one.request_id for one in due]) if due else {}
        refused: list[tuple[Request, str]] = []
        silent = 0
        for request in due:
            if silent >= SILENT:
                LOG.warning(
                    "Nova answered for none of %d servers: the others are left to the next pass",
                    silent,
                )
                break
            action = self._action(request, projects.get(request.project_id), now)
            view = views.get(request.request_id)
            try:
                self._end_one(request, action, view)
                silent = 0
            except Exception as error:  # noqa: BLE001 - of this server alone: it keeps no other from ending
                silent += isinstance(error, UpstreamUnavailable)
                if self._refuse(request, action, error):
                    refused.append((request, str(error)))
        if refused:
            self._record_refused(refused, now)

    def _rest_of(self, request: Request) -> _Rest:
        return self._rests.get(request.request_id, _Rest(until_s=float("-inf")))

    def _action(self, request: Request, project: Project | None, now: datetime) -> ExpiryAction:
        """Return what to do to a server; what was tried in vain for long is deleted instead."""
        wished = project.expiry_action if project else ExpiryAction.DELETE
        if wished is ExpiryAction.STOP_DELETE:
            over = request.not_before_at is None or request.not_before_at <= now
            return ExpiryAction.DELETE if over else ExpiryAction.STOP
        after_s, ends_at = self._conf.delete_after_s, request.expires_at
        if not after_s or ends_at is None or self._rest_of(request).tries < MAX_TRIES:
            return wished
        in_vain = now >= ends_at + timedelta(seconds=after_s)
        return ExpiryAction.DELETE if in_vain else wished

    def _end_one(self, request: Request, action: ExpiryAction, view: ServerView | None) -> None:
        """End a server unless it is as its project wants it; look later what became of it.

        Raises InvalidInput for one that belongs to another project now: it was lent nothing.
        """
        owner = view.project_id if view else ""  # "" of one that Nova cannot show at all
        if owner and owner != request.project_id:
            raise InvalidInput(
                f"Nova shows it in project {owner}, but {request.project_id} borrowed quota for it:"
                " it is not ended; delete it, or move it back"
            )
        done = view is None or view.status in _DONE.get(action, ())
        if not done:
            self._act(request, action)
        self._rests[request.request_id] = _Rest(
            until_s=self._clock.monotonic_s() + (DONE_LOOK_S if done else self._conf.retry_s),
            tries=self._rest_of(request).tries + 1,
        )

    def _act(self, request: Request, action: ExpiryAction) -> None:
        server_id = request.request_id
        try:
            if action is ExpiryAction.SHELVE:
                self._actions.shelve_server(server_id)
            elif action is ExpiryAction.STOP:
                self._actions.stop_server(server_id)
            elif action is ExpiryAction.DELETE or self._saved(request):
                self._actions.delete_server(server_id)
        except NotFound:
            LOG.info("server %s was gone before it could expire", server_id)

    def _refuse(self, request: Request, action: ExpiryAction, error: Exception) -> bool:
        """Let a server rest that could not be ended, and tell whether the cause is a new one."""
        before = self._rest_of(request)
        backoff = Backoff(initial_s=self._conf.retry_s, max_s=MAX_RETRY_S)
        delay_s = backoff.next_s(before.delay_s)
        if isinstance(error, Conflict) and action is not ExpiryAction.DELETE:
            self._confirm(request)
        rest = _Rest(
            until_s=self._clock.monotonic_s() + delay_s,
            delay_s=delay_s,
            tries=before.tries + 1,
            cause=error.code if isinstance(error, SynergyError) else type(error).__name__,
            why=str(error) or type(error).__name__,
        )
        self._rests[request.request_id] = rest
        if rest.cause == before.cause:
            return False
        expected = isinstance(error, SynergyError)
        LOG.error(
            "server %s cannot be ended now, and is tried again: %s", request.request_id, rest.why,
            exc_info=None if expected else error,
        )  # fmt: skip
        return True

    def _confirm(self, request: Request) -> None:
        """Confirm a resize that waits for its user, or he keeps the server by never doing it."""
        try:
            self._actions.confirm_resize(request.request_id)
        except SynergyError as error:
            LOG.debug("no resize of server %s to confirm: %s", request.request_id, error)

    def _record_refused(self, refused: Sequence[tuple[Request, str]], now: datetime) -> None:
        """Let the users read why their servers are not ended yet."""
        why_of = {request.request_id: why for request, why in refused}
        with self._store.writing() as uow:
            found = uow.requests.find(list(why_of)).values()
            uow.requests.save(
                [
                    transition(one, Event.END_REFUSED, now, why=why_of[one.request_id])
                    for one in found
                    if one.state is State.EXPIRING
                ]
            )
            uow.commit()

    def _saved(self, request: Request) -> bool:
        """Return whether the server's image is complete, starting it first."""
        server_id = request.request_id
        image_id = self._images.get(server_id)
        if image_id is None:
            image_id = self._actions.snapshot_server(server_id, f"{request.server_name}-expired")
            self._images[server_id] = image_id
        try:
            ready = self._actions.image_is_ready(image_id)
        except NotFound:
            LOG.warning("image %s of server %s failed: it is made again", image_id, server_id)
            del self._images[server_id]
            return False
        if ready:
            del self._images[server_id]
        return ready


_DONE: Final[Mapping[ExpiryAction, tuple[ServerStatus, ...]]] = {
    ExpiryAction.STOP: (ServerStatus.STOPPED, ServerStatus.SHELVED),
    ExpiryAction.SHELVE: (ServerStatus.SHELVED,),
}
