"""Ends shared servers whose lifetime is over, after a warning.

Why: lifetimes make fairness enforceable and start times predictable. Only a server on the shared
quota has an end; a private one is never looked at. What cannot be undone has brakes: nothing is
ended by a clock that was set, nor when more servers than expected are due at once. Must not know
why a lifetime is what it is, nor how a server is ended.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from oslo_config import cfg, types

from synergy.core.declared import answers, commands
from synergy.core.declared.filters import USUAL_PAGE
from synergy.core.errors import UpstreamUnavailable
from synergy.core.events import EndsMoved, FactorsChanged, ServersActive, ServersExpireSoon
from synergy.core.expiry import lead_due, needed_first
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import (
    ExpiryAction,
    OnKeep,
    Project,
    QuotaKind,
    Request,
    State,
)
from synergy.core.reasons import Reason
from synergy.managers.base import SHORTEST_PERIOD_S, Manager, Publish, command, every, on
from synergy.managers.expiry.ending import Endings
from synergy.managers.expiry.extensions import MetadataExtensions
from synergy.managers.expiry.marks import why_kept
from synergy.managers.expiry.shown_ends import ShownEnds
from synergy.managers.expiry.suspension import suspension_of, text_of
from synergy.managers.support.render import instant_json, request_json
from synergy.managers.support.server_views import views_of
from synergy.managers.support.watched_clock import Standing, WatchedClock
from synergy.ports import (
    Brake,
    Reading,
    ServerActions,
    Servers,
    ServerStatus,
    Store,
    Writing,
)

LOG = logging.getLogger(__name__)
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
KEPT_LOOK_S: Final = 300.0  # a user may unlock a server
NO_ONE: Final[frozenset[str]] = frozenset()


class ExpiryManager(Manager):
    """Warns, then deletes, shelves, stops or saves."""

    name = "expiry"
    stopped_means = "no shared server ends at the end of its lifetime"
    options = (
        cfg.ListOpt(
            "warnings_s",
            item_type=types.Integer(min=1, max=366 * 86_400),
            default=[86_400, 3600],
            mutable=True,
            help="How many seconds before its end the end of a shared server is announced: in "
            "the ledger, and as notification synergy.request.expiring. A lead time that is "
            "not shorter than the whole lifetime is left out. Empty: nothing is announced.",
        ),
        cfg.BoolOpt(
            "show_end",
            default=True,
            mutable=True,
            help="Show the end of each shared server in its metadata, as synergy:expires_at.",
        ),
        cfg.FloatOpt(
            "metadata_check_s",
            deprecated_name="wishes_s",
            default=60.0,
            min=0,
            max=86_400,
            mutable=True,
            help="Seconds between two checks of the metadata synergy:extend_s, by which users "
            "ask to extend their servers, on servers that changed in Nova; 0 disables them.",
        ),
        cfg.FloatOpt(
            "retry_s",
            default=30.0,
            min=1,
            max=3600,
            mutable=True,
            help="Seconds until an expiry that is not complete is checked again. What Nova "
            "refuses is retried after the same time, doubling up to an hour.",
        ),
        cfg.IntOpt(
            "most_per_pass",
            default=100,
            min=1,
            max=1_000_000,
            mutable=True,
            help="Maximum number of servers that one pass ends. When more are due at once, the "
            "pass ends this many, logs an error and suspends expiry until an operator runs "
            "`synergy expiry resume`. Set it above the largest number of servers that "
            "normally end together, such as those of one multi-create.",
        ),
        cfg.FloatOpt(
            "grace_s",
            default=86_400.0,
            min=0,
            max=366 * 86_400,
            mutable=True,
            help="Seconds between the stop and the deletion of a server whose project's "
            "expiry_action is stop_delete.",
        ),
        cfg.StrOpt(
            "expire_when",
            default="always",
            choices=[
                ("always", "When its lifetime is over."),
                (
                    "queue_waits",
                    (
                        "When its lifetime is over, requests wait for the shared quota, and its "
                        "user had notice_s of notice. Only as many end as the waiting requests "
                        "need: the longest overdue first, in whole hours, and among these the "
                        "one whose association has the lowest fair-share factor."
                    ),
                ),
            ],
            mutable=True,
            help="When a shared server ends.",
        ),
        cfg.FloatOpt(
            "notice_s",
            default=600.0,
            min=0,
            max=366 * 86_400,
            mutable=True,
            help="Seconds between the notice to the user of an overdue server and its end, with "
            "expire_when=queue_waits.",
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
        self._factors: FactorsChanged | None = None
        self._kept_until_s: dict[str, float] = {}  # locked servers, and when to look again
        self._shown = ShownEnds(clock, store, server_actions)
        self._extensions = MetadataExtensions(clock, publish, store, servers, server_actions)
        self._endings = Endings(conf, clock, store, servers, server_actions)
        self._resumed: frozenset[str] = NO_ONE  # due when a person resumed: no brake for these

    @on(ServersActive)
    def _look_before_they_end(self, fact: ServersActive) -> None:
        self._look_in_time(fact.requests)

    @on(EndsMoved)
    def _show_other_ends(self, fact: EndsMoved) -> None:
        self._look_in_time(fact.requests)

    def _look_in_time(self, requests: Sequence[Request]) -> None:
        self._shown.left = True
        leads = [timedelta(seconds=lead_s) for lead_s in self._conf.warnings_s]
        ends = [r.expires_at - max(leads, default=timedelta()) for r in requests if r.expires_at]
        if self._due_at is not None:
            self._due_at = min([self._due_at, *ends])

    @on(FactorsChanged)
    def _deserve_by(self, fact: FactorsChanged) -> None:
        self._factors = fact

    def resync(self) -> None:
        self._due_at = None
        self._shown.left = True

    @every(600.0, when=lambda self: self._conf.show_end)
    def show_every_end(self) -> float | None:
        """Find servers whose metadata shows the wrong end."""
        self._shown.left = True
        return None

    @every(SHORTEST_PERIOD_S, when=lambda self: self._shown.left and self._conf.show_end)
    def show_ends(self) -> float | None:
        """Show the ends of servers in their metadata."""
        return 0.0 if self._shown.catch_up() else None

    @every("metadata_check_s", when=lambda self: self._conf.metadata_check_s > 0)
    def extend_by_metadata(self) -> float | None:
        """Extend servers whose users ask for it in their metadata."""
        self._extensions.look()
        return None

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
        kept, marked = self._ask_marks(now) if standing.agrees else ({}, {})
        with self._store.writing() as uow:
            uow.safety.save_mark(self._clock.mark())
            left = self._mark_overdue(uow, now, kept, marked) if standing.agrees else 0
            expiring = uow.requests.expiring() if standing.agrees else []
            projects = {p.project_id: p for p in uow.projects.all()} if expiring else {}
            soon = self._warn(uow, now)
            looks = self._next_looks(uow, now)
            suspended = not standing.agrees or uow.safety.brake() is not None
            uow.commit()
        self._suspended = suspended
        if soon:
            self._publish(ServersExpireSoon(tuple(soon)))
        self._endings.end(expiring, projects, now)
        if left:
            return now  # a person let them go: the next pass follows at once
        dues = [now + timedelta(seconds=self._next_look_s(suspended))]
        return min([*dues, *looks] if not suspended else dues)

    def _next_looks(self, uow: Reading, now: datetime) -> list[datetime]:
        """Return when the next server ends, and when the next end is to be announced."""
        found = []
        for lead in (timedelta(), *(timedelta(seconds=s) for s in self._conf.warnings_s)):
            end_at = uow.requests.next_expiry(now + lead)
            if end_at is not None:
                found.append(end_at - lead)
        return found

    def _next_look_s(self, suspended: bool) -> float:
        often_s = self._conf.retry_s if suspended else self._conf.rate_s
        return max(1.0, min([float(often_s), *self._endings.waits_s()]))

    def _ask_marks(self, now: datetime) -> tuple[dict[str, str], dict[str, str]]:
        """Return why due servers are to be kept by their users' marks, "" for those that are not:
        first those whose project's rule lets them go on, then those that end all the same.

        Those of which Nova was not asked yet are absent. The end of the second does not depend on
        the answer, so it waits for none. Raises UpstreamUnavailable where that of the first does.
        """
        with self._store.reading() as uow:
            if uow.safety.brake() is not None:
                return {}, {}
            due = self._candidates(uow, now)
            projects = uow.projects.all() if due else ()
        keeping = {one.project_id for one in projects if one.on_keep is OnKeep.KEEP}
        maximum = self._conf.most_per_pass
        kept = self._kept_among([one.request_id for one in due if one.project_id in keeping])
        others = [one.request_id for one in due if one.project_id not in keeping][:maximum]
        try:
            views = views_of(self._servers, others) if others else {}
        except UpstreamUnavailable:
            return kept, {}
        return kept, {key: why_kept(views[key]) if key in views else "" for key in others}

    def _kept_among(self, server_ids: Sequence[str]) -> dict[str, str]:
        """Return why servers are to be kept, "" for those that are not; those that Nova cannot show
        are absent, and go on.

        The brake counts what would end, so Nova is asked until more than a pass ends are found:
        ever so many that are locked are no reason to stop the ends of others.
        """
        kept: dict[str, str] = {}
        maximum, ends = self._conf.most_per_pass, 0
        look_s = self._clock.monotonic_s() + KEPT_LOOK_S
        for start in range(0, len(server_ids), maximum):
            if ends > maximum:
                break
            asked = server_ids[start : start + maximum]
            views = views_of(self._servers, asked)
            marks = {
                key: why_kept(views[key]) if key in views else ""
                for key in asked
                if key not in views or views[key].status is not ServerStatus.UNKNOWN
            }
            kept |= marks
            ends += sum(not why for why in marks.values())
            self._kept_until_s |= {key: look_s for key in asked if marks.get(key, "it is unknown")}
        return kept

    def _overdue(self, uow: Reading, now: datetime) -> list[Request]:
        """Return what is due, without the servers that are known to be kept."""
        now_s = self._clock.monotonic_s()
        self._kept_until_s = {k: at_s for k, at_s in self._kept_until_s.items() if at_s > now_s}
        return [one for one in _due(uow, now) if one.request_id not in self._kept_until_s]

    def _candidates(self, uow: Reading, now: datetime) -> list[Request]:
        """Return what is due; where only need ends servers, those that are needed, in order."""
        due = self._overdue(uow, now)
        if self._conf.expire_when != "queue_waits" or not due:
            return due
        waiting = [(kind.demand, count) for kind, count in uow.requests.waiting_to_borrow()]
        ending = [request.demand for request in uow.requests.expiring()]
        return needed_first(due, waiting, ending, now=now, fairshare_of=self._fairshare_of)

    def _waive(self, uow: Writing, kept: Mapping[str, str], now: datetime) -> None:
        """Report once why servers go on whose end came."""
        found = uow.requests.find([key for key, why in kept.items() if why]).values()
        event, reason = Event.EXPIRY_WAIVED, Reason.KEPT
        uow.requests.save(
            [
                transition(one, event, now, why=kept[one.request_id], reason=reason)
                for one in found
                if one.state in (State.ACTIVE, State.ERROR) and one.reason is not reason
            ]
        )

    def _noticed(self, uow: Writing, needed: Sequence[Request], now: datetime) -> list[Request]:
        """Return those of the needed servers that had their notice; give it to the others."""
        until = now + timedelta(seconds=self._conf.notice_s)
        new = [replace(one, not_before_at=until) for one in needed if one.not_before_at is None]
        why = f"it ends at {until.isoformat(timespec='seconds')} or later"
        event, reason = Event.EXPIRY_WARNED, Reason.QUEUE_WAITS
        uow.requests.save([transition(one, event, now, why=why, reason=reason) for one in new])
        return [one for one in needed if one.not_before_at is not None and one.not_before_at <= now]

    def _fairshare_of(self, association_id: int) -> float:
        known = self._factors
        if known is None or association_id >= len(known.factors):
            return 0.0
        return float(known.factors[association_id])

    def _mark_overdue(
        self, uow: Writing, now: datetime, kept: Mapping[str, str], marked: Mapping[str, str]
    ) -> int:
        """Move what is over to EXPIRING; the intent is stored before Nova is asked.

        Puts the brake on when more than `most_per_pass` are due that no person let go. Returns how
        many are left that a person did let go.
        """
        if uow.safety.brake() is not None:
            return 0
        maximum = self._conf.most_per_pass
        self._waive(uow, kept, now)
        due = self._candidates(uow, now)
        if self._conf.expire_when == "queue_waits":
            due = self._noticed(uow, due, now)
        projects = {project.project_id: project for project in uow.projects.all()} if due else {}
        keeping = {key for key, project in projects.items() if project.on_keep is OnKeep.KEEP}
        allowed = [request for request in due if request.request_id in self._resumed]
        rest = [request for request in due if request.request_id not in self._resumed]
        chosen = [
            _begun(request, projects.get(request.project_id), now, grace_s=self._conf.grace_s)
            for request in (allowed or rest)[:maximum]
            if request.project_id not in keeping or request.request_id in kept
        ]
        uow.requests.save([_ends(one, now, marked.get(one.request_id, "")) for one in chosen])
        if allowed:
            self._resumed -= {request.request_id for request in chosen}
            return len(due) - len(chosen)
        self._resumed = NO_ONE
        if len(rest) > maximum:
            uow.safety.put_on(Brake(since=now, due=len(rest)))
            LOG.error(
                "%d servers are due to end at once, more than [expiry] most_per_pass: %d are "
                "ended, and expiry is suspended. Look at `synergy expiry show`; if all of them "
                "shall end, run `synergy expiry resume`", len(rest), maximum,
            )  # fmt: skip
        return 0

    def _warn(self, uow: Writing, now: datetime) -> list[Request]:
        """Announce ends that are near, in the ledger; return the requests."""
        leads_s = self._conf.warnings_s
        if not leads_s:
            return []
        ending = {
            request.request_id: request
            for lead_s in leads_s
            for request in uow.requests.to_warn(lead_s, now + timedelta(seconds=lead_s))
        }
        moves = []
        for request in ending.values():
            lead_s = lead_due(leads_s, request, now)
            at = request.expires_at
            if lead_s is not None and at is not None and request.quota is QuotaKind.SHARED:
                why = f"it expires at {at.isoformat(timespec='seconds')}"
                warned = replace(request, warned_s=lead_s)
                event, reason = Event.EXPIRY_WARNED, Reason.EXPIRES_SOON
                moves.append(transition(warned, event, now, why=why, reason=reason))
        uow.requests.save(moves)
        return [move.as_saved() for move in moves]

    # --- commands ---------------------------------------------------------------------------------

    @command(commands.LIST_ENDING)
    def do_list(
        self,
        project_id: str | None = None,
        within_s: int | None = None,
        limit: int = USUAL_PAGE,
        marker: str | None = None,
    ) -> list[answers.requests.RequestRow]:
        """List the servers that have an end, the earliest first; overdue ones are included."""
        now = self._clock.standing().at
        by = LATEST if within_s is None else now + timedelta(seconds=within_s)
        with self._store.reading() as uow:
            found = uow.requests.ending_page(by, project_id=project_id, limit=limit, after=marker)
        return [request_json(request) for request in found]

    @command(answers.ends.SHOW_EXPIRY)
    def do_show(self) -> answers.ends.Expiry:
        """Show whether servers are ended, how many are due, and which Nova refuses to end."""
        standing = self._clock.standing()
        with self._store.reading() as uow:
            brake = uow.safety.brake()
            due = len(_due(uow, standing.at))
            due_by_wall = len(_due(uow, standing.wall)) if not standing.agrees else due
            expiring = len(uow.requests.expiring())
            next_end = uow.requests.next_expiry(standing.at)
        reason = suspension_of(standing, brake)
        return {
            "suspended": reason is not None,
            "reason": reason.value if reason else None,
            "text": text_of(standing, brake, due, due_by_wall),
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
            "refused": self._endings.refused(standing.at),
        }

    @command(commands.RESUME_EXPIRY)
    def do_resume(self, dry_run: bool = False) -> answers.ends.Expiry:
        """End all servers that are due, and trust the wall clock: an operator has checked both.

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


def _due(uow: Reading, now: datetime) -> list[Request]:
    return [one for one in uow.requests.ending(now) if one.quota is QuotaKind.SHARED]


def _begun(request: Request, project: Project | None, now: datetime, *, grace_s: float) -> Request:
    """Return a request whose end begins: the deletion of one that is stopped first comes later."""
    stops_first = project is not None and project.expiry_action is ExpiryAction.STOP_DELETE
    not_before_at = now + timedelta(seconds=grace_s) if stops_first else None
    return replace(request, not_before_at=not_before_at)


def _ends(request: Request, now: datetime, mark: str) -> Move:
    """Return the step of a request whose end begins; a mark that is not regarded is told."""
    why = f"{mark}; by its project's rule, on_keep={OnKeep.END}, it ends all the same"
    reason = Reason.LIFETIME_OVER
    return transition(request, Event.TTL_REACHED, now, why=why if mark else "", reason=reason)
