"""Which projects a rule manages, and what changes when it is applied.

Why: a rule over all of Keystone takes thousands of projects in, or lets them go, at once. So what
it would do is computed first, as a value that can be shown, compared and refused. Must not know
where projects come from, nor how one is taken in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, Self

# Projects of OpenStack's own services, such as the servers of load balancers.
SERVICE_NAMES: Final = frozenset({"service", "services"})
_DOMAINS: Final = "domains:"
_DOMAIN: Final = r"[^,]*[^\s\x1c-\x1f\x85,][^,]*"  # one that is more than spaces
# What `Manage.read` reads, as the schema of the API says it.
MANAGE_PATTERN: Final = rf"^(listed|all|{_DOMAINS}{_DOMAIN}(,{_DOMAIN})*)$(?!\n)"
MANAGE_FORM: Final = (
    "listed, all, or domains: followed by names or ids of domains, such as domains:Default,Research"
)


class Described(Protocol):
    """A project as Keystone shows it; see `ports.ProjectView`."""

    @property
    def project_id(self) -> str:
        """Its id."""

    @property
    def name(self) -> str:
        """Its name, unique in its domain."""

    @property
    def domain_id(self) -> str:
        """The id of its domain."""

    @property
    def domain_name(self) -> str:
        """The name of its domain."""

    @property
    def enabled(self) -> bool:
        """Whether its users can act in it."""

    @property
    def tags(self) -> frozenset[str]:
        """What Keystone calls tags."""


class Scope(StrEnum):
    """Whose projects a rule manages."""

    LISTED = "listed"
    DOMAINS = "domains"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Manage:
    """Whose projects are managed without being added by hand.

    domains  names or ids, only with Scope.DOMAINS
    """

    scope: Scope = Scope.LISTED
    domains: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self:
        """Read `listed`, `all` or `domains:NAME_OR_ID,...`. Raises ValueError."""
        if text in (Scope.LISTED, Scope.ALL):
            return cls(Scope(text))
        if text.startswith(_DOMAINS):
            named = [part.strip() for part in text.removeprefix(_DOMAINS).split(",")]
            if all(named):
                return cls(Scope.DOMAINS, tuple(dict.fromkeys(named)))
        raise ValueError(f"{text[:100]!r} is no rule: give {MANAGE_FORM}")

    def __str__(self) -> str:
        """Return the text that `read` reads."""
        named = ",".join(self.domains)
        return f"{_DOMAINS}{named}" if self.scope is Scope.DOMAINS else str(self.scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Who is managed by rule, and the exceptions.

    exclude      names or ids of projects
    exclude_tag  tag of projects that are not managed, "" for none
    include_tag  tag of projects of other domains that are managed too, "" for none
    own          ids of the projects that Synergy itself acts in
    """

    manage: Manage = Manage()
    exclude: frozenset[str] = frozenset()
    exclude_tag: str = ""
    include_tag: str = ""
    own: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a rule manages a project.

    clause  the part of the rule that says so, "" if none does
    why     why none does; `excepted` if one would without an exception
    """

    clause: str
    why: str = ""
    excepted: bool = False


def verdict_of(project: Described, rule: Rule) -> Verdict:
    """Return whether a rule manages a project; an exception goes before everything else."""
    clause = _clause_of(project, rule)
    if not clause:
        return Verdict("", f"[project] manage is {rule.manage}")
    why = _exception_of(project, rule)
    return Verdict("", why, excepted=True) if why else Verdict(clause)


def _clause_of(project: Described, rule: Rule) -> str:
    manage = rule.manage
    if manage.scope is Scope.LISTED:
        return ""
    if manage.scope is Scope.ALL:
        return "all"
    if project.domain_id in manage.domains or project.domain_name in manage.domains:
        return f"domain {project.domain_name}"
    return f"tag {rule.include_tag}" if rule.include_tag in project.tags else ""


def _exception_of(project: Described, rule: Rule) -> str:
    if not project.enabled:
        return "it is disabled in Keystone"
    if project.project_id in rule.own:
        return "Synergy itself acts in it"
    if project.name.lower() in SERVICE_NAMES:
        return "its name is that of the project of OpenStack's services"
    if project.project_id in rule.exclude or project.name in rule.exclude:
        return "[project] exclude names it"
    return f"it has the tag {rule.exclude_tag}" if rule.exclude_tag in project.tags else ""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A project that a rule manages no longer.

    listed  whether Keystone lists it
    able    whether its users can still act in it
    """

    project_id: str
    why: str
    listed: bool = True
    able: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What applying a rule does.

    coming    id -> clause, of projects that are not managed
    leaving   of projects that were managed by rule
    clauses   id -> clause, of projects that stay, where it is another than before
    excepted  id -> why, of projects that the rule would manage without an exception
    unknown   names or ids of domains that no project is of
    """

    coming: Mapping[str, str]
    leaving: tuple[Leaving, ...]
    clauses: Mapping[str, str]
    excepted: Mapping[str, str]
    unknown: tuple[str, ...] = ()


def effect_of(rule: Rule, projects: Iterable[Described], managed: Mapping[str, str]) -> Effect:
    """Return what a rule changes; what was added by hand stays as it is.

    managed  id -> clause of every managed project, "" of one that was added by hand
    """
    views = {one.project_id: one for one in projects}
    verdicts = {key: verdict_of(view, rule) for key, view in views.items()}
    leaving = []
    for project_id, clause in managed.items():
        verdict = verdicts.get(project_id)
        if not clause or (verdict is not None and verdict.clause):
            continue
        why = "Keystone does not list it" if verdict is None else verdict.why
        able = verdict is not None and views[project_id].enabled
        leaving.append(Leaving(project_id, why, listed=verdict is not None, able=able))
    known = {name for view in views.values() for name in (view.domain_id, view.domain_name)}
    return Effect(
        coming={
            key: one.clause for key, one in verdicts.items() if one.clause and key not in managed
        },
        leaving=tuple(sorted(leaving, key=lambda one: one.project_id)),
        clauses={
            key: one.clause
            for key, one in verdicts.items()
            if one.clause and managed.get(key) and managed[key] != one.clause
        },
        excepted={
            key: one.why for key, one in verdicts.items() if one.excepted and not managed.get(key)
        },
        unknown=tuple(name for name in rule.manage.domains if name not in known),
    )


def brake_on(effect: Effect, *, by_rule: int, maximum: int) -> str:
    """Return why nobody is let go, "" if those who leave may.

    by_rule  how many projects are managed by rule now
    maximum  how many may leave in one pass
    """
    able = [one for one in effect.leaving if one.listed and one.able]
    if effect.unknown and able:
        return (
            f"Keystone has no project in domain {', '.join(effect.unknown)}, which [project] "
            "manage names"
        )
    count = len(effect.leaving)
    if count > maximum:
        return f"{count} of {by_rule} projects would leave at once, more than [project] max_leaving"
    return ""
