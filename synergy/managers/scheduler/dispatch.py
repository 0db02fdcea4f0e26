"""Acts on what a round decided: two commits, and the hand-over between them.

Why: the only place that lets a request hold quota. What is to be sent is committed before anything
is sent, and what became of it after; a crash in between is settled by asking Nova. Must not know
the queue, priorities or how a round decides.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from synergy.core.admission import retry_delay_s
from synergy.core.ask_each import ask_each
from synergy.core.batches import handle_individually
from synergy.core.editions import same_edition
from synergy.core.errors import Conflict, NotFound, error_line
from synergy.core.events import QuotaClaimed, QuotaReleased, RequestsRefused, RequestsWithdrawn
from synergy.core.ids import NOBODY
from synergy.core.lifecycle import Event, Move, Unchanged, transition
from synergy.core.model import Request, State
from synergy.core.reasons import Reason, coded
from synergy.core.reconcile import ABSENT, missed
from synergy.core.rounds import Decision, Outcome
from synergy.managers.base import Part, Publish
from synergy.managers.support.owners import Owner, Owners
from synergy.managers.support.server_views import views_of
from synergy.ports import (
    Clock,
    Conductor,
    Handed,
    Identity,
    Parcel,
    Reading,
    Servers,
    ServerStatus,
    ServerView,
    Store,
    Writing,
)

LOG = logging.getLogger(__name__)
_UNSEEN: Final = "Nova cannot show its server now, and may have built it already"
_NOT_SENT: Final = (
    Event.REMOVED, Event.HANDED_OVER, Event.BOOTED, Event.SHELVED, Event.BUILD_FAILED
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a request that was to be handed over."""

    event: Event
    why: str = ""
    reason: Reason | None = None


