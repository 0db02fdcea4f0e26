"""Extends servers whose users ask for it in their metadata, by the rule of the project.

Why: not everybody has the command line, but everybody who has a server can set its metadata. A
request is taken out of the metadata before it is granted, so it is granted once; what is refused is
answered there, once, with a code. Must not know the rule.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from synergy.core.errors import (
    Conflict,
    ExtensionRefused,
    IllegalTransition,
    InvalidInput,
    SynergyError,
    UpstreamUnavailable,
)
from synergy.core.events import EndsMoved
from synergy.core.extension import (
    EXTEND_KEY,
    REFUSED_KEY,
    check_rule,
    extended,
    seconds_of,
)
from synergy.core.lifecycle import IN_NOVA, Event, Move, transition
from synergy.core.model import Project, QuotaKind, Request
from synergy.core.reasons import Reason, coded
from synergy.managers.base import Publish
from synergy.ports import Clock, ServerActions, Servers, ServerView, Store

LOG = logging.getLogger(__name__)
OVERLAP: Final = timedelta(seconds=60)  # Nova's clock may differ from ours
LONGEST_VALUE: Final = 255
TRIES: Final = 5  # others may move the request at the same time


class MetadataExtensions:
    """Looks at what changed in Nova since the last look."""

    def __init__(
        self,
        clock: Clock,
        publish: Publish,
        store: Store,
        servers: Servers,
        actions: ServerActions,
    ) -> None:
        self._clock, self._publish, self._store = clock, publish, store
        self._servers, self._actions = servers, actions
        self._since: datetime | None = None  # None: look at every server once

    def look(self) -> None:
        """Grant or refuse every request that is new. Raises UpstreamUnavailable."""
        now = self._clock.now()
        since = None if self._since is None else self._since - OVERLAP
        views = {
            view.server_id: view
            for view in self._servers.servers_of(None, changed_since=since)
            if EXTEND_KEY in view.metadata
        }
        unanswered: UpstreamUnavailable | None = None
        for view in views.values():
            try:
                self._answer(view)
            except UpstreamUnavailable as error:
                unanswered = error
            except Exception:  # of this server alone
                LOG.exception(
                    "the extension asked for on server %s failed, and is skipped",
                    view.server_id,
                )
        if unanswered is not None:
            raise unanswered  # the next look goes back as far as this one
        self._since = now

    def _answer(self, view: ServerView) -> None:
        with self._store.reading() as uow:
            request = uow.requests.find([view.server_id]).get(view.server_id)
            projects = {one.project_id: one for one in uow.projects.all()}
            idle = not uow.requests.waiting_to_borrow()
        if request is None or request.state not in IN_NOVA:
            return
        if request.quota is not QuotaKind.SHARED or request.project_id not in projects:
            return  # it is no server of ours to end, nor to answer
        project, wanted = projects[request.project_id], view.metadata[EXTEND_KEY]
        reason, why = _refusal(project, request, wanted, idle=idle, now=self._clock.now())
        changes = {EXTEND_KEY: None, REFUSED_KEY: why[:LONGEST_VALUE] or None}
        try:
            self._actions.set_metadata(view.server_id, changes)
        except UpstreamUnavailable:
            raise
        except SynergyError as error:  # closed now: the next look at what changed finds it again
            LOG.info(
                "the answer to the extension asked for on server %s is postponed: %s",
                view.server_id,
                error,
            )
            return
        for tries in range(TRIES):
            try:
                self._record(view.server_id, wanted, reason, why)
                return
            except IllegalTransition as error:  # it moved meanwhile: it ends, or is gone
                LOG.info(
                    "the extension asked for on server %s comes too late: %s", view.server_id, error
                )
                return
            except Conflict:
                if tries == TRIES - 1:
                    raise

    def _record(self, server_id: str, wanted: str, reason: Reason | None, why: str) -> None:
        now = self._clock.now()
        with self._store.writing() as uow:
            request = uow.requests.get(server_id)
            if reason is None:
                move: Move = extended(request, seconds_of(wanted), now, by_user=True)
            else:
                event = Event.EXTENSION_REFUSED
                move = transition(request, event, now, why=why, reason=reason)
            uow.requests.save([move])
            uow.commit()
        if reason is None:
            LOG.info(
                "the user of server %s extended its lifetime to %s",
                server_id,
                move.request.expires_at,
            )
            self._publish(EndsMoved((move.as_saved(),)))


def _refusal(
    project: Project, request: Request, wanted: str, *, idle: bool, now: datetime
) -> tuple[Reason | None, str]:
    """Return why an extension is refused, as a code and in words; None and "" when it is
    granted."""
    try:
        by_s = seconds_of(wanted)
        check_rule(project, request, by_s, now, idle=idle)
        extended(request, by_s, now, by_user=True)
    except ExtensionRefused as error:
        return error.reason, str(error)
    except InvalidInput as error:
        return Reason.INVALID_REQUEST, coded(Reason.INVALID_REQUEST, str(error))
    except SynergyError as error:  # it has no end to put off
        return Reason.EXTENSION_NOT_ALLOWED, coded(Reason.EXTENSION_NOT_ALLOWED, str(error))
    return None, ""
