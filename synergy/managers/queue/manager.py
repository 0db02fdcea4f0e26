"""Admits requests, lists them, and lets operators hold, release and cancel them.

Why: between the broker and the queue stands one rule, a message is acknowledged after the commit of
its requests and never before. Must not know how a request is chosen or built.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from oslo_config import cfg

from synergy.core import lifecycle
from synergy.core.accounts import user_node
from synergy.core.admission import Wishes, bound_to, wishes
from synergy.core.batches import PASSING, handle_apart
from synergy.core.errors import (
    Conflict,
    HandOverFailed,
    IllegalTransition,
    InvalidInput,
    UpstreamUnavailable,
    in_words,
)
from synergy.core.events import (
    Fact,
    OwnersGone,
    ProjectsChanged,
    QuotaChanged,
    RequestsQueued,
    RequestsRefused,
    RequestsWithdrawn,
    TokensRefused,
    ZonesGone,
)
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import (
    AVAILABILITY_ZONE,
    OnPrivateFull,
    Project,
    QuotaKind,
    Request,
    RequestClass,
    State,
)
from synergy.core.never import Ceilings
from synergy.core.quota import QuotaTree
from synergy.managers.base import Json, Manager, Publish, command
from synergy.managers.queue.limits import Room, WaitingLimits
from synergy.managers.queue.refusals import REFUSALS, Refusals
from synergy.managers.render import (
    IF_MATCH,
    check_revision,
    read_instant,
    request_json,
    step_json,
)
from synergy.managers.withdrawn import DeletedWaiting
from synergy.ports import (
    SORT_KEYS,
    BuildRequest,
    Clock,
    Compute,
    Conductor,
    Delivery,
    Handed,
    Intake,
    Parcel,
    Store,
    Wake,
    Writing,
)

LOG = logging.getLogger(__name__)
_ID = {"type": "string", "minLength": 1, "maxLength": 64}
_NAME = {"type": "string", "minLength": 1, "maxLength": 255}
_BY = {"enum": ["user", "admin"]}
HELD_BY_ADMIN: Final = "held_by_admin"
LONGEST_TTL_S: Final = 2**31 - 1  # databases keep it in 32 bits
MOST_CONFLICTS: Final = 3  # of one batch in a row that may be another writer's doing
BATCHES_AT_ONCE: Final = 10  # then commands have their turn


class QueueManager(Manager):
    """From the edge into the store."""

    name = "queue"
    needed = True
    stopped_means = "new requests stay in the broker and are not queued"
    listens = (
        OwnersGone,
        ProjectsChanged,
        QuotaChanged,
        RequestsWithdrawn,
        TokensRefused,
        ZonesGone,
    )
    options = (
        cfg.IntOpt(
            "commit_size",
            default=200,
            min=1,
            max=10_000,
            mutable=True,
            help="Most build messages that are stored in one transaction.",
        ),
        cfg.FloatOpt(
            "debounce_s",
            default=0.02,
            min=0,
            max=60,
            mutable=True,
            help="Shortest time in seconds between two transactions that store what arrived: what "
            "arrives meanwhile goes into one.",
        ),
        cfg.ListOpt(
            "qos_names",
            default=["normal"],
            help="Names of the QOS that a request may ask for with metadata synergy:qos.",
        ),
    )

    def __init__(
        self,
        conf: Any,
        clock: Clock,
        publish: Publish,
        wake: Wake,
        store: Store,
        intake: Intake,
        conductor: Conductor,
        compute: Compute,
    ) -> None:
        self._conf, self._clock, self._publish, self._wake = conf, clock, publish, wake
        self._store, self._intake, self._conductor = store, intake, conductor
        self._projects: dict[str, Project] | None = None
        self._quota: Ceilings | None = None
        self._never_why: dict[RequestClass, str] = {}
        self._associations: dict[tuple[str, str], int] = {}
        self._newcomers: set[str] = set()  # projects with a user that this batch made known
        self._limits = WaitingLimits(clock, store, DeletedWaiting(clock, publish, store, compute))
        self._damaged: Mapping[str, str] = {}  # managed projects whose rows cannot be read
        self._batch: Sequence[Delivery] = ()
        self._conflicts = 0  # runs in a row that another writer broke off
        self._passed: set[str] = set()
        self._refusals = Refusals(store, conductor)

    def setup(self) -> None:
        self._intake.on_arrival(self._wake)

    def on_event(self, event: Fact) -> None:
        if isinstance(event, ProjectsChanged):
            self.resync()
        elif isinstance(event, QuotaChanged):
            self._quota = Ceilings(QuotaTree(event.state, event.state.resource_classes()))
            self._never_why.clear()
        elif isinstance(event, TokensRefused):
            self._refuse(event.request_ids, f"its token would not last: {event.why}")
        elif isinstance(event, OwnersGone):
            self._cancel_gone(event)
        elif isinstance(event, ZonesGone):
            self._refuse_zones(event.zones)
        elif isinstance(event, RequestsWithdrawn):
            self._refusals.left |= any(r.state in REFUSALS for r in event.requests)

    def resync(self) -> None:
        self._projects = None
        self._limits.forget()
        self._associations.clear()
        self._never_why.clear()
        self._refusals.left = True

    def task(self) -> float | None:
        if self._refusals.left:
            self._refusals.send()
        for _ in range(BATCHES_AT_ONCE):
            if not self._batch:
                self._batch = self._intake.fetch(limit=self._conf.commit_size)
            if not self._batch:
                return None
            try:
                self._take_in(self._batch)
            except Conflict:
                self._conflicts += 1
                raise
            self._batch, self._conflicts = (), 0
        return 0.0

    # --- intake -----------------------------------------------------------------------------------

    def _take_in(self, batch: Sequence[Delivery]) -> None:
        """Store a batch, hand over what nobody manages any longer, and acknowledge it all."""
        passing: list[BuildRequest] = []
        lasting = self._conflicts >= MOST_CONFLICTS  # then it is no other writer, but an item
        handle_apart(
            batch,
            lambda part: self._store_part(part, passing),
            self._set_aside,
            passing=(UpstreamUnavailable,) if lasting else PASSING,
        )
        self._let_pass(passing)
        self._intake.acknowledge(batch)
        self._passed.clear()

    def _store_part(self, part: Sequence[Delivery], passing: list[BuildRequest]) -> None:
        """Store messages in one transaction, then tell everyone."""
        self._newcomers.clear()
        managed = self._managed()
        builds = [build for delivery in part for build in delivery.requests]
        self._limits.make_room(builds, managed)
        with self._store.writing() as uow:
            entries, unmanaged = self._admit_all(uow, part, managed)
            uow.requests.add(entries)
            uow.commit()
        passing += unmanaged
        if self._newcomers:
            self._publish(ProjectsChanged(frozenset(self._newcomers)))
        requests = [move.request for move, _ in entries]
        queued = tuple(r for r in requests if r.state is State.QUEUED)
        if queued:
            self._publish(RequestsQueued(queued))
        if len(queued) < len(requests):
            self._publish(RequestsRefused(tuple(r for r in requests if r.state is State.REJECTED)))
            self._refusals.send()

    def _set_aside(self, delivery: Delivery, error: Exception) -> None:
        """Keep a message that cannot be stored for a person; the others of its batch go on."""
        with self._store.writing() as uow:
            self._quarantine(uow, delivery, in_words(error))
            uow.commit()

    def _let_pass(self, passing: Sequence[BuildRequest]) -> None:
        """Hand over what nobody manages any longer. Raises HandOverFailed, then it comes again."""
        todo = [build for build in passing if build.server_id not in self._passed]
        if not todo:
            return
        failed = ""
        for build, receipt in zip(
            todo, self._conductor.build([Parcel(build.body) for build in todo]), strict=True
        ):
            if receipt.handed is Handed.NOT_SENT:
                failed = receipt.why
                continue
            self._passed.add(build.server_id)
            if receipt.handed is not Handed.SENT:
                LOG.error(
                    "server %s of an unmanaged project may wait for ever: %s",
                    build.server_id, receipt.why,
                )  # fmt: skip
        if failed:
            raise HandOverFailed(failed)

    def _managed(self) -> Mapping[str, Project]:
        if self._projects is None:
            with self._store.reading() as uow:
                self._projects = {project.project_id: project for project in uow.projects.all()}
                self._damaged = uow.projects.damaged()
        return self._projects

    def _admit_all(
        self, uow: Writing, batch: Sequence[Delivery], managed: Mapping[str, Project]
    ) -> tuple[list[tuple[Move, bytes]], list[BuildRequest]]:
        entries: list[tuple[Move, bytes]] = []
        passing: list[BuildRequest] = []
        builds: list[BuildRequest] = []
        for delivery in batch:
            if why := delivery.unreadable or self._why_damaged(delivery):
                self._quarantine(uow, delivery, why)
            else:
                builds += delivery.requests
        seen = uow.requests.known([build.server_id for build in builds])
        room = self._limits.room(uow, builds, managed)
        for build in builds:
            if build.server_id in seen:
                continue  # delivered again
            seen.add(build.server_id)
            project = managed.get(build.project_id)
            if project is None:
                passing.append(build)
            else:
                entries.append((self._admit(uow, build, project, room), build.body))
        return entries, passing

    def _why_damaged(self, delivery: Delivery) -> str:
        for build in delivery.requests:
            if build.project_id in self._damaged:
                return (
                    f"project {build.project_id} cannot be read: {self._damaged[build.project_id]}"
                )
        return ""

    def _quarantine(self, uow: Writing, delivery: Delivery, why: str) -> None:
        if uow.requests.quarantine(delivery.message_id, delivery.body, why, self._clock.now()):
            LOG.error("message %s is QUARANTINED: %s", ascii(delivery.message_id)[1:-1], why)

    def _admit(self, uow: Writing, build: BuildRequest, project: Project, room: Room) -> Move:
        """Return the first step of a request: into the queue, or refused with a reason."""
        now = self._clock.now()
        reason = ""
        try:
            asked = wishes(
                project,
                metadata=build.metadata,
                extra_specs=build.extra_specs,
                user_data_quota=build.user_data_quota,
                qos_names=self._conf.qos_names,
            )
        except InvalidInput as error:
            reason = str(error)
            asked = Wishes(
                quota=QuotaKind.SHARED,
                on_private_full=OnPrivateFull.REJECT,
                ttl_s=project.ttl_s,
                qos="normal",
                nice=0,
            )
        kind = RequestClass(
            association_id=self._association_id(uow, build),
            demand=build.demand,
            quota=asked.quota,
            on_private_full=asked.on_private_full,
            qos=asked.qos,
            nice=asked.nice,
            ttl_s=asked.ttl_s,
            constraints=bound_to(asked, build.constraints),
        )
        reason = reason or self._never(kind) or room.why_none(project, build.user_id)
        request = Request(
            request_id=build.server_id,
            class_id=uow.requests.class_id(kind),
            request_class=kind,
            project_id=project.project_id,
            user_id=build.user_id,
            server_name=build.server_name,
            flavor=build.flavor,
            batch_id=build.batch_id,
            queued_at=now,
            changed_at=now,
            ttl_s=asked.ttl_s,
        )
        if reason:
            return transition(request, Event.REFUSED, now, why=reason)
        room.add(project.project_id, build.user_id)
        return transition(request, Event.ADMITTED, now)

    def _association_id(self, uow: Writing, build: BuildRequest) -> int:
        """Return the (project, user) leaf; one that this transaction makes is not remembered, as
        it may roll back."""
        owner = (build.project_id, build.user_id)
        if owner not in self._associations:
            self._associations |= {
                (a.project_id, a.user_id): a.association_id
                for a in uow.projects.associations()
                if a.active
            }
        if owner in self._associations:
            return self._associations[owner]
        self._newcomers.add(build.project_id)
        return uow.projects.association(*owner, build.user_name).association_id

    def _never(self, kind: RequestClass) -> str:
        """Return why the class can never fit, "" if it may or nothing is known yet."""
        if self._quota is None:
            return ""
        if kind not in self._never_why:
            why = self._quota.why(user_node(kind.association_id), kind)
            self._never_why[kind] = f"never_fits: {why}" if why else ""
        return self._never_why[kind]

    def _refuse(self, request_ids: Sequence[str], why: str) -> None:
        """Refuse those that still wait; their users are told in the next run."""
        with self._store.writing() as uow:
            found = uow.requests.find(request_ids).values()
            waiting = [one for one in found if one.state is State.QUEUED]
            now = self._clock.now()
            uow.requests.save([transition(one, Event.REFUSED, now, why=why) for one in waiting])
            uow.commit()
        if waiting:
            self._publish(RequestsWithdrawn(tuple(waiting)))
            self._refusals.left = True

    def _cancel_gone(self, event: OwnersGone) -> None:
        """Cancel what waits for owners who are gone; page by page, since all of it may."""
        waiting = tuple(lifecycle.WAITING)
        for project_id, user_id, why in event.owners:
            while True:
                with self._store.writing() as uow:
                    page = uow.requests.search(
                        states=waiting, project_id=project_id, user_id=user_id, limit=1000
                    )
                    now = self._clock.now()
                    uow.requests.save(
                        [transition(one, Event.CANCELLED, now, why=why) for one in page]
                    )
                    uow.commit()
                if not page:
                    break
                LOG.warning(
                    "%d request(s) of user %s in project %s are cancelled: %s",
                    len(page), user_id, project_id, why,
                )  # fmt: skip
                self._refusals.left = True
                queued = tuple(one for one in page if one.state is State.QUEUED)
                if queued:
                    self._publish(RequestsWithdrawn(queued))

    def _refuse_zones(self, zones: frozenset[str]) -> None:
        """Refuse what waits for zones that exist no longer: Nova would build it elsewhere."""
        found: dict[str, list[str]] = {}
        with self._store.reading() as uow:
            for line in uow.requests.lines():
                zone = dict(line.request_class.constraints).get(AVAILABILITY_ZONE)
                if zone not in zones:
                    continue
                ids = [
                    str(uuid.UUID(bytes=line.ids[start : start + 16]))
                    for start in range(0, len(line.ids), 16)
                ]
                refused = f"its availability zone {zone} does not exist any more"
                LOG.warning("%d request(s) are refused: %s", len(ids), refused)
                found[refused] = found.get(refused, []) + ids
        for why, ids in found.items():
            self._refuse(ids, why)

    # --- commands ---------------------------------------------------------------------------------

    @command(
        {
            "project_id": _ID,
            "user_id": _ID,
            "state": {"type": "array", "items": {"enum": [state.value for state in State]}},
            "quota": {"enum": [kind.value for kind in QuotaKind]},
            "flavor": _NAME,
            "name": _NAME,
            "batch_id": _ID,
            "sort_key": {"enum": list(SORT_KEYS)},
            "sort_dir": {"enum": ["asc", "desc"]},
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            "marker": _ID,
        },
        beside=True,
    )
    def do_list(
        self,
        state: Sequence[str] = (),
        quota: str | None = None,
        sort_key: str = "received",
        sort_dir: str = "asc",
        limit: int = 100,
        marker: str | None = None,
        **filters: str,
    ) -> Json:
        """List requests, by default in the order in which they were received."""
        with self._store.reading() as uow:
            found = uow.requests.search(
                states=[State(one) for one in state],
                quota=QuotaKind(quota) if quota else None,
                sort_key=sort_key,
                descending=sort_dir == "desc",
                limit=limit,
                after=marker,
                **filters,
            )
        return [request_json(request) for request in found]

    @command({"request_id": _ID}, required=["request_id"], beside=True)
    def do_show(self, request_id: str) -> Json:
        """Show a request with its ledger."""
        with self._store.reading() as uow:
            request = uow.requests.get(request_id)
            steps = uow.requests.steps(request_id)
        return request_json(request) | {"history": [step_json(step) for step in steps]}

    @command(
        {
            "project_id": _ID,
            "request_id": _ID,
            "event": {"enum": [event.value for event in Event]},
            "since": {"type": "string", "format": "date-time", "maxLength": 40},
            "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
            "marker": {"type": "integer", "minimum": 0, "maximum": 2**62},
        },
        beside=True,
    )
    def do_events(
        self,
        event: str | None = None,
        since: str | None = None,
        limit: int = 100,
        marker: int = 0,
        **filters: str,
    ) -> Json:
        """List what happened to requests, oldest first; `marker` is the last number seen."""
        with self._store.reading() as uow:
            found = uow.requests.events(
                event=Event(event) if event else None,
                since=read_instant("since", since) if since else None,
                limit=limit,
                after=marker,
                **filters,
            )
        return [
            {
                "number": entry.number,
                "project_id": entry.project_id,
                "request_id": entry.step.request_id,
                **step_json(entry.step),
            }
            for entry in found
        ]

    @command(beside=True)
    def do_counts(self) -> Json:
        """Count the requests in each state."""
        with self._store.reading() as uow:
            return {state.value: count for state, count in uow.requests.counts().items()}

    @command(
        {"request_id": _ID, "why": {"type": "string", "maxLength": 150}, "if_match": IF_MATCH},
        required=["request_id"],
    )
    def do_cancel(
        self,
        request_id: str,
        why: str = "cancelled by an operator",
        if_match: Sequence[str] | None = None,
    ) -> Json:
        """Withdraw a waiting request; its server ends in ERROR with the reason."""
        shown = self._move(request_id, Event.CANCELLED, why, if_match)
        self._refusals.send()
        return shown

    @command({"request_id": _ID, "by": _BY, "if_match": IF_MATCH}, required=["request_id"])
    def do_hold(
        self, request_id: str, by: str = "admin", if_match: Sequence[str] | None = None
    ) -> Json:
        """Keep a waiting request from being dispatched; an administrator's hold is the stronger."""
        return self._move(request_id, Event.PAUSED, f"held_by_{by}", if_match)

    @command({"request_id": _ID, "by": _BY, "if_match": IF_MATCH}, required=["request_id"])
    def do_release(
        self, request_id: str, by: str = "admin", if_match: Sequence[str] | None = None
    ) -> Json:
        """Give a held or quarantined request back to the queue."""
        return self._move(request_id, Event.RESUMED, "", if_match, by=by)

    @command(
        {
            "request_id": _ID,
            "by_s": {"type": "integer", "minimum": 1, "maximum": 366 * 86_400},
            "if_match": IF_MATCH,
        },
        required=["request_id", "by_s"],
    )
    def do_extend(self, request_id: str, by_s: int, if_match: Sequence[str] | None = None) -> Json:
        """Let a running shared server live `by_s` seconds longer."""
        with self._store.writing() as uow:
            request = uow.requests.get(request_id)
            check_revision(request_json(request), if_match)
            if request.state is not State.ACTIVE or request.expires_at is None:
                raise IllegalTransition(
                    f"request {request_id} is {request.state} and has no end to extend: only a "
                    "running server on the shared quota has one"
                )
            if request.ttl_s + by_s > LONGEST_TTL_S:
                raise InvalidInput(
                    f"by_s is {by_s}, but request {request_id} lives {request.ttl_s} s already, "
                    f"and none may live longer than {LONGEST_TTL_S} s"
                )
            later = request.expires_at + timedelta(seconds=by_s)
            longer = replace(request, expires_at=later, ttl_s=request.ttl_s + by_s)
            why = f"until {later.isoformat()}"
            move = transition(longer, Event.EXTENDED, self._clock.now(), why=why)
            uow.requests.save([move])
            uow.commit()
        return request_json(move.as_saved())

    @command(beside=True)
    def do_quarantine(self) -> Json:
        """List the messages that could not be read and are kept aside."""
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
    ) -> Json:
        with self._store.writing() as uow:
            request = uow.requests.get(request_id)
            check_revision(request_json(request), if_match)
            if by == "user" and request.why == HELD_BY_ADMIN and request.state is State.HELD:
                raise IllegalTransition(
                    f"request {request_id} is held by an administrator: only one of them can "
                    "release it"
                )
            if event is Event.CANCELLED and request.state not in lifecycle.WAITING:
                raise IllegalTransition(
                    f"request {request_id} is {request.state}: only a waiting one can be cancelled"
                )
            move = transition(request, event, self._clock.now(), why=why)
            if event is Event.RESUMED:
                fresh = replace(move.request, attempts=0, retry_at=None)
                move = replace(move, request=fresh)
            uow.requests.save([move])
            uow.commit()
        if move.request.state is State.QUEUED:
            self._publish(RequestsQueued((move.request,)))
        elif request.state is State.QUEUED:
            self._publish(RequestsWithdrawn((request,)))
        return request_json(move.as_saved())
