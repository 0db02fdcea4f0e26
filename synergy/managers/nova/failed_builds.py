"""Finds out what Nova does after a build broke, and deletes what it gave up.

Must not know quotas, nor how a failure became known.
"""

import logging
from collections.abc import Mapping
from typing import Final

from synergy.core.errors import SynergyError
from synergy.core.model import OnBuildFailure, State
from synergy.managers.nova.following import Following
from synergy.managers.nova.moves import Moves, failed_to_build
from synergy.managers.support.server_views import views_of
from synergy.ports import (
    ServerActions,
    Servers,
    ServerStatus,
    ServerView,
    Store,
)

LOG = logging.getLogger(__name__)
_BEING_BUILT: Final = (State.DISPATCHING, State.BUILDING)


class FailedBuilds:
    """Builds that broke on a host, and those that Nova gave up."""

    def __init__(
        self,
        store: Store,
        servers: Servers,
        actions: ServerActions,
        moves: Moves,
        following: Following,
    ) -> None:
        self._store, self._servers, self._actions = store, servers, actions
        self._moves, self._following = moves, following
        self._faultless: set[str] = set()  # failed when they were asked about last, without a fault

    def ask(self, broken: Mapping[str, str | None]) -> dict[str, str | None]:
        """Ask Nova what it does after a build broke on a host: it gives up, or tries another.

        Returns those of which nobody knows yet.
        """
        with self._store.reading() as uow:
            found = uow.requests.find(list(broken))
        building = [key for key, one in found.items() if one.state in _BEING_BUILT]
        views = views_of(self._servers, building)
        # Nova writes the fault a moment after the status: who reads the ledger wants to know why.
        faultless = {key for key, view in views.items() if _lacks_fault(view)} - self._faultless
        self._faultless = faultless
        self._following.compare(
            views, [key for key in building if key not in faultless], drifted=False
        )
        return {
            key: broken[key]
            for key in building
            if (view := views.get(key)) is not None
            and (key in faultless or _still_on(view, broken[key]))
        }

    def delete(self) -> None:
        """Delete the servers whose builds Nova gave up, where their project wants it so."""
        with self._store.reading() as uow:
            projects = uow.projects.all()
        failed = [
            request.request_id
            for project in projects
            if project.on_build_failure is OnBuildFailure.DELETE
            for page in self._moves.pages([State.ERROR], project.project_id)
            for request in page
            if failed_to_build(request)
        ]
        if not failed:
            return
        views = views_of(self._servers, failed)
        for server_id, view in views.items():
            if view.status is not ServerStatus.ERROR:
                continue  # it was brought back, or Nova cannot show it now
            try:
                self._actions.delete_server(server_id)
            except SynergyError as error:
                LOG.warning("failed server %s cannot be deleted now: %s", server_id, error)
            else:
                LOG.info("server %s deleted, whose build failed", server_id)
        self._following.compare(views, failed, drifted=False)


def _lacks_fault(view: ServerView) -> bool:
    return view.status is ServerStatus.ERROR and not view.fault


def _still_on(view: ServerView, host: str | None) -> bool:
    """Return whether nobody knows yet what Nova does after a build broke on a host."""
    if view.status is ServerStatus.UNKNOWN:
        return True
    open_ = view.status in (ServerStatus.SCHEDULING, ServerStatus.BUILDING)
    return open_ and view.host in (None, host)
