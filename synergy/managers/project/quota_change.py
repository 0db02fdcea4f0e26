"""Shows in numbers what a change of a project does to the shared quota, before it is made.

Why: one wrong amount turns the shared quota of the whole cloud off. The numbers come from the same
functions that size the shared quota, so what is told is what would happen. Must not change
anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from synergy.core.accounts import claim_of, domain_node, project_node, quota_nodes
from synergy.core.declared.answers import projects as answers
from synergy.core.declared.fields import limits_of, read
from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.core.errors import Conflict
from synergy.core.model import NOTHING, Project, QuotaKind, Resources, total
from synergy.core.quota import QuotaNode, QuotaState, SharedSize
from synergy.ports import Reading

LIMITS: Final = tuple(one.name for one in limits_of(PROJECT_SETTINGS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """What a change does.

    would_wait  waiting requests that the shared quota could hold, and could not any longer
    unknown     what the change newly names of resource classes that no host has
    """

    before: SharedSize
    after: SharedSize
    would_wait: int
    unknown: Resources

    def words(self) -> list[str]:
        """Return a sentence part for each resource class that changes."""
        names = sorted({*self.before.shared, *self.after.shared})
        parts = [
            f"shared {name} {self.before.shared.get(name, 0)} -> {self.after.shared.get(name, 0)}"
            for name in names
            if self.before.shared.get(name, 0) != self.after.shared.get(name, 0)
        ]
        parts += [f"{name} short by {amount}" for name, amount in self.after.shortfall.items()]
        parts += [f"{self.would_wait} requests would wait"] if self.would_wait else []
        return parts

    def check(self) -> None:
        """Raise Conflict, saying how to go on, when the change can hurt the whole cloud."""
        go_on = "; correct it, or use force (--force)"
        if self.unknown:
            raise Conflict(f"no host has {', '.join(sorted(self.unknown))}{go_on}")
        worse = self.after.shortfall - self.before.shortfall
        if worse.at_least_zero():
            raise Conflict(
                f"the private quotas would exceed the cloud: {', '.join(self.words())}{go_on}"
            )

    def json(self) -> answers.Effects:
        """Return the effects as the API shows them."""
        names = sorted({*self.before.shared, *self.after.shared})
        return {
            "shared_before": {name: self.before.shared.get(name, 0) for name in names},
            "shared_after": {name: self.after.shared.get(name, 0) for name in names},
            "shortfall": dict(self.after.shortfall),
            "would_wait": self.would_wait,
            "unknown": dict(self.unknown),
            "text": ", ".join(self.words()) or "the shared quota stays as it is",
        }


def effects_of(uow: Reading, state: QuotaState, before: Project | None, after: Project) -> Effects:
    """Return what it does to replace a project, or to take a new one in."""
    claims = [claim_of(*entry) for entry in uow.requests.claims()]
    was, becomes = state.size(claims), _with(state, after).size(claims)
    waiting = 0
    for line in uow.requests.lines():
        kind = line.request_class
        if kind.quota is QuotaKind.SHARED and kind.demand.fits_in(was.shared):
            waiting += 0 if kind.demand.fits_in(becomes.shared) else len(line.queued_at_s)
    named = total(_new_amounts(before, after, name) for name in LIMITS)
    return Effects(before=was, after=becomes, would_wait=waiting, unknown=state.no_host_has(named))


def check_together(uow: Reading, state: QuotaState, added: Sequence[Project]) -> None:
    """Raise Conflict when to take all of these projects in can hurt the whole cloud."""
    claims = [claim_of(*entry) for entry in uow.requests.claims()]
    state = _with_managed(uow, state)
    becomes = state
    for project in added:
        becomes = _with(becomes, project)
    named = total(_new_amounts(None, project, "private") for project in added)
    Effects(
        before=state.size(claims),
        after=becomes.size(claims),
        would_wait=0,
        unknown=state.no_host_has(named),
    ).check()


def _with_managed(uow: Reading, state: QuotaState) -> QuotaState:
    """Return the state with the projects that are managed now: some came since it was found."""
    managed = uow.projects.all()
    known = {project.project_id for project in managed}
    return replace(
        state,
        nodes=quota_nodes(uow.projects.domains(), managed, uow.projects.associations()),
        unmanaged=tuple(one for one in state.unmanaged if one.project_id not in known),
    )


def changed_settings(project: Project, given: Mapping[str, Any], state: QuotaState) -> Project:
    """Return a project with settings changed; of a limit, what is not named stays."""
    others = [one for one in PROJECT_SETTINGS if one.name not in LIMITS]
    values = read(given, others)
    for name in LIMITS:
        if name in given:
            values[name] = merged(name, getattr(project, name), given[name], state)
    if "private" in values:
        values["private"] = Resources.of(values["private"] or NOTHING)
    return replace(project, **values)


def _new_amounts(before: Project | None, after: Project, name: str) -> Resources:
    known: Mapping[str, int] = (getattr(before, name) if before else None) or {}
    amounts: Resources = getattr(after, name) or NOTHING
    return Resources.of({key: value for key, value in amounts.items() if known.get(key) != value})


def _with(state: QuotaState, project: Project) -> QuotaState:
    """Return the state with a project as it would be."""
    node = QuotaNode(
        node_id=project_node(project.project_id),
        parent_id=_parent(state, project),
        private=project.private,
        max_servers=project.max_private_servers,
        borrow_limit=project.borrow_limit,
        lend_limit=project.lend_limit,
    )
    if any(one.node_id == node.node_id for one in state.nodes):
        nodes = tuple(
            replace(node, parent_id=one.parent_id) if one.node_id == node.node_id else one
            for one in state.nodes
        )
    else:
        nodes = (*state.nodes, node)
    others = tuple(one for one in state.unmanaged if one.project_id != project.project_id)
    return replace(state, nodes=nodes, unmanaged=others)


def _parent(state: QuotaState, project: Project) -> str:
    known = {node.node_id for node in state.nodes}
    wanted = domain_node(project.domain_id)
    return wanted if wanted in known else state.nodes[0].node_id


def merged(
    name: str, known: Resources | None, given: Mapping[str, int | None] | None, state: QuotaState
) -> Resources | None:
    """Return a limit with some classes changed; those that are not named stay as they are.

    name   of the setting, for errors
    known  None bounds nothing, an empty one bounds every class to 0
    given  None bounds nothing any longer; a class with None is not bounded any longer
    """
    if not given:
        return None if given is None else known
    amounts: dict[str, int | None]
    if known is not None and not known:
        amounts = dict.fromkeys(state.resource_classes(), 0)
    else:
        amounts = dict(known or {})
    amounts |= given
    left = {key: amount for key, amount in amounts.items() if amount is not None}
    return None if amounts and not left else Resources.limit(left, of=name)
