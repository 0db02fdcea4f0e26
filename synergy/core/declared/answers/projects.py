"""Managed projects and their users, without their settings: those are declared in `core.model`."""

from typing import Annotated, TypedDict

from synergy.core.declared.answers.parts import Amounts, At, Count, Limits, words
from synergy.core.declared.shapes import Also
from synergy.core.model import Handover


class User(TypedDict):
    """A user of a project: this, and every setting of a user by its name."""

    user_id: str
    name: str
    active: bool
    revision: str


class Effects(TypedDict):
    """What a change of quotas does to the shared quota."""

    shared_before: Amounts
    shared_after: Amounts
    shortfall: Amounts
    would_wait: Count
    unknown: Amounts
    text: str


class Project(TypedDict):
    """A managed project: this, and every setting of a project by its name."""

    id: str
    name: str
    domain_id: str
    handover: Annotated[str, words(Handover)]
    gone: bool
    managed_by: Annotated[
        str,
        Also({"description": "hand, or rule: and the part of `[project] manage` that names it."}),
    ]
    revision: str


class ProjectWithUsers(Project):
    """A managed project, shown alone."""

    users: list[User]


class TriedProject(Project):
    """A managed project as it would be after a change, and what that would do."""

    effects: Effects


class Removal(TypedDict):
    """What it would do to manage a project no longer; nothing was changed."""

    id: str
    name: str
    waiting: Count
    private_servers: Count
    shared_servers: Count
    shared_used: Amounts
    servers: Annotated[str, Also({"enum": ["keep", "expire"]})]
    last_end: At | None
    nova_quota: Limits
    text: str


class ComingProject(TypedDict):
    """A project that a rule takes in; `error` is why it could not be so far."""

    id: str
    name: str
    why: str
    error: str
    next_try_s: float | None


class LeavingProject(TypedDict):
    """A project that a rule manages no longer."""

    id: str
    name: str
    why: str
    waiting: Count


class ExceptedProject(TypedDict):
    """A project that a rule would manage without an exception."""

    id: str
    name: str
    why: str


class ProjectRule(TypedDict):
    """Which projects are managed by rule, and what applying the rule does."""

    rule: str
    dry_run: bool
    by_rule: Count
    by_hand: Count
    coming: Count
    leaving: Count
    excepted: Count
    suspended: bool
    text: str
    unknown_domains: list[str]
    who_comes: list[ComingProject]
    who_leaves: list[LeavingProject]
    who_is_excepted: list[ExceptedProject]
