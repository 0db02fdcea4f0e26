"""Turns what Nova tells into lifecycle events, and repairs what it failed to tell.

Why: notifications get lost, and Nova sends none when a server that waits is deleted: a reconcile
asks Nova and counts the drift it corrects. This module says when each part is due; the others of
the package, how it is done. Must not know quotas or priorities.
"""

from typing import Final

from oslo_config import cfg

from synergy.core.declared import commands
from synergy.core.events import ProjectsChanged
from synergy.managers.base import Manager, Publish, command, every, on
from synergy.managers.nova.failed_builds import FailedBuilds
from synergy.managers.nova.following import Following
from synergy.managers.nova.lost_builds import LostBuilds
from synergy.managers.nova.moves import Moves
from synergy.managers.nova.notifications import Notifications
from synergy.managers.nova.reconcile import Reconcile
from synergy.managers.nova.settling import Settling
from synergy.managers.support.withdrawn import DeletedWaiting
from synergy.ports import (
    Clock,
    Conductor,
    Notices,
    ServerActions,
    Servers,
    Store,
    Wake,
)

BROKEN_ASK_S: Final = 1.0  # what Nova does after a broken attempt it tells in no notification


class NovaManager(Manager):
    """Notifications, and the reconcile that corrects what they missed."""

    name = "nova"
    needed = True
    stopped_means = (
        "changes in Nova are not stored: servers that boot, fail or end keep their old state"
    )
    options = (
        cfg.FloatOpt(
            "reconcile_s",
            default=60.0,
            min=1,
            max=86_400,
            mutable=True,
            help="Seconds between two reads of the servers that changed in Nova, which correct "
            "what notifications missed: one API call for all projects.",
        ),
        cfg.FloatOpt(
            "full_reconcile_s",
            default=3600.0,
            min=1,
            max=7 * 86_400,
            mutable=True,
            help="Seconds between two comparisons of every stored request with Nova's servers.",
        ),
        cfg.FloatOpt(
            "settle_s",
            default=120.0,
            min=0,
            max=86_400,
            mutable=True,
            help="Seconds after which a request whose hand-over was interrupted is handed over "
            "again if Nova still waits for it. It must be longer than Nova's conductor ever "
            "needs for a message that it took from its queue: a second copy of a request "
            "destroys the server.",
        ),
        cfg.FloatOpt(
            "lost_s",
            default=600.0,
            min=1,
            max=7 * 86_400,
            mutable=True,
            help="Seconds without progress after which a request that the conductor received "
            "counts as lost: this is reported to its user and the operator, and its "
            "project's on_lost says what else happens.",
        ),
        cfg.FloatOpt(
            "sweep_s",
            default=20.0,
            min=1,
            max=7 * 86_400,
            mutable=True,
            help="Seconds between two searches for waiting servers that their users deleted, of "
            "which Nova sends no notification. A search costs one API call for every 1000 "
            "waiting servers.",
        ),
        cfg.IntOpt(
            "commit_size",
            default=500,
            min=1,
            max=10_000,
            mutable=True,
            help="Maximum number of notifications stored in one transaction.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        publish: Publish,
        wake: Wake,
        store: Store,
        notices: Notices,
        servers: Servers,
        server_actions: ServerActions,
        conductor: Conductor,
    ) -> None:
        self._conf, self._clock, self._wake, self._notices = conf, clock, wake, notices
        self._moves = Moves(clock, publish, store, lambda: self.soon(self._delete_failed_builds))
        following = Following(clock, store, servers, self._moves)
        self._notifications = Notifications(conf, clock, store, notices, self._moves, following)
        self._failed_builds = FailedBuilds(store, servers, server_actions, self._moves, following)
        self._lost_builds = LostBuilds(
            conf, clock, store, servers, server_actions, conductor, self._moves, following
        )
        self._settling = Settling(
            conf, clock, publish, store, servers, conductor, self._moves, following
        )
        self._reconcile = Reconcile(
            conf, clock, store, servers, self._moves, following, self._notifications.drain
        )
        self._deleted_waiting = DeletedWaiting(clock, publish, store, servers)
        self._compared_all = False  # in this run

    def setup(self) -> None:
        self._notices.on_arrival(self._wake)

    @on(ProjectsChanged)
    def _adopt_soon(self, _: ProjectsChanged) -> None:
        self.soon(self._look_at_changes)  # a new project's servers are to be adopted

    def resync(self) -> None:
        self.soon(self._settle)
        self.soon(self._compare_all)

    def task(self) -> float | None:
        self._compared_all = False
        self._notifications.drain()
        return BROKEN_ASK_S if self._notifications.doubts else None

    # --- duties, in the order in which they are done ----------------------------------------------

    @every("settle_s", times=4)
    def _settle(self) -> None:
        """Find out whether requests were sent whose hand-over was interrupted."""
        self._settling.settle()

    @every("full_reconcile_s")
    def _compare_all(self) -> None:
        """Compare every stored request with Nova's servers."""
        self._reconcile.reconcile(full=True)
        self._compared_all = True

    @every("reconcile_s")
    def _look_at_changes(self) -> None:
        """Compare what changed in Nova since the last pass, and adopt new projects' servers."""
        if not self._compared_all:  # a full comparison of the same run saw the changes, too
            self._reconcile.reconcile(full=False)

    @every("settle_s", times=4)
    def _look_for_lost_builds(self) -> None:
        """Find builds that made no progress for `lost_s`."""
        self._lost_builds.look()

    @every(BROKEN_ASK_S, when=lambda self: bool(self._notifications.broken))
    def _ask_about_broken_builds(self) -> None:
        """Ask Nova what it does after builds that failed on a host; no notification says so."""
        self._notifications.broken = self._failed_builds.ask(self._notifications.broken)

    @every("settle_s", times=4)
    def _delete_failed_builds(self) -> None:
        """Delete servers whose builds Nova gave up, if their project says so."""
        self._failed_builds.delete()

    @every("sweep_s")
    def _let_go_of_deleted(self) -> float | None:
        """Cancel requests whose servers were deleted while they waited, one API call at a time."""
        return 0.0 if self._deleted_waiting.step() else None

    # --- commands ---------------------------------------------------------------------------------

    @command()
    def do_reconcile(self) -> dict[str, int]:
        """Compare the stored requests with Nova's servers now."""
        self._settling.settle()
        self._reconcile.reconcile(full=True)
        return dict(self._moves.drift)

    @command(commands.LOST_BUILDS)
    def do_lost(self) -> list[str]:
        """List the requests that the conductor received and that make no progress."""
        return sorted(self._lost_builds.ids)

    @command(beside=True)
    def do_drift(self) -> dict[str, int]:
        """Show how many differences from Nova were corrected since the start."""
        return dict(self._moves.drift)
