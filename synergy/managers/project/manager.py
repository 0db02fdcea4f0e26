"""Who takes part, with which shares, lifetimes and limits.

Why: Keystone and Nova change beside Synergy, so names, users and limits of managed projects are
followed, some projects at a time: there may be ten thousand. Must not know requests.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oslo_config import cfg

from synergy.core.declared import commands
from synergy.core.declared.answers import projects as answers
from synergy.core.declared.fields import Setting, read
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    UpstreamUnavailable,
)
from synergy.core.events import ProjectsChanged, QuotaChanged
from synergy.core.model import (
    Association,
    Domain,
    Handover,
    Project,
)
from synergy.core.quota import QuotaState
from synergy.managers.base import Manager, Publish, command, every, on
from synergy.managers.project.by_rule import ByRule
from synergy.managers.project.handover import QuotaHandover
from synergy.managers.project.keeping import keep_servers
from synergy.managers.project.nova_limits import NovaLimits
from synergy.managers.project.quota_change import (
    LIMITS,
    Effects,
    changed_settings,
    effects_of,
)
from synergy.managers.project.removal import removal_of
from synergy.managers.project.users import Users
from synergy.managers.quota.survey import QuotaSurvey
from synergy.managers.support.option_types import ManageText, template_options
from synergy.managers.support.render import check_revision, project_json, user_json
from synergy.ports import (
    Capacity,
    Clock,
    Identity,
    Intake,
    ProjectView,
    QuotaLimits,
    QuotaOwnership,
    Reading,
    Store,
    Wake,
    Writing,
)

LOG = logging.getLogger(__name__)


class ProjectManager(Manager):
    """Managed projects and their users."""

    name = "project"
    needed = True
    stopped_means = (
        "changes of projects and users in Keystone, and of quotas in Nova, are not followed"
    )
    options = (
        cfg.StrOpt(
            "on_owner_gone",
            default="cancel",
            choices=[
                ("cancel", "It is cancelled with that reason."),
                ("build", "It is built when its turn comes, with the token that it came with."),
            ],
            mutable=True,
            help="What to do with a waiting request whose user or project was deleted or "
            "disabled in Keystone.",
        ),
        cfg.StrOpt(
            "on_quota_drift",
            default="adopt",
            choices=[
                ("adopt", "It becomes the private quota, and Nova's limit is lifted again."),
                (
                    "report",
                    (
                        "It stays in force beside the private quota, and an error is logged in "
                        "every run."
                    ),
                ),
            ],
            mutable=True,
            help="What to do when somebody sets the quota of a managed project in Nova.",
        ),
        cfg.Opt(
            "manage",
            type=ManageText(),
            default="listed",
            mutable=True,
            help="Which projects are managed. listed: those that are added by hand, and no others. "
            "all: every project. domains: followed by names or ids of domains, such as "
            "domains:Default,Research: every project of these. Projects are taken in as Keystone "
            "tells of them, and leave when they are deleted, disabled, or the rule manages them no "
            "longer. Projects that were added by hand stay. Projects named service or services, "
            "and the one that Synergy acts in, are taken in only by hand. `synergy project rule "
            "show --manage RULE` tells what a rule would do.",
        ),
        cfg.ListOpt(
            "exclude",
            default=[],
            mutable=True,
            help="Names or ids of projects that are not managed by rule.",
        ),
        cfg.StrOpt(
            "exclude_tag",
            default="synergy:exclude",
            mutable=True,
            help="Projects with this tag in Keystone are not managed by rule. Empty: no tag.",
        ),
        cfg.StrOpt(
            "include_tag",
            default="synergy:include",
            mutable=True,
            help="With manage = domains:..., projects of other domains with this tag in Keystone "
            "are managed, too. Empty: no tag.",
        ),
        cfg.IntOpt(
            "max_leaving",
            deprecated_name="most_leaving",
            default=10,
            min=0,
            max=1_000_000,
            mutable=True,
            help="Maximum number of projects that leave at once because the rule no longer "
            "manages them. If more would leave, none does, an error is logged, and an "
            "operator decides with `synergy project rule resume`.",
        ),
        cfg.StrOpt(
            "on_leaving",
            default="wait",
            choices=[
                ("wait", "The project leaves when none of its requests waits."),
                ("cancel", "They are cancelled with that reason."),
            ],
            mutable=True,
            help="What to do with the waiting requests of a project that the rule no longer "
            "manages. Those of a deleted or disabled project follow on_owner_gone.",
        ),
        *template_options(PROJECT_SETTINGS),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        wake: Wake,
        publish: Publish,
        store: Store,
        identity: Identity,
        capacity: Capacity,
        quota_limits: QuotaLimits,
        quota_ownership: QuotaOwnership,
        intake: Intake,
    ) -> None:
        self._conf, self._clock, self._wake = conf, clock, wake
        self._publish, self._store = publish, store
        self._identity = identity
        self._survey = QuotaSurvey(clock, store, capacity, quota_limits, identity)
        self._handover = QuotaHandover(
            publish, store, identity, quota_limits, quota_ownership, intake
        )
        self._nova_limits = NovaLimits(conf, store, quota_limits, quota_ownership, self._handover)
        self._rule = ByRule(conf, clock, publish, store, identity, self._handover)
        self._users = Users(publish, store, identity)

    def setup(self) -> None:
        self._handover.announce()
        self._identity.on_change(self._on_change)

    def _on_change(self) -> None:
        self.soon(self._follow_keystone)
        self._wake()

    @on(QuotaChanged)
    def _know_the_cloud(self, fact: QuotaChanged) -> None:
        first, self._rule.state = self._rule.state is None, fact.state
        if first:
            self.soon(self._follow_keystone)

    def task(self) -> float | None:
        if self._rule.changed():
            self.soon(self._follow_keystone)
        return None

    @every("rate_s")
    def _follow_keystone(self) -> None:
        """Follow renamed projects, report deleted ones, and find those that the rule takes in."""
        views = {view.project_id: view for view in self._identity.projects()}
        with self._store.reading() as uow:
            projects = uow.projects.all()
        if projects and not views:
            raise UpstreamUnavailable("Keystone lists no project at all: its answer is ignored")
        if any(_differs(project, views.get(project.project_id)) for project in projects):
            self._write_what_changed(views)
        self._rule.look(views)
        self._users.look(p.project_id for p in projects if p.project_id in views)
        self.soon(self._apply_rule)
        self.soon(self._follow_users)

    def _write_what_changed(self, views: Mapping[str, ProjectView]) -> None:
        changed = set()
        with self._store.writing() as uow:
            for project in uow.projects.all():
                view = views.get(project.project_id)
                if _differs(project, view):
                    self._follow_one(uow, project, view)
                    changed.add(project.project_id)
            uow.commit()
        self._publish(ProjectsChanged(frozenset(changed)))

    def _follow_one(self, uow: Writing, project: Project, view: ProjectView | None) -> None:
        """Note that Keystone knows a project no longer, or again, or by another name."""
        gone, name = view is None, project.name if view is None else view.name
        uow.projects.save(replace(project, gone=gone, name=name))
        if gone == project.gone:
            return
        if not gone:
            LOG.warning("managed project %s is back in Keystone", project.name)
        elif project.rule:
            LOG.warning("Keystone does not list project %s, which is managed by rule", project.name)
        else:
            LOG.error(
                "managed project %s is gone from Keystone: end its servers, and run `synergy "
                "project remove %s`", project.name, project.project_id,
            )  # fmt: skip

    @every("rate_s", at_start=False)
    def _apply_rule(self) -> float | None:
        """Take in a batch of projects that the rule manages, and let others leave."""
        return self._rule.step()

    @every("rate_s", at_start=False)
    def _follow_users(self) -> float | None:
        """Follow users who came or left, a batch of projects at a time."""
        return self._users.step()

    @every("rate_s")
    def _follow_nova_in_all(self) -> float | None:
        """Finish what a crash interrupted, and find managed projects that were limited in Nova."""
        return self._nova_limits.step()

    # --- commands ---------------------------------------------------------------------------------

    @command(commands.LIST_PROJECTS)
    def do_list(self) -> list[answers.Project]:
        """List the managed projects."""
        with self._store.reading() as uow:
            return [project_json(project) for project in uow.projects.all()]

    @command(commands.SHOW_PROJECT)
    def do_show(self, project: str) -> answers.ProjectWithUsers:
        """Show a managed project with its users."""
        with self._store.reading() as uow:
            found = _find(uow.projects.all(), project)
            users = [a for a in uow.projects.associations() if a.project_id == found.project_id]
        return {**project_json(found), "users": [user_json(user) for user in users]}

    @command(commands.ADD_PROJECT)
    def do_add(
        self, project: str, force: bool = False, dry_run: bool = False, **settings: object
    ) -> commands.Changed:
        """Manage a project: its quota moves into Synergy and its requests are queued.

        Refused, unless forced, when the private quotas would exceed the cloud, or a resource class
        is named that no host has. A dry run tells what would happen.
        """
        view = self._identity.find_project(project)
        if not dry_run and self._add_by_hand(view.project_id, force=force, settings=settings):
            return self.do_show(view.project_id)
        made = self._handover.draft(view)
        state = self._survey.look().state
        made = changed_settings(made, settings, state)
        with self._store.reading() as uow:
            effects = effects_of(uow, state, None, made)
        if dry_run:
            return _tried(made, effects)
        if not force:
            effects.check()
        users = self._identity.users_of(view.project_id)
        with self._store.writing() as uow:
            if view.domain_id not in {domain.domain_id for domain in uow.projects.domains()}:
                uow.projects.save_domain(Domain(domain_id=view.domain_id, name=view.domain_name))
            uow.projects.add(made)
            for user_id, name in users.items():
                uow.projects.association(view.project_id, user_id, name)
            uow.commit()
        self._handover.lift(made)
        return self.do_show(view.project_id)

    def _add_by_hand(self, project_id: str, *, force: bool, settings: Mapping[str, Any]) -> bool:
        """Let a project that is managed by rule be one that was added by hand, which stays whatever
        the rule says; False if no rule manages it."""
        with self._store.reading() as uow:
            if all(p.project_id != project_id or not p.rule for p in uow.projects.all()):
                return False
        if settings:
            self.do_set(project_id, force=force, **settings)
        with self._store.writing() as uow:
            uow.projects.save(replace(uow.projects.get(project_id), rule=""))
            uow.commit()
        return True

    @command(commands.SHOW_RULE)
    def do_rule(self, manage: str | None = None) -> answers.ProjectRule:
        """Show which projects the rule adds and removes, or what another rule would do."""
        return self._rule.show(self._identity.projects(), manage)

    @command(commands.RULE_SUSPENDED)
    def do_rule_suspended(self) -> bool:
        """Show whether no project leaves by the rule until an operator has checked them."""
        return self._rule.suspended

    @command(commands.RESUME_RULE)
    def do_resume_rule(self) -> answers.ProjectRule:
        """Let all projects leave that the rule no longer manages: an operator has checked them."""
        self._rule.resume()
        self.soon(self._follow_keystone)
        self._wake()
        return self.do_rule()

    @command(commands.SET_PROJECT)
    def do_set(
        self,
        project: str,
        if_match: Sequence[str] | None = None,
        force: bool = False,
        dry_run: bool = False,
        **settings: object,
    ) -> commands.Changed:
        """Change settings of a managed project; those that are not named stay unchanged.

        Refused, unless forced, when the private quotas would exceed the cloud, or a resource class
        is named that no host has. A dry run tells what would happen.
        """
        if not settings:
            raise InvalidInput(f"nothing to set: give one of {_names(PROJECT_SETTINGS)}")
        # Whatever concerns no quota is changed without asking the cloud, which may be away.
        sized = dry_run or any(name in settings for name in LIMITS)
        state = self._survey.look().state if sized else QuotaState()
        with self._store.reading() as uow:
            found = _find(uow.projects.all(), project)
            check_revision(project_json(found), if_match)
            changed = changed_settings(found, settings, state)
            effects = effects_of(uow, state, found, changed) if sized else None
        if effects is not None and dry_run:
            return _tried(changed, effects)
        if effects is not None and not force:
            effects.check()
        with self._store.writing() as uow:
            uow.projects.save(changed)
            uow.commit()
        self._publish(ProjectsChanged(frozenset({found.project_id})))
        return self.do_show(found.project_id)

    @command(commands.REMOVE_PROJECT)
    def do_remove(
        self,
        project: str,
        servers: str = "keep",
        if_match: Sequence[str] | None = None,
        dry_run: bool = False,
    ) -> answers.Project | answers.Removal:
        """Stop managing a project: Nova gets back the quota it had.

        Its shared servers are kept, and have no end any more, or expire at the end they have. A dry
        run tells how many there are, and what keeps the project from being removed.
        """
        if dry_run:
            with self._store.reading() as uow:
                tried = _find(uow.projects.all(), project)
                check_revision(project_json(tried), if_match)
                return removal_of(uow, tried, servers)
        with self._store.writing() as uow:
            found = _find(uow.projects.all(), project)
            check_revision(project_json(found), if_match)
            if self._rule.keeps(found):
                raise Conflict(
                    f"project {found.name!r} is managed by rule ({found.rule}): name it in "
                    "[project] exclude, or give it the tag of [project] exclude_tag in Keystone"
                )
            waiting = uow.requests.waiting_count(found.project_id)
            if waiting:
                raise Conflict(
                    f"project {found.name!r} has {waiting} waiting request(s): cancel them or let "
                    "them start, then remove it"
                )
            if servers == "keep":
                kept = keep_servers(uow, found.project_id, self._clock.now())
                LOG.info("%d shared server(s) of project %s have no end now", kept, found.name)
            leaving = replace(found, handover=Handover.RETURNING)
            uow.projects.save(leaving)
            uow.commit()
        self._handover.give_back(leaving)
        return project_json(leaving)

    @command(commands.SET_USER)
    def do_set_user(
        self, project: str, user: str, if_match: Sequence[str] | None = None, **settings: object
    ) -> answers.User:
        """Change a user's shares or priority within a managed project."""
        if not settings:
            raise InvalidInput(f"nothing to set: give one of {_names(USER_SETTINGS)}")
        with self._store.writing() as uow:
            found = _find(uow.projects.all(), project)
            association = _find_user(uow, found, user)
            check_revision(user_json(association), if_match)
            changed = replace(association, **read(settings, USER_SETTINGS))
            uow.projects.save_association(changed)
            uow.commit()
        self._publish(ProjectsChanged(frozenset({found.project_id})))
        return user_json(changed)


def _differs(project: Project, view: ProjectView | None) -> bool:
    return project.gone != (view is None) or (view is not None and view.name != project.name)


def _names(settings: Sequence[Setting]) -> str:
    return ", ".join(one.name for one in settings)


def _tried(project: Project, effects: Effects) -> answers.TriedProject:
    return {**project_json(project), "effects": effects.json()}


def _find_user(uow: Reading, project: Project, user: str) -> Association:
    for association in uow.projects.associations():
        named = user in (association.user_id, association.user_name)
        if association.project_id == project.project_id and named:
            return association
    raise NotFound(f"project {project.name!r} has no user {user!r}")


def _find(projects: Sequence[Project], name_or_id: str) -> Project:
    """Return a managed project by id or name. Raises NotFound or InvalidInput."""
    found = [p for p in projects if p.project_id == name_or_id] or [
        p for p in projects if p.name == name_or_id
    ]
    if not found:
        raise NotFound(f"project {name_or_id!r} is not managed by Synergy")
    if len(found) > 1:
        ids = ", ".join(project.project_id for project in found)
        raise InvalidInput(f"project name {name_or_id!r} is not unique: give one of {ids}")
    return found[0]
