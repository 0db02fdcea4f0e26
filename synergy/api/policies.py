"""Every policy rule, documented; and the one who asks, checked against them.

Why: who may do what is written down once, from which come the checks, the sample file and the
table in the documentation. What a caller sends is the target of a rule, never its credentials.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from oslo_config import cfg
from oslo_context.context import RequestContext
from oslo_policy import policy

from synergy.core.declared.answers import READS
from synergy.core.declared.read import OfOneProject, OfOperators, OfProjects, Read
from synergy.core.errors import PolicyDenied, Unauthenticated

POLICY_READ_S: Final = 5.0  # how old what is known of the operator's policy files may be
ADMIN: Final = "role:admin"
_ADMIN_OR_SERVICE: Final = "rule:synergy:admin or role:service"
_READER: Final = "rule:synergy:admin or role:service or (role:reader and project_id:%(project_id)s)"
_MEMBER: Final = "rule:synergy:admin or (role:member and project_id:%(project_id)s)"
_OWNER: Final = (
    "rule:synergy:admin or (role:manager and project_id:%(project_id)s) or "
    "(role:member and project_id:%(project_id)s and user_id:%(user_id)s)"
)


class Rule(policy.DocumentedRuleDefault):
    """A documented rule; the routes say which of them it guards."""

    def __init__(self, name: str, check: str, description: str, *operations: str) -> None:
        """operations  such as "GET /v1/requests" """
        paths = [one.split(" ") for one in operations]
        super().__init__(
            f"synergy:{name}",
            check,
            description,
            [{"method": method, "path": path} for method, path in paths],
        )


def _rules_of(read: Read[Any]) -> Iterator[Rule]:
    """Yield the rules of a resource that is only read."""
    operation = f"GET {read.path}"
    match read.whose:
        case OfOperators(rule):
            yield Rule(f"{read.noun}:get", _ADMIN_OR_SERVICE, rule, operation)
        case OfProjects(rule, rule_all):
            yield Rule(f"{read.noun}:get", _READER, rule, operation)
            yield Rule(f"{read.noun}:get_all", _ADMIN_OR_SERVICE, rule_all, operation)
        case OfOneProject(rule):
            yield Rule(f"{read.noun}:get", _READER, rule, operation)


BASE: Final = policy.RuleDefault("synergy:admin", ADMIN, "An operator of the cloud.")
RULES: Final[tuple[Rule, ...]] = (
    Rule("managers:get", _ADMIN_OR_SERVICE, "List and show managers.",
         "GET /v1/managers", "GET /v1/managers/{manager}"),
    Rule("managers:control", "rule:synergy:admin", "Start and pause managers.",
         "POST /v1/managers/{manager}/start", "POST /v1/managers/{manager}/stop"),
    Rule("managers:execute", "rule:synergy:admin", "Run a command of a manager.",
         "POST /v1/managers/{manager}/commands/{command}"),
    Rule("projects:get", _READER, "Show a managed project.",
         "GET /v1/projects", "GET /v1/projects/{project}"),
    Rule("projects:get_all", _ADMIN_OR_SERVICE, "List every managed project.",
         "GET /v1/projects"),
    Rule("projects:create", "rule:synergy:admin", "Manage a project.", "POST /v1/projects"),
    Rule("projects:update", "rule:synergy:admin", "Change a project's shares, quota and limits.",
         "PATCH /v1/projects/{project}"),
    Rule("projects:delete", "rule:synergy:admin", "Stop managing a project.",
         "DELETE /v1/projects/{project}"),
    Rule("project_rule:get", _ADMIN_OR_SERVICE,
         "Show which projects the rule adds and removes.", "GET /v1/project-rule"),
    Rule("project_rule:resume", "rule:synergy:admin",
         "Let all projects leave that the rule no longer manages.", "POST /v1/project-rule/resume"),
    Rule("users:get", _READER, "Show the users of a project and their shares.",
         "GET /v1/projects/{project}/users", "GET /v1/projects/{project}/users/{user}"),
    Rule("users:update", "rule:synergy:admin", "Change a user's shares or priority.",
         "PATCH /v1/projects/{project}/users/{user}"),
    Rule("requests:get", _READER, "List and show a project's requests.",
         "GET /v1/requests", "GET /v1/expiry/servers", "GET /v1/requests/{request}"),
    Rule("requests:get_all", _ADMIN_OR_SERVICE, "List everybody's requests.",
         "GET /v1/requests", "GET /v1/expiry/servers"),
    Rule("requests:explain", _READER, "Explain why a request waits, and when it starts.",
         "GET /v1/requests/{request}/explain"),
    Rule("requests:hold", _OWNER, "Hold a waiting request, so that it does not start.",
         "POST /v1/requests/{request}/hold"),
    Rule("requests:release", _OWNER, "Return a held request to the queue.",
         "POST /v1/requests/{request}/release"),
    Rule("requests:cancel", _OWNER, "Cancel a waiting request.",
         "POST /v1/requests/{request}/cancel"),
    Rule("requests:extend", _OWNER,
         "Extend the lifetime of a running shared server; users as the project's settings allow.",
         "POST /v1/requests/{request}/extend"),
    Rule("requests:simulate", _MEMBER, "Show whether servers would start now.",
         "POST /v1/simulate"),
    Rule("what_if:ask", "rule:synergy:admin",
         "Show which requests would start earlier or later under other rules.", "POST /v1/what-if"),
    Rule("expiry:resume", "rule:synergy:admin", "Let servers be ended again.",
         "POST /v1/expiry/resume"),
    *(rule for read in READS for rule in _rules_of(read)),
    Rule("audit:get", "rule:synergy:admin", "List who changed what through the API.",
         "GET /v1/audit"),
    Rule("metrics:get", _ADMIN_OR_SERVICE, "Read the metrics.", "GET /metrics"),
)  # fmt: skip


def list_rules() -> list[policy.RuleDefault]:
    """Return every rule, for the sample policy file."""
    return [BASE, *RULES]


class Enforcer(Protocol):
    """What is asked of oslo.policy."""

    def authorize(
        self, rule: str, target: Mapping[str, object], creds: Any, do_raise: bool = False
    ) -> object:
        """Return whether a rule holds for a target."""


class _Rules(policy.Enforcer):
    """Looks at the operator's files now and then: at every question it would try a dozen paths."""

    def __init__(self, conf: cfg.ConfigOpts, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s, self._looked_s = monotonic_s, float("-inf")
        super().__init__(conf)

    def load_rules(self, force_reload: bool = False) -> None:
        """Read the files again if they changed, POLICY_READ_S after the last look."""
        now_s = self._monotonic_s()
        if force_reload or now_s >= self._looked_s + POLICY_READ_S:
            self._looked_s = now_s
            super().load_rules(force_reload)


def new_enforcer(
    conf: cfg.ConfigOpts, monotonic_s: Callable[[], float] = time.monotonic
) -> Enforcer:
    """Return an enforcer of the defaults and of the operator's policy file."""
    enforcer = _Rules(conf, monotonic_s)
    enforcer.register_defaults(list_rules())
    enforcer.load_rules()
    found: Enforcer = enforcer
    return found


class Caller:
    """Who asks: the identity that the authentication found."""

    def __init__(self, context: RequestContext, enforcer: Enforcer, *, known: bool) -> None:
        """known is False for a caller without a valid token."""
        self._context, self._enforcer, self._known = context, enforcer, known
        self.project_id: str | None = context.project_id
        self.user_id: str | None = context.user_id

    def identity(self) -> dict[str, object]:
        """Return who asks, for the audit."""
        context = self._context
        return {
            "request_id": context.request_id or "",
            "user_id": context.user_id,
            "user_name": context.user_name,
            "project_id": context.project_id,
            "roles": list(context.roles or ()),
        }

    @property
    def operates(self) -> bool:
        """Return whether the caller may see what belongs to no single project, such as hosts."""
        return self._known and self.may("requests:get_all")

    def may(self, rule: str, **target: str | None) -> bool:
        """Return whether a rule lets the caller do something to a target."""
        return bool(self._enforcer.authorize(f"synergy:{rule}", target, self._context))

    def identify(self) -> None:
        """Raise Unauthenticated for a caller without a valid token."""
        if not self._known:
            raise Unauthenticated("this needs a valid token of Keystone in the header X-Auth-Token")

    def authorize(self, rule: str, **target: str | None) -> None:
        """Raise PolicyDenied unless the rule holds."""
        self.identify()
        if not self.may(rule, **target):
            raise PolicyDenied(f"policy does not allow you synergy:{rule}")
