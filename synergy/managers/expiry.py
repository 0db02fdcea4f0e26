"""Ends shared servers whose lifetime is over, after a warning.

Why: lifetimes make fairness enforceable and start times predictable. Only a server on the shared
quota has an end; a private one is never looked at. Must not know why a lifetime is what it is.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from oslo_config import cfg

from synergy.core.errors import NotFound
from synergy.core.events import Fact, ServersActive, ServersExpireSoon
from synergy.core.lifecycle import Event, transition
from synergy.core.model import ExpiryAction, Project, QuotaKind, Request
from synergy.managers.base import Manager, Publish
from synergy.ports import Clock, Compute, Reading, ServerStatus, Store, Writing

LOG = logging.getLogger(__name__)


class ExpiryManager(Manager):
    """Warns, then deletes, shelves, stops or saves."""

    name = "expiry"
    listens = (ServersActive,)
    options = (
        cfg.FloatOpt(
            "warning_s",
            default=600.0,
            min=0,
            max=7 * 86_400,
            mutable=True,
            help="Seconds before its end at which a shared server's expiry is announced; 0 "
            "announces nothing.",
        ),
        cfg.FloatOpt(
            "retry_s",
            default=30.0,
            min=1,
            max=3600,
            mutable=True,
            help="Seconds until an expiry that is not complete is looked at again.",
        ),
    )

    def __init__(
        self,
        conf: Any,
        clock: Clock,
        publish: Publish,
        store: Store,
        compute: Compute,
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._store, self._compute = store, compute
        self._due_at: datetime | None = None  # nothing ends or is announced before
        self._warned: set[str] = set()
        self._images: dict[str, str] = {}  # server -> image that must be complete first

    def on_event(self, event: Fact) -> None:
        if isinstance(event, ServersActive):
            lead = timedelta(seconds=self._conf.warning_s)
            ends = [r.expires_at - lead for r in event.requests if r.expires_at is not None]
            if self._due_at is not None:
                self._due_at = min([self._due_at, *ends])

    def resync(self) -> None:
        self._due_at = None

    def task(self) -> float | None:
        now = self._clock.now()
        if self._due_at is None or self._due_at <= now:
            self._due_at = self._look(now)
        return (self._due_at - now).total_seconds()

    def _look(self, now: datetime) -> datetime:
        """Announce and end what is due, and return when to look again at the latest."""
        with self._store.writing() as uow:
            self._mark_overdue(uow, now)
            expiring = uow.requests.expiring()
            projects = {p.project_id: p for p in uow.projects.all()} if expiring else {}
            soon = self._due_to_warn(uow, now)
            next_end = uow.requests.next_expiry()
            uow.commit()
        if soon:
            self._publish(ServersExpireSoon(tuple(soon)))
        unfinished = self._end(expiring, projects)
        dues = [now + timedelta(seconds=self._conf.retry_s if unfinished else self._conf.rate_s)]
        if next_end is not None:
            lead_at = next_end - timedelta(seconds=self._conf.warning_s)
            dues.append(lead_at if lead_at > now else next_end)
        return min(dues)

    def _mark_overdue(self, uow: Writing, now: datetime) -> None:
        """Move what is over to EXPIRING; the intent is stored before Nova is asked."""
        ending = [r for r in uow.requests.ending(now) if r.quota is QuotaKind.SHARED]
        uow.requests.save([transition(request, Event.TTL_REACHED, now) for request in ending])

    def _due_to_warn(self, uow: Reading, now: datetime) -> list[Request]:
        if self._conf.warning_s <= 0:
            return []
        ending = uow.requests.ending(now + timedelta(seconds=self._conf.warning_s))
        soon = [request for request in ending if request.request_id not in self._warned]
        self._warned = {request.request_id for request in ending}
        for request in soon:
            LOG.debug("server %s expires at %s", request.request_id, request.expires_at)
        return soon

    def _end(self, expiring: Sequence[Request], projects: Mapping[str, Project]) -> bool:
        """Do to each server what its project wants; tell whether something is left to do."""
        if not expiring:
            return False
        views = self._compute.servers([request.request_id for request in expiring])
        unfinished = False
        for request in expiring:
            view = views.get(request.request_id)
            if view is None:
                continue  # gone: the notification or the reconcile will say so
            project = projects.get(request.project_id)
            action = project.expiry_action if project else ExpiryAction.DELETE
            if action is ExpiryAction.STOP and view.status is ServerStatus.STOPPED:
                continue
            unfinished = True
            self._act(request, action)
        return unfinished

    def _act(self, request: Request, action: ExpiryAction) -> None:
        server_id = request.request_id
        try:
            if action is ExpiryAction.SHELVE:
                self._compute.shelve_server(server_id)
            elif action is ExpiryAction.STOP:
                self._compute.stop_server(server_id)
            elif action is ExpiryAction.DELETE or self._saved(request):
                self._compute.delete_server(server_id)
        except NotFound:
            LOG.info("server %s was gone before it could expire", server_id)

    def _saved(self, request: Request) -> bool:
        """Tell whether the server's image is complete, starting it first."""
        server_id = request.request_id
        image_id = self._images.get(server_id)
        if image_id is None:
            image_id = self._compute.snapshot_server(server_id, f"{request.server_name}-expired")
            self._images[server_id] = image_id
        try:
            ready = self._compute.image_is_ready(image_id)
        except NotFound:
            LOG.warning("image %s of server %s failed: it is made again", image_id, server_id)
            del self._images[server_id]
            return False
        if ready:
            del self._images[server_id]
        return ready
