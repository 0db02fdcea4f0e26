"""Ends shared servers whose lifetime is over, after a warning.

Why: lifetimes make fairness enforceable and start times predictable. Only a server on the shared
quota has an end; a private one is never looked at. What cannot be undone has brakes: nothing is
ended by a clock that was set, nor when more servers than expected are due at once, and a server
that Nova refuses to end keeps no other from ending. Must not know why a lifetime is what it is.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from oslo_config import cfg

from synergy.core.backoff import Backoff
from synergy.core.declared import answers, commands
from synergy.core.errors import Conflict, NotFound, SynergyError, UpstreamUnavailable
from synergy.core.events import ServersActive, ServersExpireSoon
from synergy.core.lifecycle import Event, transition
from synergy.core.model import ExpiryAction, Project, QuotaKind, Request, ServerStatus, State
from synergy.core.reasons import Reason
from synergy.managers.base import Manager, Publish, command, on
from synergy.managers.support.render import instant_json
from synergy.managers.support.watched_clock import Standing, WatchedClock
from synergy.ports import (
    Brake,
    Reading,
    ServerActions,
    Servers,
    ServerView,
    Store,
    Writing,
)

LOG = logging.getLogger(__name__)
MAX_RETRY_S: Final = 3600.0
DONE_LOOK_S: Final = 300.0  # a user may start a server again that was stopped
MAX_TRIES: Final = 5  # looks at a server after which `delete_after_s` counts
SILENT: Final = 5  # servers in a row for which Nova does not answer, then the others wait
NO_ONE: Final[frozenset[str]] = frozenset()


class Suspension(StrEnum):
    """Why no server is ended."""

    CLOCK = "clock"
    MOST_PER_PASS = "most_per_pass"  # noqa: S105 - no secret


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


class ExpiryManager(Manager):
    """Warns, then deletes, shelves, stops or saves."""

    name = "expiry"
    stopped_means = "no shared server ends at the end of its lifetime"
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
            help="Seconds until an expiry that is not complete is looked at again. What Nova "
            "refuses is tried again after as long, doubling up to an hour.",
        ),
        cfg.IntOpt(
            "most_per_pass",
            default=100,
            min=1,
            max=1_000_000,
            mutable=True,
            help="Most servers that one pass ends. When more are due at once, the pass ends this "
            "many, logs an error and suspends expiry until a person runs `synergy expiry resume`. "
            "Set it above the largest number of servers that end together in an ordinary way, "
            "such as those of one multi-create.",
        ),
        cfg.FloatOpt(
            "delete_after_s",
            default=86_400.0,
            min=0,
            max=366 * 86_400,
            mutable=True,
            help="Seconds after its end at which a server that could not be shelved, stopped or "
            "saved is deleted instead, so that it does not keep the shared quota for ever; 0 "
            "never does that.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: WatchedClock,
        publish: Publish,
        store: Store,
        servers: Servers,
        server_actions: ServerActions,
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._store, self._servers, self._actions = store, servers, server_actions
        self._due_at: datetime | None = None  # nothing ends or is announced before
        self._suspended = False  # at the last look
        self._warned: set[str] = set()
        self._images: dict[str, str] = {}  # server -> image that must be complete first
        self._rests: dict[str, _Rest] = {}
        self._resumed: frozenset[str] = NO_ONE  # due when a person resumed: no brake for these

    @on(ServersActive)
    def _look_before_they_end(self, fact: ServersActive) -> None:
        lead = timedelta(seconds=self._conf.warning_s)
        ends = [r.expires_at - lead for r in fact.requests if r.expires_at is not None]
        if self._due_at is not None:
            self._due_at = min([self._due_at, *ends])

    def resync(self) -> None:
        self._due_at = None

    def hindrance(self) -> str:
        return "no server is ended: see `synergy expiry show`" if self._suspended else ""

    def task(self) -> float | None:
        standing = self._clock.standing()
        if self._due_at is None or self._due_at <= standing.at or not standing.agrees:
            self._due_at = self._look(standing)
        return (self._due_at - standing.at).total_seconds()

    def _look(self, standing: Standing) -> datetime:
        """Announce and end what is due, and return when to look again at the latest."""
        now = standing.at
        with self._store.writing() as uow:
            uow.safety.save_mark(self._clock.mark())
            left = self._mark_overdue(uow, now) if standing.agrees else 0
            expiring = uow.requests.expiring() if standing.agrees else []
            projects = {p.project_id: p for p in uow.projects.all()} if expiring else {}
            soon = self._due_to_warn(uow, now)
            next_end = uow.requests.next_expiry()
            suspended = not standing.agrees or uow.safety.brake() is not None
            uow.commit()
        self._suspended = suspended
        if soon:
            self._publish(ServersExpireSoon(tuple(soon)))
        self._end(expiring, projects, now)
        if left:
            return now  # a person let them go: the next pass follows at once
        dues = [now + timedelta(seconds=self._next_look_s(suspended))]
        if next_end is not None and not suspended:
            lead_at = next_end - timedelta(seconds=self._conf.warning_s)
            dues.append(lead_at if lead_at > now else next_end)
        return min(dues)

    def _next_look_s(self, suspended: bool) -> float:
        now_s = self._clock.monotonic_s()
        waits_s = [rest.until_s - now_s for rest in self._rests.values()]
        often_s = self._conf.retry_s if suspended else self._conf.rate_s
        return max(1.0, min([float(often_s), *waits_s]))

    def _mark_overdue(self, uow: Writing, now: datetime) -> int:
        """Move what is over to EXPIRING; the intent is stored before Nova is asked.

        Puts the brake on when more than `most_per_pass` are due that no person let go. Returns how
        many are left that a person did let go.
        """
        if uow.safety.brake() is not None:
            return 0
        most = self._conf.most_per_pass
        due = _due(uow, now)
        allowed = [request for request in due if request.request_id in self._resumed]
        rest = [request for request in due if request.request_id not in self._resumed]
        chosen = (allowed or rest)[:most]
        uow.requests.save(
            [transition(one, Event.TTL_REACHED, now, reason=Reason.LIFETIME_OVER) for one in chosen]
        )
        if allowed:
            self._resumed -= {request.request_id for request in chosen}
            return len(due) - len(chosen)
        self._resumed = NO_ONE
        if len(rest) > most:
            uow.safety.put_on(Brake(since=now, due=len(rest)))
            LOG.error(
                "%d servers are due to end at once, more than [expiry] most_per_pass: %d are "
                "ended, and expiry is suspended. Look at `synergy expiry show`; if all of them "
                "shall end, run `synergy expiry resume`", len(rest), most,
            )  # fmt: skip
        return 0

    def _due_to_warn(self, uow: Reading, now: datetime) -> list[Request]:
        if self._conf.warning_s <= 0:
            return []
        ending = uow.requests.ending(now + timedelta(seconds=self._conf.warning_s))
        soon = [request for request in ending if request.request_id not in self._warned]
        self._warned = {request.request_id for request in ending}
        for request in soon:
            LOG.debug("server %s expires at %s", request.request_id, request.expires_at)
        return soon

    # --- ending -----------------------------------------------------------------------------------

    def _end(
        self, expiring: Sequence[Request], projects: Mapping[str, Project], now: datetime
    ) -> None:
        """Do to each server what its project wants, those apart that rest."""
        present = {request.request_id for request in expiring}
        self._rests = {key: rest for key, rest in self._rests.items() if key in present}
        now_s = self._clock.monotonic_s()
        due = [r for r in expiring if self._rest_of(r).until_s <= now_s]
        views = self._servers.servers([request.request_id for request in due]) if due else {}
        refused: list[tuple[Request, str]] = []
        silent = 0
        for request in due:
            if silent >= SILENT:
                LOG.warning("Nova answers for none of %d servers: the others wait", silent)
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
        after_s, ends_at = self._conf.delete_after_s, request.expires_at
        if not after_s or ends_at is None or self._rest_of(request).tries < MAX_TRIES:
            return wished
        in_vain = now >= ends_at + timedelta(seconds=after_s)
        return ExpiryAction.DELETE if in_vain else wished

    def _end_one(self, request: Request, action: ExpiryAction, view: ServerView | None) -> None:
        """End a server unless it is as its project wants it; look later what became of it."""
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
        """Tell whether the server's image is complete, starting it first."""
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

    # --- commands ---------------------------------------------------------------------------------

    @command(commands.SHOW_EXPIRY)
    def do_show(self) -> answers.Expiry:
        """Show whether servers are ended, how many are due, and which Nova refuses to end."""
        standing = self._clock.standing()
        with self._store.reading() as uow:
            brake = uow.safety.brake()
            due = len(_due(uow, standing.at))
            due_by_wall = len(_due(uow, standing.wall)) if not standing.agrees else due
            expiring, next_end = len(uow.requests.expiring()), uow.requests.next_expiry()
        reason = _suspension(standing, brake)
        now_s = self._clock.monotonic_s()
        return {
            "suspended": reason is not None,
            "reason": reason.value if reason else None,
            "text": _text(standing, brake, due, due_by_wall),
            "since": instant_json(brake.since) if brake else None,
            "due": due,
            "due_on_resume": due_by_wall,
            "expiring": expiring,
            "next_end": instant_json(next_end),
            "most_per_pass": self._conf.most_per_pass,
            "clock": {
                "trusted": standing.agrees,
                "wall": standing.wall.isoformat(),
                "now": standing.at.isoformat(),
                "off_s": standing.off_s,
            },
            "refused": [
                {
                    "id": key,
                    "why": rest.why,
                    "next_try_at": (
                        standing.at + timedelta(seconds=max(0.0, rest.until_s - now_s))
                    ).isoformat(),
                }
                for key, rest in sorted(self._rests.items())
                if rest.cause
            ],
        }

    @command(commands.RESUME_EXPIRY)
    def do_resume(self, dry_run: bool = False) -> answers.Expiry:
        """End what is due, all of it, and believe the wall clock: a person has looked at both.

        A dry run tells how many servers that would be, as `due_on_resume`.
        """
        if dry_run:
            return self.do_show()
        standing = self._clock.standing()
        if not standing.agrees:
            LOG.warning("the wall clock, %+.0f s off, is accepted by command", standing.off_s)
            standing = self._clock.accept()
        with self._store.writing() as uow:
            uow.safety.release()
            uow.safety.save_mark(self._clock.mark())
            due = _due(uow, standing.at)
            uow.commit()
        LOG.warning("expiry is resumed by command: %d server(s) are due", len(due))
        self._resumed = frozenset(request.request_id for request in due)
        self._due_at = None
        return self.do_show()


_DONE: Final[Mapping[ExpiryAction, tuple[ServerStatus, ...]]] = {
    ExpiryAction.STOP: (ServerStatus.STOPPED, ServerStatus.SHELVED),
    ExpiryAction.SHELVE: (ServerStatus.SHELVED,),
}


def _due(uow: Reading, now: datetime) -> list[Request]:
    return [one for one in uow.requests.ending(now) if one.quota is QuotaKind.SHARED]


def _suspension(standing: Standing, brake: Brake | None) -> Suspension | None:
    if not standing.agrees:
        return Suspension.CLOCK
    return Suspension.MOST_PER_PASS if brake else None


def _text(standing: Standing, brake: Brake | None, due: int, due_by_wall: int) -> str:
    """Return in a sentence what a person has to know."""
    if not standing.agrees:
        return (
            f"No server is ended: the wall clock is {standing.off_s:+.0f} s off, it was set. Mend "
            f"it, or, if it is right now, resume: {due_by_wall} server(s) are due by it."
        )
    if brake:
        return (
            f"No server is ended: {brake.due} were due at once, more than most_per_pass. Resume "
            f"to end the {due} that are due."
        )
    return f"Servers are ended as they become due; {due} are due now."
