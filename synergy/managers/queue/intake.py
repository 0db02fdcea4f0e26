"""Brings build messages from the broker into the store.

Why: one rule stands between the two, a message is acknowledged after the commit of its requests and
never before. Must not know how a request begins, nor what becomes of it.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from oslo_config import cfg

from synergy.core.batches import RetriedBatch
from synergy.core.errors import HandOverFailed, error_line
from synergy.core.events import ProjectsChanged, RequestsQueued, RequestsRefused
from synergy.core.lifecycle import Move
from synergy.core.model import Project, State
from synergy.managers.base import Publish
from synergy.managers.queue.admission import Admission
from synergy.managers.queue.limits import WaitingLimits
from synergy.managers.queue.refusals import Refusals
from synergy.ports import (
    BuildRequest,
    Clock,
    Conductor,
    Delivery,
    Handed,
    Intake,
    Parcel,
    Store,
    Writing,
)

LOG = logging.getLogger(__name__)
BATCHES_AT_ONCE: Final = 10  # then commands have their turn


class BuildIntake:
    """The batch at hand: one that another writer breaks off comes again in the next run."""

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        publish: Publish,
        store: Store,
        intake: Intake,
        conductor: Conductor,
        admission: Admission,
        limits: WaitingLimits,
        refusals: Refusals,
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._store, self._intake, self._conductor = store, intake, conductor
        self._admission, self._limits, self._refusals = admission, limits, refusals
        self._projects: dict[str, Project] | None = None
        self._damaged: Mapping[str, str] = {}  # managed projects whose rows cannot be read
        self._batch: Sequence[Delivery] = ()
        self._tries: RetriedBatch[Delivery] = RetriedBatch()
        self._passed: set[str] = set()  # of the batch, what nobody manages and was handed over

    def forget(self) -> None:
        """Read the managed projects again."""
        self._projects = None

    def take_in(self) -> bool:
        """Take in what arrived; tell whether more may be waiting."""
        for _ in range(BATCHES_AT_ONCE):
            if not self._batch:
                self._batch = self._intake.fetch(limit=self._conf.commit_size)
            if not self._batch:
                return False
            self._store_batch(self._batch)
            self._batch = ()
        return True

    def _store_batch(self, batch: Sequence[Delivery]) -> None:
        """Store a batch, hand over what nobody manages any longer, and acknowledge it all."""
        transient: list[BuildRequest] = []
        self._tries.handle(batch, lambda part: self._store_part(part, transient), self._set_aside)
        self._let_pass(transient)
        self._intake.acknowledge(batch)
        self._passed.clear()

    def _store_part(self, part: Sequence[Delivery], transient: list[BuildRequest]) -> None:
        """Store messages in one transaction, then tell everyone."""
        self._admission.newcomers.clear()
        managed = self._managed()
        builds = [build for delivery in part for build in delivery.requests]
        self._limits.make_room(builds, managed)
        with self._store.writing() as uow:
            entries, unmanaged = self._admit_all(uow, part, managed)
            uow.requests.add(entries)
            uow.commit()
        transient += unmanaged
        if self._admission.newcomers:
            self._publish(ProjectsChanged(frozenset(self._admission.newcomers)))
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
            self._quarantine(uow, delivery, error_line(error))
            uow.commit()

    def _let_pass(self, transient: Sequence[BuildRequest]) -> None:
        """Hand over what nobody manages any longer. Raises HandOverFailed, then it comes again."""
        todo = [build for build in transient if build.server_id not in self._passed]
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
        """Return the first step of each request with its body, and what nobody manages."""
        entries: list[tuple[Move, bytes]] = []
        transient: list[BuildRequest] = []
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
                transient.append(build)
            else:
                move = self._admission.first_step(uow, build, project, room)
                entries.append((move, build.body))
        return entries, transient

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
