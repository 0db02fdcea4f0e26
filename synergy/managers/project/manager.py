"""Who takes part, with which shares, lifetimes and limits.

Why: taking a project in moves its private quota from Nova into Synergy and lifts Nova's limit;
letting it go puts back exactly what was there. Each half is committed before the next begins, so
that the following run finishes what a crash cut. Must not know requests.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from oslo_config import cfg

from synergy.core.batches import TRANSIENT
from synergy.core.declared import answers, commands
from synergy.core.declared.fields import Setting, limits_of, read
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.errors import Conflict, InvalidInput, NotFound, SynergyError
from synergy.core.events import ProjectsChanged
from synergy.core.model import (
    NOTHING,
    Association,
    Domain,
    Handover,
    Project,
    Resources,
)
from synergy.core.quota import QuotaState
from synergy.managers.base import Manager, Publish, command
from synergy.managers.project.keeping import keep_servers
from synergy.managers.project.quota_change import Effects, effects_of, merged
from synergy.managers.project.removal import removal_of
from synergy.managers.quota.survey import QuotaSurvey
from synergy.managers.support.render import check_revision, project_json, user_json
from synergy.ports import (
    Capacity,
    Clock,
    Identity,
    Intake,
    QuotaLimits,
    QuotaOwnership,
    Reading,
    Store,
    Wake,
    Writing,
)

LOG = logging.getLogger(__name__)

_LIMITS = tuple(one.name for one in limits_of(PROJECT_SETTINGS))


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
                ("build", "It is built in its turn, with the token that it came with."),
            ],
            mutable=True,
            help="What to do with a waiting request whose user or project was deleted or disabled "
            "in Keystone meanwhile.",
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
        self._identity, self._intake = identity, intake
        self._limits, self._ownership = quota_limits, quota_ownership
        self._survey = QuotaSurvey(clock, store, capacity, quota_limits, identity)
        self._troubles: dict[str, str] = {}  # what was told of each project that cannot be handled

    def setup(self) -> None:
        self._announce()
        self._identity.on_change(self._wake)

    def task(self) -> float | None:
        """Finish what a crash cut, and follow names and users in Keystone."""
        try:
            self._follow_keystone()
        finally:  # Keystone may be away; what a crash cut is finished all the same
            self._follow_nova_in_all()
        return None

    def _follow_nova_in_all(self) -> None:
        with self._store.reading() as uow:
            projects = uow.projects.all()
        troubles, self._troubles = self._troubles, {}
        for project in projects:
            try:
                self._follow_nova(project)
            except TRANSIENT:
                raise
            except Exception as error:  # of this project alone: the others go on
                said = self._troubles[project.project_id] = str(error) or type(error).__name__
                if said != troubles.get(project.project_id):
                    expected = isinstance(error, SynergyError)
                    LOG.error(
                        "project %s cannot be followed in Nova: %s", project.name, said,
                        exc_info=None if expected else error,
                    )  # fmt: skip

    def _follow_nova(self, project: Project) -> None:
        """Finish the move of a project's quota, or find out whether somebody undid it."""
        if project.handover is Handover.RETURNING:
            self._give_back(project)
        elif project.gone:
            return  # there is no quota to move, nor to look at
        elif project.handover is Handover.TAKING:
            self._lift(project)
        else:
            self._check_lifted(project)

    def _announce(self) -> None:
        with self._store.reading() as uow:
            projects, damaged = uow.projects.all(), uow.projects.damaged()
        # Nova limits a managed project no more: what cannot be read of it must not let it pass.
        taking_part = damaged.keys() | {
            p.project_id for p in projects if p.handover is not Handover.RETURNING
        }
        self._intake.manage(frozenset(taking_part))

    def _follow_keystone(self) -> None:
        """Take over renamed projects, new users and users who left; tell of vanished projects."""
        views = {view.project_id: view for view in self._identity.projects()}
        with self._store.reading() as uow:
            present = [p.project_id for p in uow.projects.all() if p.project_id in views]
        users_of = self._users_of(present)
        changed = set()
        with self._store.writing() as uow:
            known: dict[str, dict[str, Association]] = {}
            associations = uow.projects.associations()
            for association in associations:
                known.setdefault(association.project_id, {})[association.user_id] = association
            busy = _busy(uow, associations)
            for project in uow.projects.all():
                view = views.get(project.project_id)
                if project.gone != (view is None):
                    project = self._mark(uow, project, gone=view is None)
                    changed.add(project.project_id)
                if view is None or project.project_id not in users_of:
                    continue  # gone, or managed since Keystone was asked
                if view.name != project.name:
                    uow.projects.save(replace(project, name=view.name))
                    changed.add(project.project_id)
                users = users_of[project.project_id]
                if _follow_users(uow, project, known.get(project.project_id, {}), users, busy):
                    changed.add(project.project_id)
            uow.commit()
        if changed:
            self._publish(ProjectsChanged(frozenset(changed)))

    def _users_of(self, project_ids: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Return the users of each project that Keystone tells them of."""
        found = {}
        for project_id in project_ids:
            try:
                found[project_id] = self._identity.users_of(project_id)
            except (NotFound, InvalidInput) as error:
                LOG.warning("users of project %s are not known: %s", project_id, error)
        return found

    def _mark(self, uow: Writing, project: Project, *, gone: bool) -> Project:
        """Note that Keystone knows a project no longer, or again."""
        marked = replace(project, gone=gone)
        uow.projects.save(marked)
        if gone:
            LOG.error(
                "managed project %s is gone from Keystone: end its servers, and run `synergy "
                "project remove %s`", project.name, project.project_id,
            )  # fmt: skip
        else:
            LOG.warning("managed project %s is back in Keystone", project.name)
        return replace(marked, generation=project.generation + 1)

    # --- moving the private quota -----------------------------------------------------------------

    def _lift(self, project: Project) -> None:
        """Second half of taking a project in: Nova's limit goes, its quota lives here."""
        self._ownership.lift_quota(project.project_id)
        with self._store.writing() as uow:
            uow.projects.save(replace(project, handover=Handover.HELD))
            uow.commit()
        self._announce()
        self._publish(ProjectsChanged(frozenset({project.project_id})))

    def _give_back(self, project: Project) -> None:
        """Second half of letting a project go: Nova has its limit back, then it is forgotten."""
        self._announce()
        try:
            self._ownership.restore_quota(project.project_id, project.nova_quota)
        except (NotFound, InvalidInput) as error:
            if not isinstance(error, NotFound) and self._in_keystone(project.project_id):
                raise
            LOG.info("project %s is gone: its quota has nowhere to go back to", project.name)
        with self._store.writing() as uow:
            uow.projects.remove(project.project_id)
            uow.commit()
        self._publish(ProjectsChanged(frozenset({project.project_id})))

    def _in_keystone(self, project_id: str) -> bool:
        return any(view.project_id == project_id for view in self._identity.projects())

    def _check_lifted(self, project: Project) -> None:
        """Find out whether somebody set a limit in Nova since it was lifted."""
        try:
            limits = self._limits.quota(project.project_id)
            record = self._ownership.quota_record(project.project_id)
            servers = self._limits.server_limit(project.project_id)
        except NotFound:
            return  # removed in Keystone; told below
        by_hand = {name: limit for name, limit in limits.items() if limit is not None}
        set_now = {name: limit for name, limit in record.items() if limit is not None}
        if not by_hand and not set_now:
            return
        shown = ", ".join(f"{name}={limit}" for name, limit in sorted((by_hand or set_now).items()))
        if self._conf.on_quota_drift == "report":
            LOG.error(
                "somebody limited the managed project %s in Nova to %s: use `synergy project set` "
                "for its private quota, and lift the limit", project.name, shown,
            )  # fmt: skip
            return
        LOG.warning(
            "somebody limited the managed project %s in Nova to %s: this is its private quota now",
            project.name, shown,
        )  # fmt: skip
        still_lifted = {n for n, limit in record.items() if limit is None}
        before = {n: limit for n, limit in project.nova_quota.items() if n in still_lifted}
        adopted = replace(
            project,
            private=Resources.of({**project.private, **by_hand}),
            max_private_servers=project.max_private_servers if servers is None else servers,
            nova_quota=before | set_now,
            handover=Handover.TAKING,
        )
        with self._store.writing() as uow:
            uow.projects.save(adopted)
            uow.commit()
        with self._store.reading() as uow:
            saved = uow.projects.get(project.project_id)
        self._lift(saved)

    def _private_quota(self, project_id: str, limits: Mapping[str, int | None]) -> Resources:
        """A limited class counts with its limit, an unlimited one with what is used."""
        used = self._limits.used_by(project_id)
        unlimited = sorted(name for name, limit in limits.items() if limit is None)
        if unlimited:
            LOG.warning(
                "project %s is unlimited in %s: it counts with what it uses",
                project_id, ", ".join(unlimited),
            )  # fmt: skip
        return Resources.of(
            {name: used.get(name, 0) if limit is None else limit for name, limit in limits.items()}
        )

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
        limits = self._limits.quota(view.project_id)
        made = Project(
            project_id=view.project_id,
            name=view.name,
            domain_id=view.domain_id,
            parent_id=view.parent_id,
            nova_quota=dict(self._ownership.quota_record(view.project_id)),
            private=self._private_quota(view.project_id, limits),
            max_private_servers=self._limits.server_limit(view.project_id),
        )
        state = self._survey.look().state
        made = _changed(made, settings, state)
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
        self._lift(made)
        return self.do_show(view.project_id)

    @command(commands.SET_PROJECT)
    def do_set(
        self,
        project: str,
        if_match: Sequence[str] | None = None,
        force: bool = False,
        dry_run: bool = False,
        **settings: object,
    ) -> commands.Changed:
        """Change a managed project's shares, limits or treatment; what is not named stays.

        Refused, unless forced, when the private quotas would exceed the cloud, or a resource class
        is named that no host has. A dry run tells what would happen.
        """
        if not settings:
            raise InvalidInput(f"nothing to set: give one of {_names(PROJECT_SETTINGS)}")
        # Whatever concerns no quota is changed without asking the cloud, which may be away.
        sized = dry_run or any(name in settings for name in _LIMITS)
        state = self._survey.look().state if sized else QuotaState()
        with self._store.reading() as uow:
            found = _find(uow.projects.all(), project)
            check_revision(project_json(found), if_match)
            changed = _changed(found, settings, state)
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
        """Manage a project no longer: Nova gets back the quota it had.

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
        self._give_back(leaving)
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


def _names(settings: Sequence[Setting]) -> str:
    return ", ".join(one.name for one in settings)


def _tried(project: Project, effects: Effects) -> answers.TriedProject:
    return {**project_json(project), "effects": effects.json()}


def _busy(uow: Reading, associations: Sequence[Association]) -> set[int]:
    """Return the associations that hold something, or wait."""
    owners = uow.requests.waiting_owners()
    return {association_id for association_id, *_ in uow.requests.held()} | {
        a.association_id for a in associations if (a.project_id, a.user_id) in owners
    }


def _follow_users(
    uow: Writing,
    project: Project,
    known: Mapping[str, Association],
    users: Mapping[str, str],
    busy: Collection[int],
) -> bool:
    """Take over who has a role on a project, and tell whether shares follow from it.

    Who has none any longer keeps its shares until its last server and request are gone; what it
    used then counts for the project.
    """
    changed = False
    for user_id, name in users.items():
        found = known.get(user_id)
        if found is None:
            try:
                uow.projects.association(project.project_id, user_id, name)
            except InvalidInput as error:  # the other users are followed
                LOG.error("user %s of project %s: %s", ascii(user_id), project.name, error)
            else:
                changed = True
        elif not found.active or name not in ("", found.user_name):
            changed |= not found.active
            named = name or found.user_name
            uow.projects.save_association(replace(found, user_name=named, active=True))
    for user_id, found in known.items():
        if found.active and user_id not in users and found.association_id not in busy:
            uow.projects.save_association(replace(found, active=False))
            changed = True
    return changed


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


def _changed(project: Project, given: Mapping[str, Any], state: QuotaState) -> Project:
    """Return a project with settings changed; of a limit, what is not named stays."""
    others = [one for one in PROJECT_SETTINGS if one.name not in _LIMITS]
    values = read(given, others)
    for name in _LIMITS:
        if name in given:
            values[name] = merged(name, getattr(project, name), given[name], state)
    if "private" in values:
        values["private"] = Resources.of(values["private"] or NOTHING)
    return replace(project, **values)