class Dispatcher(Part):
    """Carries decisions out; counts `dispatched` and `conflicts`."""

    def __init__(
        self,
        clock: Clock,
        publish: Publish,
        store: Store,
        conductor: Conductor,
        servers: Servers,
        identity: Identity,
        owners: Owners,
    ) -> None:
        self._clock, self._publish = clock, publish
        self.counts: Counter[str] = Counter()
        self._owners = owners
        self._store, self._conductor = store, conductor
        self._servers, self._identity = servers, identity

    def views_of(self, decisions: Sequence[Decision]) -> Mapping[str, ServerView]:
        """Ask Nova for the servers of decisions, right before these are carried out."""
        ids = [decision.request_id for decision in decisions]
        return views_of(self._servers, ids)

    def dispatch(
        self,
        round_id: str,
        decisions: Sequence[Decision],
        views: Mapping[str, ServerView],
        edition: int | None,
    ) -> list[Request]:
        """Carry decisions out, and return the requests that could not be handed over and wait for
        a retry. Raises Conflict, and then nothing was done.

        views    what Nova says of their servers now; one that it does not know is gone
        edition  of the projects that the decisions were made by: to ask the cloud takes a while,
                 and anyone who was suspended meanwhile gets no server any more
        """
        # Nova may have built one that it cannot show: a second build would destroy its server.
        unseen = {one for one, view in views.items() if view.status is ServerStatus.UNKNOWN}
        chosen = {
            one.request_id: one
            for one in decisions
            if one.outcome is Outcome.DISPATCH or one.request_id not in unseen
        }
        leaving = [
            one for one in views if one in chosen and chosen[one].outcome is Outcome.DISPATCH
        ]
        gone, tokens, unanswered = self._ask_keystone(leaving)
        back: list[Request] = []

        def carry_out(part: Sequence[str]) -> None:
            some = {request_id: chosen[request_id] for request_id in part}
            done, parcels, broken = self._record(round_id, some, views, gone, tokens, edition)
            self._publish_moves(done)
            postponed = {
                one.request_id: unanswered.get((one.project_id, one.user_id), _UNSEEN)
                for one in done
                if one.request_id in parcels
                and ((one.project_id, one.user_id) in unanswered or one.request_id in unseen)
            }
            if parcels or broken:
                back.extend(self._hand_over(parcels, broken, postponed, round_id))

        handle_individually(list(chosen), carry_out, self._set_aside)
        return [request for request in back if request.state is State.QUEUED]

    def _set_aside(self, request_id: str, error: Exception) -> None:
        """Keep a request that cannot be dispatched for a person; the others of its round go on.

        One in DISPATCHING may have been sent: Nova is asked about it before anything else is done.
        """
        why = error_line(error)
        with self._store.writing() as uow:
            request = uow.requests.find([request_id]).get(request_id)
            if request is None or request.state is not State.QUEUED:
                LOG.error("request %s may have been sent: %s", request_id, why, exc_info=error)
                return
            now, reason = self._clock.now(), Reason.UNREADABLE
            uow.requests.save([transition(request, Event.UNREADABLE, now, why=why, reason=reason)])
            uow.commit()
        LOG.error("request %s is QUARANTINED: %s", request_id, why, exc_info=error)
        self._publish(RequestsWithdrawn((request,)))

    def _record(
        self,
        round_id: str,
        chosen: Mapping[str, Decision],
        views: Mapping[str, ServerView],
        gone: Mapping[Owner, str],
        tokens: Mapping[Owner, str],
        edition: int | None,
    ) -> tuple[list[Request], dict[str, Parcel], dict[str, str]]:
        """Commit what was decided before anything is sent; return it, and what is to be sent."""
        now = self._clock.now()
        with self._store.writing() as uow:
            if not same_edition(edition, uow.projects.edition()):
                raise Conflict("projects changed while it was decided")
            found = uow.requests.find(list(chosen))
            moves = []
            for request_id, decision in chosen.items():
                request = found.get(request_id)
                if request is None or request.state is not State.QUEUED:
                    self.counts["conflicts"] += 1  # withdrawn, or damaged: nothing to do
                elif overtaken := _overtaken(request, views.get(request_id), now):
                    moves.append(overtaken)
                elif why := gone.get((request.project_id, request.user_id)):
                    reason = Reason.OWNER_GONE
                    said = coded(reason, why)
                    moves.append(transition(request, Event.CANCELLED, now, why=said, reason=reason))
                else:
                    moves.append(self._decided(uow, request, decision, now, round_id))
            uow.requests.save(moves)
            uow.requests.forget_bodies([m.request.request_id for m in moves if _needs_no_body(m)])
            leaving = [m.request for m in moves if m.request.state is State.DISPATCHING]
            parcels, broken = _pack(uow, leaving, tokens)
            uow.commit()
        return [move.as_saved() for move in moves], parcels, broken

    def _decided(
        self, uow: Writing, request: Request, decision: Decision, now: datetime, round_id: str
    ) -> Move:
        if decision.outcome is Outcome.REJECT:
            reason, why = decision.reason, f"{decision.reason}: {decision.why}"
            return transition(
                request, Event.REFUSED, now, why=why, reason=reason, round_id=round_id
            )
        kind = replace(request.request_class, quota=decision.quota or request.quota)
        if kind != request.request_class:  # it may use either: now it is decided which it holds
            request = replace(request, request_class=kind, class_id=uow.requests.class_id(kind))
        return transition(request, Event.SELECTED, now, round_id=round_id)

    def _publish_moves(self, moved: Sequence[Request]) -> None:
        by_state: dict[State, list[Request]] = {}
        for request in moved:
            by_state.setdefault(request.state, []).append(request)
        if State.DISPATCHING in by_state:
            self._publish(QuotaClaimed(tuple(by_state[State.DISPATCHING])))
        gone = [one for one in moved if one.state not in (State.DISPATCHING, State.QUEUED)]
        if gone:
            self._publish(RequestsWithdrawn(tuple(gone)))
        if State.REJECTED in by_state:
            self._publish(RequestsRefused(tuple(by_state[State.REJECTED])))

    def _hand_over(
        self,
        parcels: Mapping[str, Parcel],
        broken: Mapping[str, str],
        postponed: Mapping[str, str],
        round_id: str,
    ) -> list[Request]:
        """Send committed requests to the conductor, commit what became of them, and return those
        that came back.

        broken     why requests cannot be packed
        postponed  why Keystone cannot say now whether their owners may have servers, or Nova
                   whether it has theirs: they come back without counting as tried, and so keep
                   no quota from others meanwhile

        When the broker takes none, it counts as a try of the first one only. What may have been
        sent stays in DISPATCHING until Nova was asked.
        """
        outcome = {
            one: _Outcome(Event.UNREADABLE, why, Reason.UNREADABLE) for one, why in broken.items()
        }
        for one, why in postponed.items():
            said = coded(Reason.DISPATCH_RETRY, why)
            outcome[one] = _Outcome(Event.HAND_OVER_FAILED, said, Reason.DISPATCH_RETRY)
            LOG.warning("request %s: %s", one, said)
        tried = ""
        sent = [one for one in parcels if one not in postponed]
        receipts = self._conductor.build([parcels[one] for one in sent]) if sent else ()
        for request_id, receipt in zip(sent, receipts, strict=True):
            if receipt.handed is Handed.SENT:
                outcome[request_id] = _Outcome(Event.HANDED_OVER)
            elif receipt.handed is Handed.UNUSABLE:
                outcome[request_id] = _Outcome(Event.UNREADABLE, receipt.why, Reason.UNREADABLE)
            elif receipt.handed is Handed.UNKNOWN:
                self.counts["unknown"] += 1
                LOG.error("request %s may have been sent: %s", request_id, receipt.why)
            else:
                why = f"{Reason.BROKER_DOWN}: {receipt.why}"
                outcome[request_id] = _Outcome(Event.HAND_OVER_FAILED, why, Reason.BROKER_DOWN)
                if not tried:
                    tried = request_id
                    LOG.warning("request %s: %s", request_id, why)
        return self._record_outcome(outcome, round_id, tried)

    def _ask_keystone(
        self, request_ids: Sequence[str]
    ) -> tuple[dict[Owner, str], dict[Owner, str], dict[Owner, str]]:
        """Return which owners of requests are gone, fresh tokens of those who gave a trust, and
        about whom Keystone fails, with its error. Raises that error when it fails for everybody."""
        with self._store.reading() as uow:
            owners = {(r.project_id, r.user_id) for r in uow.requests.find(request_ids).values()}
            trusts = {(t.project_id, t.user_id): t.trust_id for t in uow.trusts.all()}
        gone, unanswered = self._owners.gone(owners)

        asked = sorted(owners & trusts.keys() - gone.keys() - unanswered.keys())
        tokens, failed = ask_each([trusts[one] for one in asked], self._token_from, nothing=NOBODY)
        found: dict[Owner, str] = {}
        for owner in asked:
            if (error := failed.get(trusts[owner])) is not None:
                unanswered[owner] = error
            elif token := tokens[trusts[owner]]:
                found[owner] = token
            else:
                LOG.warning(
                    "the trust of user %s is gone: the token of the request itself is used",
                    owner[1],
                )
        return gone, found, {owner: error_line(error) for owner, error in unanswered.items()}

    def _token_from(self, trust_id: str) -> str:
        """Return a fresh token, "" of a trust that there is not."""
        try:
            return self._identity.token_from_trust(trust_id)
        except NotFound:
            return ""

    def _record_outcome(
        self, outcome: Mapping[str, _Outcome], round_id: str, tried: str
    ) -> list[Request]:
        now = self._clock.now()
        sent = [key for key, became in outcome.items() if became.event is Event.HANDED_OVER]
        with self._store.writing() as uow:
            found = uow.requests.find(list(outcome))
            moves = []
            for request_id, became in outcome.items():
                request = found.get(request_id)
                if request is not None and request.state is State.DISPATCHING:
                    counts = request_id == tried
                    moves.append(_after_hand_over(request, became, now, round_id, counts))
            uow.requests.save(moves)
            uow.requests.forget_bodies(sent)
            uow.commit()
        back = [move.as_saved() for move in moves if move.request.state is not State.BUILDING]
        self.counts["dispatched"] += len(sent)
        if back:
            self._publish(QuotaReleased(tuple(back)))
        return back


