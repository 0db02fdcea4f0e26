"""Who takes part, with which shares, lifetimes and limits.

Why: Keystone and Nova change beside Synergy, so names, users and limits of managed projects are
followed, some projects at a time: there may be ten thousand. Must not know requests.
"""

import logging
from collections.abc import Sequence

from oslo_config import cfg

from synergy.core.declared import commands
from synergy.core.declared.answers import projects as answers
from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.core.events import QuotaChanged
from synergy.managers.base import Manager, command, every, on
from synergy.managers.project.by_hand import ByHand
from synergy.managers.project.by_rule import ByRule
from synergy.managers.project.following import Following
from synergy.managers.project.handover import QuotaHandover
from synergy.managers.project.nova_limits import NovaLimits
from synergy.managers.support.option_types import ManageText, template_options
from synergy.managers.support.render import project_json
from synergy.ports import (
    Identity,
    Store,
    Wake,
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
            "lists them, and leave when they are deleted, disabled, or the rule manages them no "
            "longer. Projects that were added by hand stay. Projects named service or services, "
            "and the one that Synergy acts in, are taken in only by hand. `synergy project rule "
            "show --manage RULE` shows what a rule would do.",
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
        wake: Wake,
        store: Store,
        identity: Identity,
        handover: QuotaHandover,
        nova_limits: NovaLimits,
        rule: ByRule,
        by_hand: ByHand,
        following: Following,
    ) -> None:
        self._wake, self._store, self._identity = wake, store, identity
        self._handover, self._nova_limits = handover, nova_limits
        self._rule, self._by_hand, self._following = rule, by_hand, following

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
        self._following.look()
        self.soon(self._apply_rule)
        self.soon(self._follow_users)

    @every("rate_s", at_start=False)
    def _apply_rule(self) -> float | None:
        """Take in a batch of projects that the rule manages, and let others leave."""
        return self._rule.step()

    @every("rate_s", at_start=False)
    def _follow_users(self) -> float | None:
        """Follow users who came or left, a batch of projects at a time."""
        return self._following.follow_users()

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
        return self._by_hand.show(project)

    @command(commands.ADD_PROJECT)
    def do_add(
        self, project: str, force: bool = False, dry_run: bool = False, **settings: object
    ) -> commands.Changed:
        """Manage a project: its quota moves into Synergy and its requests are queued.

        Refused, unless forced, when the private quotas would exceed the cloud, or a resource class
        is named that no host has. A dry run shows what would happen.
        """
        return self._by_hand.add(project, force=force, dry_run=dry_run, settings=settings)

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
        is named that no host has. A dry run shows what would happen.
        """
        return self._by_hand.set(project, if_match, force=force, dry_run=dry_run, settings=settings)

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
        run shows how many there are, and what keeps the project from being removed.
        """
        return self._by_hand.remove(project, servers, if_match, dry_run=dry_run)

    @command(commands.SET_USER)
    def do_set_user(
        self, project: str, user: str, if_match: Sequence[str] | None = None, **settings: object
    ) -> answers.User:
        """Change a user's shares or priority within a managed project."""
        return self._by_hand.set_user(project, user, if_match, settings)
