"""Keeps a way to act for users whose requests wait longer than their tokens live.

Why: a request may be dispatched hours after its user's token expired, so a trust is made while the
token lives and deleted when nobody waits on it. The intent to make one is stored before, so that
none is left behind. Must not know when requests are dispatched.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from oslo_config import cfg

from synergy.core.declared.answers import ends as answers
from synergy.core.errors import InvalidInput, NotFound, error_line
from synergy.core.events import OwnersGone, RequestsQueued, TokensRefused
from synergy.managers.base import Manager, Publish, command, every, on
from synergy.managers.support.owners import Owner, Owners
from synergy.ports import Conductor, Credentials, Identity, Store, Trust, Wake

LOG = logging.getLogger(__name__)
T = TypeVar("T")
_MAX_FAILURES: Final = 3  # in a row, before the service itself seems to be away
_AT_ONCE: Final = 100  # requests of one user whose tokens are looked at together


class KeystoneManager(Manager):
    """One trust for each user and project with waiting requests."""

    name = "keystone"
    needed = True
    stopped_means = (
        "no trust is made, so a request whose token expires while it waits is not started"
    )
    options = (
        cfg.BoolOpt(
            "use_trusts",
            default=True,
            help="Keep a trust for each user with waiting requests. Turn it off where Nova sends "
            "service-user tokens along.",
        ),
        cfg.StrOpt(
            "without_trust",
            default="keep",
            choices=[
                (
                    "keep",
                    (
                        "It is dispatched with its own token, which works while that lives, or "
                        "where Nova sends service-user tokens along."
                    ),
                ),
                ("refuse", "Its server ends in ERROR with the reason."),
            ],
            help="What to do with a waiting request whose token makes no trust, since it comes "
            "from a trust or from an application credential.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        publish: Publish,
        store: Store,
        identity: Identity,
        conductor: Conductor,
        owners: Owners,
        wake: Wake,
    ) -> None:
        self._conf, self._publish, self._store = conf, publish, store
        self._identity, self._conductor = identity, conductor
        self._owners, self._wake = owners, wake
        self._trusted: set[Owner] | None = None
        self._asked: dict[Owner, list[str]] = {}  # owner -> requests, the latest last

    def setup(self) -> None:
        self._identity.on_change(self._on_change)

    def _on_change(self) -> None:
        self._owners.forget()
        self.soon(self._sweep)
        self._wake()

    @on(RequestsQueued)
    def _trust_their_users(self, fact: RequestsQueued) -> None:
        for request in fact.requests:
            owner = (request.project_id, request.user_id)
            if self._trusted is None or owner not in self._trusted:
                self._asked.setdefault(owner, []).append(request.request_id)

    def resync(self) -> None:
        self._trusted = None
        self.soon(self._sweep)

    def task(self) -> float | None:
        if not self._conf.use_trusts:
            self._asked.clear()
        elif self._trusted is not None:  # else the sweep finds out first, which is due
            self._one_by_one(list(self._asked), self._make_trust_for)
        return None

    @every("rate_s")
    def _sweep(self) -> None:
        """Report whose requests wait although they may have no servers any more, make the trusts
        that are missing, and delete those that nobody waits on."""
        self._report_gone()
        if self._conf.use_trusts:
            self._tidy()
            self._one_by_one(list(self._asked), self._make_trust_for)

    def _make_trust_for(self, owner: Owner) -> None:
        self._make_trust_of_any(owner, self._asked[owner])
        del self._asked[owner]

    def _one_by_one(self, items: Sequence[T], act: Callable[[T], None]) -> None:
        """Act on each: one with which that fails is left to a later run, behind the others.

        Raises what several in a row raise: then it is the service that is away, and no item.
        """
        failed_in_a_row = 0
        for item in items:
            try:
                act(item)
            except Exception as error:
                failed_in_a_row += 1
                if failed_in_a_row == len(items) or failed_in_a_row >= _MAX_FAILURES:
                    raise
                LOG.warning("trust of %s is left to a later run: %s", item, error_line(error))
                if isinstance(item, tuple) and item in self._asked:
                    self._asked[item] = self._asked.pop(item)
            else:
                failed_in_a_row = 0

    def _report_gone(self) -> None:
        """Report whose requests wait although they may have no servers any more."""
        with self._store.reading() as uow:
            owners = uow.requests.waiting_owners()
        gone, unanswered = self._owners.gone(owners)
        for owner, why in unanswered.items():
            LOG.warning(
                "whether user %s of project %s is gone cannot be asked now: %s",
                owner[1],
                owner[0],
                error_line(why),
            )
        if gone:
            self._publish(OwnersGone(tuple((*owner, why) for owner, why in gone.items())))

    def _tidy(self) -> None:
        """Ask for the trusts that are missing, and delete those that nobody waits on."""
        with self._store.reading() as uow:
            owners = uow.requests.waiting_owners()
            trusts, intended = uow.trusts.all(), uow.trusts.intended()
        self._one_by_one(sorted(intended), self._clear)
        self._trusted = {(t.project_id, t.user_id) for t in trusts}
        for owner, request_id in owners.items():
            if owner not in self._trusted:
                self._asked.setdefault(owner, []).append(request_id)
        self._one_by_one(
            [t for t in trusts if (t.project_id, t.user_id) not in owners], self._delete
        )

    def _delete(self, trust: Trust) -> None:
        self._identity.delete_trust(trust.trust_id)
        with self._store.writing() as uow:
            uow.trusts.remove(trust.trust_id)
            uow.commit()
        if self._trusted is not None:
            self._trusted.discard((trust.project_id, trust.user_id))

    def _clear(self, owner: Owner) -> None:
        """Delete what a making that broke off left in Keystone: trusts that are stored nowhere."""
        project_id, user_id = owner
        with self._store.reading() as uow:
            known = {trust.trust_id for trust in uow.trusts.all()}
        for trust_id in self._identity.trusts_of(user_id, project_id):
            if trust_id not in known:
                LOG.info("trust %s of user %s was made and not stored", trust_id, user_id)
                self._identity.delete_trust(trust_id)
        with self._store.writing() as uow:
            uow.trusts.give_up(project_id, user_id)
            uow.commit()

    def _make_trust_of_any(self, owner: Owner, request_ids: Sequence[str]) -> None:
        """Make a trust with the token of one of a user's requests; the latest lives longest."""
        latest_first, tried = list(reversed(request_ids)), dict[str, str]()
        for start in range(0, len(latest_first), _AT_ONCE):
            if self._trusted is None or owner in self._trusted:
                return
            some = latest_first[start : start + _AT_ONCE]
            with self._store.reading() as uow:
                bodies = uow.requests.bodies(some)
                intended = owner in uow.trusts.intended()
            if intended:
                self._clear(owner)  # the last try broke off
            why = ""
            for request_id in some:
                if request_id not in bodies:
                    continue  # it waits no longer
                try:
                    found = self._conductor.credentials(bodies[request_id])
                except InvalidInput as error:
                    why = f"request {request_id}: {error}"
                    continue
                if found.token not in tried:
                    tried[found.token] = self._make_trust(owner, found)
                why = tried[found.token]
                if not why:
                    return
            if why:
                LOG.warning("no trust for user %s of project %s: %s", owner[1], owner[0], why)
                if self._conf.without_trust == "refuse":
                    self._publish(TokensRefused(tuple(bodies), why))

    def _make_trust(self, owner: Owner, found: Credentials) -> str:
        """Make and store a trust, and return "", or why it cannot be made."""
        project_id, user_id = owner
        with self._store.writing() as uow:
            uow.trusts.intend(project_id, user_id)
            uow.commit()
        why, trust_id = "", ""
        try:
            trust_id = self._identity.create_trust(
                found.token, project_id=project_id, roles=found.roles
            )
        except (InvalidInput, NotFound) as error:
            why = str(error)
        with self._store.writing() as uow:
            if trust_id:
                uow.trusts.add(Trust(project_id=project_id, user_id=user_id, trust_id=trust_id))
            else:
                uow.trusts.give_up(project_id, user_id)
            uow.commit()
        if trust_id and self._trusted is not None:
            self._trusted.add(owner)
        return why

    @command()
    def do_trusts(self) -> list[answers.TrustShown]:
        """List the users for whom Synergy keeps trusts."""
        with self._store.reading() as uow:
            return [{"project_id": t.project_id, "user_id": t.user_id} for t in uow.trusts.all()]
