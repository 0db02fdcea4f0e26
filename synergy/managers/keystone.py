"""Keeps a way to act for users whose requests wait longer than their tokens live.

Why: a request may be dispatched hours after its user's token expired, so a trust is made while the
token lives and deleted when nobody waits on it. The intent to make one is stored before, so that
none is left behind. Must not know when requests are dispatched.
"""

import logging
from collections.abc import Sequence
from typing import Any

from oslo_config import cfg

from synergy.core.errors import InvalidInput, NotFound
from synergy.core.events import Fact, RequestsQueued
from synergy.managers.base import Json, Manager, command
from synergy.ports import Conductor, Identity, OpenUnitOfWork, Trust

LOG = logging.getLogger(__name__)


class KeystoneManager(Manager):
    """One trust for each user and project with waiting requests."""

    name = "keystone"
    listens = (RequestsQueued,)
    options = (
        cfg.BoolOpt(
            "use_trusts",
            default=True,
            help="Keep a trust for each user with waiting requests. Turn it off where Nova sends "
            "service-user tokens along.",
        ),
    )

    def __init__(
        self, conf: Any, unit_of_work: OpenUnitOfWork, identity: Identity, conductor: Conductor
    ) -> None:
        self._conf, self._unit_of_work = conf, unit_of_work
        self._identity, self._conductor = identity, conductor
        self._trusted: set[tuple[str, str]] | None = None
        self._asked: dict[tuple[str, str], str] = {}  # owner -> a request of his
        self._sweep = True

    def on_event(self, event: Fact) -> None:
        if isinstance(event, RequestsQueued):
            for request in event.requests:
                owner = (request.project_id, request.user_id)
                if self._trusted is None or owner not in self._trusted:
                    self._asked[owner] = request.request_id
            self._sweep = False

    def resync(self) -> None:
        self._trusted = None

    def task(self) -> float | None:
        if not self._conf.use_trusts:
            self._asked.clear()
            return None
        if self._trusted is None or self._sweep:
            self._tidy()
        self._sweep = True  # unless events ask first, the next run is a periodic one
        while self._asked:
            owner, request_id = next(iter(self._asked.items()))
            self._make_trust(owner, request_id)
            del self._asked[owner]
        return None

    def _tidy(self) -> None:
        """Ask for the trusts that are missing, and delete those that nobody waits on."""
        with self._unit_of_work() as uow:
            owners = uow.requests.waiting_owners()
            trusts, intended = uow.trusts.all(), uow.trusts.intended()
        for owner in intended:
            self._clear(owner)
        self._trusted = {(t.project_id, t.user_id) for t in trusts}
        self._asked |= {o: r for o, r in owners.items() if o not in self._trusted}
        self._delete([t for t in trusts if (t.project_id, t.user_id) not in owners])

    def _delete(self, trusts: Sequence[Trust]) -> None:
        for trust in trusts:
            self._identity.delete_trust(trust.trust_id)
            with self._unit_of_work() as uow:
                uow.trusts.remove(trust.trust_id)
                uow.commit()
            if self._trusted is not None:
                self._trusted.discard((trust.project_id, trust.user_id))

    def _clear(self, owner: tuple[str, str]) -> None:
        """Delete what a making that broke off left in Keystone: trusts that are stored nowhere."""
        project_id, user_id = owner
        with self._unit_of_work() as uow:
            known = {trust.trust_id for trust in uow.trusts.all()}
        for trust_id in self._identity.trusts_of(user_id, project_id):
            if trust_id not in known:
                LOG.info("trust %s of user %s was made and not stored", trust_id, user_id)
                self._identity.delete_trust(trust_id)
        with self._unit_of_work() as uow:
            uow.trusts.give_up(project_id, user_id)
            uow.commit()

    def _make_trust(self, owner: tuple[str, str], request_id: str) -> None:
        with self._unit_of_work() as uow:
            body = uow.requests.bodies([request_id]).get(request_id)
            intended = owner in uow.trusts.intended()
        if body is None or self._trusted is None or owner in self._trusted:
            return
        if intended:
            self._clear(owner)  # the last try broke off
        with self._unit_of_work() as uow:
            uow.trusts.intend(*owner)
            uow.commit()
        found = self._conductor.credentials(body)
        try:
            trust_id = self._identity.create_trust(
                found.token, project_id=owner[0], roles=found.roles
            )
        except (InvalidInput, NotFound) as error:
            LOG.warning(
                "no trust for user %s of project %s: %s; the requests' own tokens are used",
                owner[1], owner[0], error,
            )  # fmt: skip
            with self._unit_of_work() as uow:
                uow.trusts.give_up(*owner)
                uow.commit()
            return
        with self._unit_of_work() as uow:
            uow.trusts.add(Trust(project_id=owner[0], user_id=owner[1], trust_id=trust_id))
            uow.commit()
        self._trusted.add(owner)

    @command()
    def do_trusts(self) -> Json:
        """List whom Synergy keeps trusts for."""
        with self._unit_of_work() as uow:
            return [{"project_id": t.project_id, "user_id": t.user_id} for t in uow.trusts.all()]
