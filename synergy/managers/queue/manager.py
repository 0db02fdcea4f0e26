"""Admits requests, lists them, and lets operators hold, release and cancel them.

This module knows when each part is due, and the commands; the others of the package, how a request
comes in and leaves. Must not know how a request is chosen or built.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from oslo_config import cfg

from synergy.core import lifecycle
from synergy.core.declared import commands
from synergy.core.declared.answers import requests as answers
from synergy.core.declared.filters import (
    EVENT_FILTERS,
    REQUEST_FILTERS,
    USUAL_PAGE,
    EventFilters,
    RequestFilters,
    keywords_in,
)
from synergy.core.errors import IllegalTransition
from synergy.core.events import (
    EndsMoved,
    OwnersGone,
    ProjectsChanged,
    QuotaChanged,
    RequestsQueued,
    RequestsWithdrawn,
    TokensRefused,
)
from synergy.core.extension import check_rule, extended
from synergy.core.lifecycle import Event, transition
from synergy.core.model import State
from synergy.core.reasons import Reason, coded
from synergy.managers.base import Manager, Publish, command, on
from synergy.managers.queue.admission import Admission
from synergy.managers.queue.intake import BuildIntake
from synergy.managers.queue.limits import WaitingLimits
from synergy.managers.queue.refusals import REFUSALS, Refusals
from synergy.managers.queue.withdrawals import Withdrawals
from synergy.managers.support.archived import archived_entries, locate
from synergy.managers.support.render import check_revision, request_json, step_json
from synergy.managers.support.starts import starts_shown
from synergy.managers.support.withdrawn import DeletedWaiting
from synergy.ports import (
    Clock,
    Conductor,
    Intake,
    LedgerEntry,
    Servers,
    Store,
    Wake,
)


class QueueManager(Manager):
    """From the edge into the store."""

    name = "queue"
    needed = True
    stopped_means = "new requests stay in the broker and are not queued"
    options = (
        cfg.IntOpt(
            "commit_size",
            default=200,
            min=1,
            max=10_000,
            mutable=True,
            help="Maximum number of build messages stored in one transaction.",
        ),
        cfg.FloatOpt(
            "debounce_s",
            default=0.02,
            min=0,
            max=60,
            mutable=True,
            help="Shortest time in seconds between two transactions that store build messages; "
            "those that arrive in between share one.",
        ),
        cfg.ListOpt(
            "qos_names",
            default=["normal"],
            help="Names of the QOS that a request may ask for with metadata synergy:qos.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        publish: Publish,
        wake: Wake,
        store: Store,
        intake: Intake,
        conductor: Conductor,
        servers: Servers,
    ) -> None:
        self._clock, self._publish, self._wake = clock, publish, wake
        self._store, self._intake = store, intake
        self._refusals = Refusals(store, conductor)
        self._limits = WaitingLimits(clock, store, DeletedWaiting(clock, publish, store, servers))
        self._admission = Admission(conf, clock)
        self._builds = BuildIntake(
            conf, clock, publish, store, intake, conductor, self._admission, self._limits,
            self._refusals,
        )  # fmt: skip
        self._withdrawals = Withdrawals(clock, publish, store, self._refusals)

    def setup(self) -> None:
        self._intake.on_arrival(self._wake)

    @on(ProjectsChanged)
    def _read_projects_anew(self, _: ProjectsChanged) -> None:
        self.resync()

    @on(QuotaChanged)
    def _admit_by(self, fact: QuotaChanged) -> None:
        self._admission.go_by(fact.state, fact.edition)

    @on(TokensRefused)
    def _refuse_without_token(self, fact: TokensRefused) -> None:
        text = f"its token would not last: {fact.why}"
        self._withdrawals.refuse(fact.request_ids, Reason.NO_TRUST, text)

    @on(OwnersGone)
    def _cancel_without_owner(self, fact: OwnersGone) -> None:
        self._withdrawals.cancel_of(fact.owners)

    @on(RequestsWithdrawn)
    def _note_refusals(self, fact: RequestsWithdrawn) -> None:
        self._refusals.left |= any(r.state in REFUSALS for r in fact.requests)

    def resync(self) -> None:
        self._builds.forget()
        self._limits.forget()
        self._admission.forget()
        self._refusals.left = True

    def task(self) -> float | None:
        if self._refusals.left:
            self._refusals.send()
        return 0.0 if self._builds.take_in() else None

    # --- commands ---------------------------------------------------------------------------------

    @command(commands.LIST_REQUESTS)
    def do_list(
        self,
        sort_key: str = "received",
        sort_dir: str = "asc",
        limit: int = USUAL_PAGE,
        marker: str | None = None,
        **given: object,
    ) -> list[answers.RequestRow]:
        """List requests, by default in the order in which they were received."""
        with self._store.reading() as uow:
            found = uow.requests.search(
                sort_key=sort_key,
                descending=sort_dir == "desc",
                limit=limit,
                after=marker,
                **cast(RequestFilters, keywords_in(given, REQUEST_FILTERS)),
            )
            starts = starts_shown(uow, found, self._clock.now())
        return [request_json(request, starts[request.request_id]) for request in found]

    @command(commands.SHOW_REQUEST)
    def do_show(self, request_id: str) -> answers.RequestWithHistory:
        """Show a request with its ledger, an archived one too."""
        with self._store.reading() as uow:
            found = locate(uow, request_id)
            starts = starts_shown(uow, [found.request], self._clock.now())
        return {
            **request_json(found.request, starts[found.request.request_id]),
            "history": [step_json(step) for step in found.steps],
            "archived": found.archived,
        }

    @command(answers.LIST_EVENTS)
    def do_events(
        self, limit: int = USUAL_PAGE, marker: int = 0, **given: object
    ) -> list[answers.Event]:
        """List what happened to requests, oldest first; `marker` is the last number seen.

        Of one request that is archived, the archive tells it.
        """
        filters = cast(EventFilters, keywords_in(given, EVENT_FILTERS))
        with self._store.reading() as uow:
            found = uow.requests.events(limit=limit, after=marker, **filters)
            request_id = filters.get("request_id")
            if not found and request_id is not None:
                archived = archived_entries(uow, request_id, filters.get("project_id"))
                found = [one for one in archived if _is_wanted(one, marker, filters)][:limit]
        return [
            {
                "number": entry.number,
                "project_id": entry.project_id,
                "request_id": entry.step.request_id,
                **step_json(entry.step),
            }
            for entry in found
        ]

    @command(commands.COUNT_REQUESTS)
    def do_counts(self) -> dict[str, int]:
        """Count the requests in each state."""
        with self._store.reading() as uow:
            return {state.value: count for state, count in uow.requests.counts().items()}

    @command(commands.CANCEL_REQUEST)
    def do_cancel(
        self,
        request_id: str,
        why: str = "cancelled by an operator",
        if_match: Sequence[str] | None = None,
    ) -> answers.RequestRow:
        """Cancel a waiting request; its server goes to ERROR with the reason."""
        said = coded(Reason.CANCELLED, why)
        shown = self._move(request_id, Event.CANCELLED, said, if_match, reason=Reason.CANCELLED)
        self._refusals.send()
        return shown

    @command(commands.HOLD_REQUEST)
    def do_hold(
        self, request_id: str, by: str = "admin", if_match: Sequence[str] | None = None
    ) -> answers.RequestRow:
        """Hold a waiting request; only an administrator can release what an administrator holds."""
        held = Reason.HELD_BY_USER if by == "user" else Reason.HELD_BY_ADMIN
        return self._move(request_id, Event.HELD, held.value, if_match, reason=held)

    @command(commands.RELEASE_REQUEST)
    def do_release(
        self, request_id: str, by: str = "admin", if_match: Sequence[str] | None = None
    ) -> answers.RequestRow:
        """Return a held or quarantined request to the queue."""
        return self._move(request_id, Event.RELEASED, "", if_match, by=by)

    @command(commands.EXTEND_REQUEST)
    def do_extend(
        self, request_id: str, by_s: int, by: str = "admin", if_match: Sequence[str] | None = None
    ) -> answers.RequestRow:
        """Extend the lifetime of a running shared server by `by_s` seconds."""
        with self._store.writing() as uow:
            request = uow.requests.get(request_id)
            check_revision(request_json(request), if_match)
            if by == "user":
                project = uow.projects.get(request.project_id)
                idle = not uow.requests.waiting_to_borrow()
                check_rule(project, request, by_s, self._clock.now(), idle=idle)
            move = extended(request, by_s, self._clock.now(), by_user=by == "user")
            uow.requests.save([move])
            uow.commit()
        self._publish(EndsMoved((move.as_saved(),)))
        return request_json(move.as_saved())

    @command(beside=True)
    def do_quarantine(self) -> list[answers.Quarantined]:
        """List the quarantined messages, which could not be read."""
        with self._store.reading() as uow:
            return [
                {"message_id": message_id, "at": at.isoformat(), "why": why}
                for message_id, at, why in uow.requests.quarantined()
            ]

    def _move(
        self,
        request_id: str,
        event: Event,
        why: str,
        if_match: Sequence[str] | None,
        *,
        by: str = "admin",
        reason: Reason | None = None,
    ) -> answers.RequestRow:
        with self._store.writing() as uow:
            request = uow.requests.get(request_id)
            check_revision(request_json(request), if_match)
            by_admin = request.state is State.HELD and request.reason is Reason.HELD_BY_ADMIN
            if by == "user" and by_admin:
                raise IllegalTransition(
                    f"request {request_id} is held by an administrator: only one of them can "
                    "release it"
                )
            if event is Event.CANCELLED and request.state not in lifecycle.WAITING:
                raise IllegalTransition(
                    f"request {request_id} is {request.state}: only a waiting one can be cancelled"
                )
            move = transition(request, event, self._clock.now(), why=why, reason=reason)
            if event is Event.RELEASED:
                fresh = replace(move.request, attempts=0, retry_at=None)
                move = replace(move, request=fresh)
            uow.requests.save([move])
            starts = starts_shown(uow, [move.request], self._clock.now())
            uow.commit()
        if move.request.state is State.QUEUED:
            self._publish(RequestsQueued((move.request,)))
        elif request.state is State.QUEUED:
            self._publish(RequestsWithdrawn((request,)))
        return request_json(move.as_saved(), starts[request.request_id])


def _is_wanted(entry: LedgerEntry, after: int, filters: EventFilters) -> bool:
    """Return whether an entry of the archive is one that is looked for."""
    event, since = filters.get("event"), filters.get("since")
    return (
        entry.number > after
        and event in (None, entry.step.event)
        and (since is None or entry.step.at >= since)
    )