def _overtaken(request: Request, view: ServerView | None, now: datetime) -> Move | None:
    """Return the move of a request that is not to be sent: Nova does not wait for it any more.

    A second build of a server that Nova has already would destroy it.
    """
    status = ABSENT if view is None else view.status
    event = missed(request, status)
    if event is None:
        return None
    removed = event is Event.REMOVED
    why = "deleted by its user" if removed else "Nova had it already"
    reason = Reason.DELETED_BY_USER if removed else None
    host = Unchanged.HOST if view is None else view.host
    return transition(request, event, now, why=why, reason=reason, host=host)


def _needs_no_body(move: Move) -> bool:
    """Return whether nobody will send the body any more: a refusal is sent with it, too."""
    return move.step is not None and move.step.event in _NOT_SENT


def _pack(
    uow: Reading, requests: Sequence[Request], tokens: Mapping[Owner, str]
) -> tuple[dict[str, Parcel], dict[str, str]]:
    """Return the parcels by request, and why the others cannot be packed."""
    ids = [request.request_id for request in requests]
    bodies = uow.requests.bodies(ids)
    broken = uow.requests.broken_bodies([one for one in ids if one not in bodies])
    parcels = {
        r.request_id: Parcel(bodies[r.request_id], tokens.get((r.project_id, r.user_id)))
        for r in requests
        if r.request_id in bodies
    }
    return parcels, broken


def _after_hand_over(
    request: Request, became: _Outcome, now: datetime, round_id: str, counts: bool
) -> Move:
    event, why, reason = became.event, became.why, became.reason
    if event is not Event.HAND_OVER_FAILED:
        return transition(request, event, now, why=why, reason=reason, round_id=round_id)
    attempts = request.attempts + counts
    delay_s = retry_delay_s(max(attempts, 1))
    if delay_s is None:
        given_up = replace(request, attempts=attempts)
        return transition(given_up, Event.GAVE_UP, now, why=why, reason=reason, round_id=round_id)
    retry_at = now + timedelta(seconds=delay_s)
    delayed = replace(request, attempts=attempts, retry_at=retry_at)
    return transition(delayed, event, now, why=why, reason=reason, round_id=round_id)
