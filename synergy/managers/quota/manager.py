"""Sizes the shared quota: what the cloud has beyond what its projects own.

Must not know requests, priorities or order. A shortfall stops anyone who asks for the resource
class that is short, and nobody else; the operator is told by how much and what caused it, and
nothing that runs is touched.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from synergy.core.accounts import claim_of, project_node
from synergy.core.declared.answers import usage as answers
from synergy.core.errors import UpstreamUnavailable
from synergy.core.events import ProjectsChanged, QuotaChanged, ShortfallChanged
from synergy.core.model import NOTHING, Resources
from synergy.core.quota import Claim, Owner, QuotaBook, QuotaState, QuotaTree, SharedSize
from synergy.core.shares import Ints
from synergy.core.shortfall import Balance, causes
from synergy.managers.base import Manager, Publish, command
from synergy.managers.quota.survey import QuotaSurvey, Survey
from synergy.managers.support.render import limit_json
from synergy.ports import (
    QuotaLimits,
    Reading,
    Store,
)

LOG = logging.getLogger(__name__)


class QuotaManager(Manager):
    """Capacity from Placement, private quotas from Nova and the store."""

    name = "quota"
    needed = True
    stopped_means = "the shared quota keeps its size, whatever hosts and quotas do"
    woken_by = (ProjectsChanged,)

    def __init__(
        self,
        publish: Publish,
        store: Store,
        quota_limits: QuotaLimits,
        survey: QuotaSurvey,
    ) -> None:
        self._publish, self._store, self._limits = publish, store, quota_limits
        self._survey = survey
        self._state: QuotaState | None = None
        self._size = SharedSize(shared=NOTHING, shortfall=NOTHING)
        self._balance: Balance | None = None
        self._causes: dict[str, list[str]] = {}  # of the shortfall, by resource class
        self._warnings: list[str] = []

    def task(self) -> float | None:
        # During a shortfall every project is asked about again: one of them may be its cure.
        survey = self._survey.look(fresh=bool(self._size.shortfall))
        state = survey.state
        with self._store.reading() as uow:
            claims = _claims(uow)
        size, balance = state.size(claims), _balance(survey, claims)
        self._report_shortfall(size.shortfall, balance)
        self._warn(balance)
        if self._state is None or size.shared != self._size.shared:
            LOG.info("the shared quota is %s of %s", size.shared, state.total)
        before, self._state, self._size, self._balance = self._size, state, size, balance
        if size.shortfall != before.shortfall:
            self._publish(ShortfallChanged(size.shortfall, before.shortfall))
        # At every pass: a listener that missed one gets the next.
        self._publish(QuotaChanged(state, survey.edition))
        return None

    def _report_shortfall(self, shortfall: Resources, balance: Balance) -> None:
        """Report for each resource class by how much it is short, and what changed."""
        before = self._size.shortfall
        for name in before:
            if not shortfall.get(name):
                LOG.info("the private quotas fit into the cloud again, in %s", name)
        known, self._causes = self._causes, {}
        for name, amount in shortfall.items():
            found = causes(self._balance, balance, name) if amount != before.get(name) else []
            self._causes[name] = found or known.get(name, [])
            if amount != before.get(name):
                LOG.error(
                    "the private quotas exceed the cloud by %s=%d: a request for %s gets "
                    "nothing of the shared quota beyond what is lent, until capacity comes back or "
                    "quotas are lowered. Since the last look: %s",
                    name, amount, name, "; ".join(self._causes[name]) or "nothing that is known",
                )  # fmt: skip

    def _warn(self, balance: Balance) -> None:
        """Log what an operator may not have meant, once."""
        found = balance.below_use()
        for name in sorted(self._limits.limited_classes()):
            found += [
                f"project {project} is unlimited in {name}: it counts with what it uses"
                for project in balance.without_limit(name)
            ]
        for text in found:
            if text not in self._warnings:
                LOG.warning("%s", text)
        self._warnings = found

    @command(answers.SHOW_QUOTA)
    def do_show(self, project_id: str | None = None) -> answers.Quota:
        """Show the cloud's capacity, the shared quota, and what each project uses.

        With a project, only what is its own and the shared quota.
        """
        state = self._state
        if state is None:
            raise UpstreamUnavailable(
                "the capacity of the cloud has not been read yet: try again in a minute"
            )
        with self._store.reading() as uow:
            shown = _shown(uow, state, self._causes, self._warnings)
        return shown if project_id is None else _own(shown, project_id)


def _own(shown: answers.Quota, project_id: str) -> answers.Quota:
    """Return what a project may see."""
    return {
        "total": None,
        "private_unmanaged": None,
        "shortfall": None,
        "lent": None,
        "shared_used": None,
        "shortfall_causes": None,
        "warnings": None,
        "shared": shown["shared"],
        "shared_free": shown["shared_free"],
        "projects": [one for one in shown["projects"] if one["id"] == project_id],
    }


def _claims(uow: Reading) -> list[Claim]:
    return [claim_of(*entry) for entry in uow.requests.claims()]


def _balance(survey: Survey, claims: Sequence[Claim]) -> Balance:
    """Return who owns what, managed or not."""
    state = survey.state
    names = {*state.resource_classes(), *(name for one in claims for name in one.private)}
    tree = QuotaTree(state, tuple(sorted(names)))
    book = QuotaBook(tree, claims)
    unlimited = frozenset(name for name in names if not state.is_limited(name))
    owners = [
        Owner(
            project_id=project.project_id,
            name=project.name,
            private=project.private,
            used=tree.resources(book.private_used[row]),
            unlimited=unlimited,
        )
        for project in survey.managed
        if (row := tree.row.get(project_node(project.project_id))) is not None
    ]
    return Balance(
        capacity={host.name: host.capacity for host in survey.hosts if host.up},
        owners={owner.project_id: owner for owner in (*state.unmanaged, *owners)},
    )


def _shown(
    uow: Reading, state: QuotaState, causes: Mapping[str, list[str]], warnings: list[str]
) -> answers.Quota:
    """Every resource class is shown, also where it is 0: what is full must not vanish."""
    claims = _claims(uow)
    names = {*state.resource_classes(), *(n for h in claims for n in {*h.private, *h.shared})}
    tree = QuotaTree(state, tuple(sorted(names)))
    book = QuotaBook(tree, claims)

    def amounts(row: Ints) -> dict[str, int]:
        return {name: int(row[at]) for at, name in enumerate(tree.resource_classes)}

    projects: list[answers.ProjectQuota] = []
    for project in uow.projects.all():
        row = tree.row.get(project_node(project.project_id))
        if row is None:
            continue
        projects.append(
            {
                "id": project.project_id,
                "name": project.name,
                "private": amounts(tree.private[row]),
                "private_used": amounts(book.private_used[row]),
                "max_private_servers": project.max_private_servers,
                "private_servers": int(book.private_servers[row]),
                "shared_used": amounts(book.shared_used[row]),
                "borrow_limit": limit_json(project.borrow_limit),
                "lend_limit": limit_json(project.lend_limit),
            }
        )
    shortfall = dict(book.size().shortfall)
    return {
        "total": amounts(tree.capacity),
        "private_unmanaged": amounts(tree.unmanaged),
        "shared": amounts(np.maximum(book.left, 0)),
        "shortfall": shortfall,
        "lent": amounts(book.lendable()),
        "shared_used": amounts(book.shared_used[0]),
        "shared_free": amounts(np.maximum(book.pool_free(), 0)),
        "projects": projects,
        "shortfall_causes": {name: found for name, found in causes.items() if shortfall.get(name)},
        "warnings": warnings,
    }
