"""Takes projects in, and lets them go, as `[project] manage` says.

Why: a whole cloud is run under Synergy without a script beside it. Ten thousand projects may come
at once, so a run works on one batch; one project that cannot be taken in rests and keeps no other
out. Letting go is what an error of Keystone or a mistyped rule could do to everybody, so anyone who
is missing is asked for by id, and more than a few at once wait for a person. Must not know how
Keystone is followed otherwise.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from synergy.core.backoff import Backoff
from synergy.core.batches import handle_individually
from synergy.core.declared.answers import projects as answers
from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.core.errors import (
    Conflict,
    NotFound,
    SynergyError,
    UpstreamUnavailable,
    error_line,
)
from synergy.core.events import OwnersGone
from synergy.core.membership import (
    Effect,
    Leaving,
    Manage,
    Rule,
    Scope,
    brake_on,
    effect_of,
)
from synergy.core.model import Domain, Handover, Project
from synergy.core.quota import QuotaState
from synergy.managers.base import Part, Publish
from synergy.managers.project.handover import QuotaHandover
from synergy.managers.project.keeping import keep_servers
from synergy.managers.project.quota_change import changed_settings, check_together
from synergy.managers.support.one_by_one import each_alone
from synergy.managers.support.option_types import template_of
from synergy.ports import Clock, Identity, ProjectView, Store

LOG = logging.getLogger(__name__)
BATCH: Final = 200  # projects that one run takes in
BATCH_S: Final = 5.0  # for so long it asks about them: commands of the manager wait meanwhile
LONGEST_LIST: Final = 1000  # entries of each list that a person is shown
ASIDE: Final = Backoff(initial_s=60.0, max_s=3600.0)


@dataclass(frozen=True, slots=True)
class _Aside:
    """A project that could not be taken in: until when it rests (monotonic), the code of the error,
    and why."""

    until_s: float
    failures: int
    cause: str
    why: str


class ByRule(Part):
    """Who is managed by rule. `look` says what is to be done, `step` does a batch of it."""

    def __init__(
        self,
        conf: Any,
        clock: Clock,
        publish: Publish,
        store: Store,
        identity: Identity,
        handover: QuotaHandover,
    ) -> None:
        """conf is the option group of the project manager, read again each time."""
        self._conf, self._clock, self._publish = conf, clock, publish
        self._store, self._identity, self._handover = store, identity, handover
        self._views: Mapping[str, ProjectView] = {}
        self._effect: Effect | None = None
        self._coming: list[str] = []  # of the last look, not worked on yet
        self._leaving: list[Leaving] = []
        self._aside: dict[str, _Aside] = {}
        self._applied: Rule | None = None
        self._brake = ""
        self._allowed: frozenset[str] = frozenset()  # a person let these go
        self._logged: dict[str, str] = {}  # what was logged of each project that cannot leave
        self.state: QuotaState | None = None  # the cloud, as the quota manager saw it last

    # --- what is to be done -----------------------------------------------------------------------

    def changed(self) -> bool:
        """Return whether the rule is another one than at the last look."""
        return self._applied is not None and self._without_own(self._applied) != self._configured()

    def _without_own(self, rule: Rule) -> Rule:
        return replace(rule, own=frozenset())

    def _configured(self, manage: str | None = None) -> Rule:
        return Rule(
            manage=Manage.read(self._conf.manage if manage is None else manage),
            exclude=frozenset(self._conf.exclude),
            exclude_tag=self._conf.exclude_tag,
            include_tag=self._conf.include_tag,
        )

    def _rule(self, manage: str | None = None) -> Rule:
        rule = self._configured(manage)
        own = None if rule.manage.scope is Scope.LISTED else self._identity.own_project_id()
        return rule if own is None else replace(rule, own=frozenset({own}))

    def look(self, views: Mapping[str, ProjectView]) -> None:
        """Compare Keystone's projects with those that are managed. Raises UpstreamUnavailable."""
        rule = self._rule()
        with self._store.reading() as uow:
            managed = {project.project_id: project.rule for project in uow.projects.all()}
            damaged = uow.projects.damaged()
        effect = effect_of(rule, views.values(), managed | dict.fromkeys(damaged, ""))
        by_rule = sum(1 for clause in managed.values() if clause)
        if self._applied is not None and rule != self._applied:
            LOG.warning("the rule of managed projects is %s now: %s", rule.manage, _words(effect))
            self._aside.clear()
        elif self._applied is None and (effect.coming or effect.leaving):
            LOG.info("the rule of managed projects is %s: %s", rule.manage, _words(effect))
        self._applied, self._views, self._effect = rule, views, effect
        self._allowed &= {one.project_id for one in effect.leaving}
        self._follow_brake(effect, by_rule)
        self._aside = {key: one for key, one in self._aside.items() if key in effect.coming}
        self._coming = sorted(effect.coming)
        self._leaving = [
            one for one in effect.leaving if not self._brake or one.project_id in self._allowed
        ]
        if "private" in template_of(self._conf, PROJECT_SETTINGS) and self.state is None:
            self._coming = []  # whether it fits is known after the first pass of the quota manager
        self._write_clauses(effect.clauses)

    def _follow_brake(self, effect: Effect, by_rule: int) -> None:
        waits = tuple(one for one in effect.leaving if one.project_id not in self._allowed)
        brake = brake_on(
            replace(effect, leaving=waits), by_rule=by_rule, maximum=self._conf.max_leaving
        )
        if brake and not self._brake:
            LOG.error(
                "no project that is managed by rule leaves: %s. Look at `synergy project rule "
                "show`; if they shall leave, run `synergy project rule resume`", brake,
            )  # fmt: skip
        elif self._brake and not brake:
            LOG.warning("projects that are managed by rule may leave again")
        self._brake = brake

    def _write_clauses(self, clauses: Mapping[str, str]) -> None:
        """Store by which part of the rule projects are managed, where it is another one now."""
        if not clauses:
            return
        with self._store.writing() as uow:
            for project in uow.projects.all():
                if project.rule and project.project_id in clauses:
                    uow.projects.save(replace(project, rule=clauses[project.project_id]))
            uow.commit()

    # --- doing it ---------------------------------------------------------------------------------

    def step(self) -> float | None:
        """Let those go who leave, or take a batch in; return in how many seconds there is more to
        do, None if there is nothing.

        Raises UpstreamUnavailable.
        """
        if self._leaving:
            each_alone(self._leaving, self._let_go, self._log_leaving)
            self._leaving = []
        else:
            now_s = self._clock.monotonic_s()
            ready = [key for key in self._coming if self._rests_until_s(key) <= now_s]
            fresh = [key for key in ready if key not in self._aside]
            self._take_in((fresh or ready)[:BATCH], known_to_fail=not fresh)
        if not self._coming:
            return None
        next_s = min(self._rests_until_s(key) for key in self._coming)
        return max(0.0, next_s - self._clock.monotonic_s())

    def _rests_until_s(self, project_id: str) -> float:
        aside = self._aside.get(project_id)
        return float("-inf") if aside is None else aside.until_s

    def _take_in(self, project_ids: Sequence[str], *, known_to_fail: bool) -> None:
        """Take in as many as BATCH_S allows."""
        template = template_of(self._conf, PROJECT_SETTINGS)
        began_s = self._clock.monotonic_s()
        drafts: list[tuple[Project, Mapping[str, str]]] = []

        def draft(project_id: str) -> None:
            if self._clock.monotonic_s() > began_s + BATCH_S:
                return  # it is in the next batch
            view = self._views[project_id]
            users = self._identity.users_of(project_id)
            made = changed_settings(
                self._handover.draft(view), template, self.state or QuotaState()
            )
            clause = self._effect.coming[project_id] if self._effect else ""
            drafts.append((replace(made, rule=clause), users))

        following = iter(project_ids)
        try:
            each_alone(following, draft, self._set_aside, known_to_fail=known_to_fail)
        except UpstreamUnavailable:
            # Should these be at fault all the same, they must not stand before the others for ever.
            others, later = set(following), set(project_ids)
            self._coming.sort(key=lambda key: key in later and key not in others)
            raise
        accepted: list[Project] = []
        if "private" in template:
            self._check(drafts, accepted)
            kept = {one.project_id for one in accepted}
            drafts = [one for one in drafts if one[0].project_id in kept]
        stored: list[Project] = []
        handle_individually(
            drafts,
            lambda some: stored.extend(self._store_all(some)),
            lambda one, error: self._set_aside(one[0].project_id, error),
            transient=(UpstreamUnavailable,),
        )
        if not stored:
            return
        taken = {project.project_id for project in stored}
        self._coming = [key for key in self._coming if key not in taken]
        self._handover.announce()  # before Nova lets them pass
        lifted: list[Project] = []

        def lift(project: Project) -> None:
            self._handover.lift_in_nova(project)
            lifted.append(project)

        try:
            each_alone(stored, lift, _lifted_later)
        finally:
            if lifted:
                self._handover.lifted(lifted)
        for project in stored:
            self._aside.pop(project.project_id, None)
        LOG.info("%d project(s) taken in by rule; %d still to do", len(stored), len(self._coming))

    def _check(
        self, drafts: Sequence[tuple[Project, Mapping[str, str]]], accepted: list[Project]
    ) -> None:
        """Let those in with whose private quotas all private quotas still fit the cloud."""

        def check(some: Sequence[tuple[Project, Mapping[str, str]]]) -> None:
            both = [*accepted, *(project for project, _ in some)]
            if self.state is not None:
                with self._store.reading() as uow:
                    check_together(uow, self.state, both)
            accepted.extend(project for project, _ in some)

        handle_individually(
            drafts, check, lambda one, error: self._set_aside(one[0].project_id, error),
            transient=(UpstreamUnavailable,),
        )  # fmt: skip

    def _store_all(self, some: Sequence[tuple[Project, Mapping[str, str]]]) -> list[Project]:
        with self._store.writing() as uow:
            known = {domain.domain_id for domain in uow.projects.domains()}
            for project, users in some:
                if project.domain_id not in known:
                    name = self._views[project.project_id].domain_name
                    uow.projects.save_domain(Domain(domain_id=project.domain_id, name=name))
                    known.add(project.domain_id)
                uow.projects.add(project)
                for user_id, name in users.items():
                    uow.projects.association(project.project_id, user_id, name)
            uow.commit()
        return [project for project, _ in some]

    def _set_aside(self, project_id: str, error: Exception) -> None:
        before = self._aside.get(project_id)
        failures = before.failures + 1 if before else 1
        why = str(error) or type(error).__name__
        until_s = self._clock.monotonic_s() + ASIDE.delay_s(failures)
        cause = error.code if isinstance(error, SynergyError) else type(error).__name__
        self._aside[project_id] = _Aside(until_s, failures, cause, why)
        if isinstance(error, NotFound):
            LOG.info("project %s is gone since it was listed: %s", project_id, why)
        elif before is None or before.cause != cause:  # numbers in it may change at each try
            expected = isinstance(error, SynergyError)
            LOG.error(
                "project %s (%s) cannot be taken in, and is tried again: %s",
                ascii(self._views[project_id].name), project_id, error_line(error),
                exc_info=None if expected else error,
            )  # fmt: skip

    def _let_go(self, one: Leaving) -> None:
        try:
            view = self._identity.project(one.project_id)
        except NotFound:
            if one.listed:
                return  # it was deleted since it was listed: the next look knows
            gone, ended, able = "it was deleted in Keystone", "was deleted in Keystone", False
        else:
            if not one.listed:
                raise Conflict("Keystone has it, and does not list it")
            gone, ended, able = one.why, "is disabled in Keystone", view.enabled
        with self._store.writing() as uow:
            project = uow.projects.get(one.project_id)
            waiting = uow.requests.waiting_count(project.project_id)
            if not waiting:
                # Anyone who lost the project lost its servers' guard, too: they keep their end.
                kept = keep_servers(uow, project.project_id, self._clock.now()) if able else 0
                project = replace(project, handover=Handover.RETURNING)
                uow.projects.save(project)
                uow.commit()
                project = replace(project, generation=project.generation + 1)
        if waiting:
            self._wait_for(project, waiting, gone, "" if able else f"its project {ended}")
            return
        LOG.warning(
            "project %s is no longer managed: %s; %d of its servers have no end now",
            ascii(project.name), gone, kept,
        )  # fmt: skip
        self._handover.give_back(project)
        self._logged.pop(one.project_id, None)

    def _wait_for(self, project: Project, waiting: int, why: str, ended: str) -> None:
        """Let what waits start, or end; requests of an owner who is gone are cancelled in any case.

        ended  what became of the project in Keystone, "" while it can be used
        """
        self._log_once(project.project_id, f"{waiting} of its requests wait ({why})")
        if not ended and self._conf.on_leaving == "wait":
            return
        with self._store.reading() as uow:
            owners = [one for one in uow.requests.waiting_owners() if one[0] == project.project_id]
        if ended and self._conf.on_owner_gone == "build":
            return
        why_ended = (
            ended or f"its project is no longer managed by Synergy ({why}): create the server again"
        )
        self._publish(OwnersGone(tuple((*owner, why_ended) for owner in owners)))

    def _log_leaving(self, one: Leaving, error: Exception) -> None:
        self._log_once(one.project_id, error_line(error))

    def _log_once(self, project_id: str, obstacle: str) -> None:
        if self._logged.get(project_id) != obstacle:
            self._logged[project_id] = obstacle
            LOG.warning("project %s does not leave yet: %s", project_id, obstacle)

    # --- what a person is shown -------------------------------------------------------------------

    def keeps(self, project: Project) -> bool:
        """Return whether the rule manages a project, by the last look."""
        leaving = self._effect.leaving if self._effect else ()
        return bool(project.rule) and all(one.project_id != project.project_id for one in leaving)

    @property
    def suspended(self) -> bool:
        """Whether no project leaves until a person has looked, by the last look."""
        return bool(self._brake)

    def resume(self) -> None:
        """Let those go who leave now, however many: a person has looked at them."""
        leaving = self._effect.leaving if self._effect else ()
        self._allowed = frozenset(one.project_id for one in leaving)
        LOG.warning("%d project(s) may leave by command", len(self._allowed))

    def show(self, views: Sequence[ProjectView], manage: str | None) -> answers.ProjectRule:
        """Return what the rule does now, or what another one would do. Changes nothing."""
        rule = self._rule(manage)
        with self._store.reading() as uow:
            projects = uow.projects.all()
            damaged = uow.projects.damaged()
            waiting = uow.requests.waiting_counts([p.project_id for p in projects if p.rule])
        managed = {project.project_id: project.rule for project in projects}
        effect = effect_of(rule, views, managed | dict.fromkeys(damaged, ""))
        names = {view.project_id: view.name for view in views}
        names |= {project.project_id: project.name for project in projects}
        by_rule = sum(1 for clause in managed.values() if clause)
        leaving = tuple(one for one in effect.leaving if one.project_id not in self._allowed)
        brake = brake_on(
            replace(effect, leaving=leaving), by_rule=by_rule, maximum=self._conf.max_leaving
        )
        waits = dict[str, int]()
        for (project_id, _), count in waiting.items():
            waits[project_id] = waits.get(project_id, 0) + count
        now_s, aside = self._clock.monotonic_s(), self._aside
        return {
            "rule": str(rule.manage),
            "dry_run": manage is not None,
            "by_rule": by_rule,
            "by_hand": len(managed) - by_rule,
            "coming": len(effect.coming),
            "leaving": len(effect.leaving),
            "excepted": len(effect.excepted),
            "suspended": bool(brake),
            "text": _sentence(effect, brake),
            "unknown_domains": list(effect.unknown),
            "who_comes": [
                {
                    "id": key,
                    "name": names[key],
                    "why": effect.coming[key],
                    "error": aside[key].why if key in aside else "",
                    "next_try_s": max(0.0, aside[key].until_s - now_s) if key in aside else None,
                }
                for key in sorted(effect.coming)[:LONGEST_LIST]
            ],
            "who_leaves": [
                {
                    "id": one.project_id,
                    "name": names[one.project_id],
                    "why": one.why,
                    "waiting": waits.get(one.project_id, 0),
                }
                for one in effect.leaving[:LONGEST_LIST]
            ],
            "who_is_excepted": [
                {"id": key, "name": names[key], "why": effect.excepted[key]}
                for key in sorted(effect.excepted)[:LONGEST_LIST]
            ],
        }


def _lifted_later(project: Project, error: Exception) -> None:
    LOG.warning(
        "Nova's limit of project %s is lifted in a later run: %s",
        ascii(project.name), error_line(error),
    )  # fmt: skip


def _words(effect: Effect) -> str:
    moves = f"{len(effect.coming)} project(s) come in, {len(effect.leaving)} leave"
    return f"{moves}, {len(effect.excepted)} are excepted"


def _sentence(effect: Effect, brake: str) -> str:
    said = f"{_words(effect)}."
    return f"{said} No project leaves: {brake}." if brake else said
