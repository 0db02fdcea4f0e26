"""Our managers as the API calls them: typed, by the commands that they declare.

Why: a route says what it wants, and a type checker knows what it gets; the name of a command and
the way of a call to its manager are told once. A manager runs a command in the lock of its runs, or
beside them where it is declared so; one that is paused answers all the same. Every method raises
NotFound where its manager is not loaded, InvalidInput, what the command raises, and
UpstreamUnavailable where the managers cannot be reached. Must not know who carries a call.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from synergy.core.declared import commands
from synergy.core.declared.answers.ends import SHOW_EXPIRY, Expiry, Notifier, QuarantineSize
from synergy.core.declared.answers.forecasts import MethodScore
from synergy.core.declared.answers.projects import (
    Project,
    ProjectRule,
    ProjectWithUsers,
    Removal,
    User,
)
from synergy.core.declared.answers.requests import RequestRow, RequestWithHistory
from synergy.core.declared.answers.rounds import SHOW_ROUND, Explanation, Round, Simulation
from synergy.core.declared.answers.supposed import WhatIf
from synergy.core.declared.answers.usage import SHOW_QUOTA, Quota
from synergy.core.declared.command import ManagerCommand
from synergy.core.declared.read import Read

A = TypeVar("A")
Query = Mapping[str, object]  # what a route took by the command's own schema


class Carrier(Protocol):
    """Whatever brings a call to a manager; see `api.services.ServiceHost`."""

    def execute(self, name: str, command: str, arguments: Mapping[str, object]) -> Any:
        """Run a command."""


class Facade:
    """A manager, called by what it declares."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier

    def _ask(self, command: ManagerCommand[A], /, **arguments: object) -> A:
        """Run a command, leaving out arguments that are None."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return self._ask_exactly(command, given)

    def _ask_exactly(self, command: ManagerCommand[A], arguments: Mapping[str, object]) -> A:
        """Run a command; an argument that is None is given as null."""
        answer: A = self._carrier.execute(command.manager, command.name, arguments)
        return answer


class Reads(Facade):
    """What is only read, and needs no method of its own to be asked for."""

    def ask(self, read: Read[A], arguments: Query) -> A:
        """Return what a read answers; arguments that are None are left out."""
        return self._ask(read, **arguments)


class Queue(Facade):
    """What waits, and what became of it."""

    def list_requests(self, project_id: str | None, query: Query) -> list[RequestRow]:
        """Return a page of a project's requests, or of everybody's."""
        return self._ask(commands.LIST_REQUESTS, **{**query, "project_id": project_id})

    def show_request(self, request_id: str) -> RequestWithHistory:
        """Return a request with its ledger. Raises NotFound."""
        return self._ask(commands.SHOW_REQUEST, request_id=request_id)

    def counts(self) -> dict[str, int]:
        """Return how many requests are in each state."""
        return self._ask(commands.COUNT_REQUESTS)

    def hold(self, request_id: str, *, by: str, if_match: Sequence[str] | None) -> RequestRow:
        """Hold a waiting request, so that it does not start.

        Raises IllegalTransition, PreconditionFailed.
        """
        return self._ask(commands.HOLD_REQUEST, request_id=request_id, by=by, if_match=if_match)

    def release(self, request_id: str, *, by: str, if_match: Sequence[str] | None) -> RequestRow:
        """Give a request back to the queue. Raises IllegalTransition, PreconditionFailed."""
        return self._ask(commands.RELEASE_REQUEST, request_id=request_id, by=by, if_match=if_match)

    def cancel(self, request_id: str, *, why: str, if_match: Sequence[str] | None) -> RequestRow:
        """Withdraw a waiting request. Raises IllegalTransition, PreconditionFailed."""
        return self._ask(commands.CANCEL_REQUEST, request_id=request_id, why=why, if_match=if_match)

    def extend(
        self, request_id: str, *, by_s: int, by: str, if_match: Sequence[str] | None
    ) -> RequestRow:
        """Let a server live longer; for a user by the project's rule. Raises Conflict,
        InvalidInput, PreconditionFailed."""
        return self._ask(
            commands.EXTEND_REQUEST, request_id=request_id, by_s=by_s, by=by, if_match=if_match
        )


class Scheduler(Facade):
    """The last round, and questions about the next ones."""

    def latest_round(self) -> Round:
        """Return the last round and its counters."""
        return self._ask(SHOW_ROUND)

    def reasons(self, request_ids: Sequence[str]) -> dict[str, str | None]:
        """Return why requests wait by their ids, None for those that do not."""
        return self._ask(commands.REASONS_OF, request_ids=request_ids)

    def explain(self, request_id: str, *, why: str | None) -> Explanation:
        """Return why a request waits, and what would unblock it. Raises NotFound.

        why  prose to tell instead of the request's own, which may not be for the one who asks
        """
        return self._ask(commands.EXPLAIN_REQUEST, request_id=request_id, why=why)

    def simulate(self, project_id: str, user_id: str | None, asked: Query) -> Simulation:
        """Return what would become of servers that were asked for now."""
        return self._ask(
            commands.SIMULATE, **{**asked, "project_id": project_id, "user_id": user_id}
        )

    def what_if(self, supposed: Query) -> WhatIf:
        """Return who would start earlier or later. Raises NotFound, InvalidInput, Conflict."""
        return self._ask(commands.WHAT_IF_QUEUE, **supposed)


class Projects(Facade):
    """Who takes part. In what is set, None is a value: no limit, no priority of its own."""

    def list_projects(self) -> list[Project]:
        """Return every managed project."""
        return self._ask(commands.LIST_PROJECTS)

    def show(self, project: str) -> ProjectWithUsers:
        """Return a managed project with its users. Raises NotFound."""
        return self._ask(commands.SHOW_PROJECT, project=project)

    def add(self, body: Query) -> commands.Changed:
        """Manage a project. Raises Conflict where that would exceed the cloud."""
        return self._ask_exactly(commands.ADD_PROJECT, body)

    def set(self, project: str, body: Query, *, if_match: Sequence[str] | None) -> commands.Changed:
        """Change a project. Raises Conflict, PreconditionFailed."""
        return self._ask_exactly(
            commands.SET_PROJECT, {"project": project, **body, **_matching(if_match)}
        )

    def remove(
        self, project: str, how: Query, *, if_match: Sequence[str] | None
    ) -> Project | Removal:
        """Manage a project no longer. Raises Conflict, PreconditionFailed."""
        return self._ask(commands.REMOVE_PROJECT, project=project, **how, if_match=if_match)

    def rule(self, query: Query) -> ProjectRule:
        """Return whom the rule takes in and lets go, or what another rule would do."""
        return self._ask(commands.SHOW_RULE, **query)

    def rule_suspended(self) -> bool:
        """Return whether no project leaves by the rule until an operator has checked them."""
        return self._ask(commands.RULE_SUSPENDED)

    def resume_rule(self) -> ProjectRule:
        """Let all projects leave that the rule no longer manages."""
        return self._ask(commands.RESUME_RULE)

    def set_user(
        self, project: str, user: str, body: Query, *, if_match: Sequence[str] | None
    ) -> User:
        """Change a user of a project. Raises NotFound, PreconditionFailed."""
        given = {"project": project, "user": user, **body, **_matching(if_match)}
        return self._ask_exactly(commands.SET_USER, given)


class Quotas(Facade):
    """The shared quota."""

    def show(self, project_id: str | None = None) -> Quota:
        """Return who owns and holds what, of a project only what is its own.

        Raises UpstreamUnavailable before the first look at the cloud.
        """
        return self._ask(SHOW_QUOTA, project_id=project_id)


class Forecasts(Facade):
    """When what waits will start."""

    def standing(self) -> list[MethodScore]:
        """Return how well everybody's forecasts held when that was looked at last."""
        return self._ask(commands.STANDING_OF_FORECASTS)


class Ends(Facade):
    """The ends of shared servers."""

    def list_ending(self, project_id: str | None, query: Query) -> list[RequestRow]:
        """Return the servers of a project, or of everybody, that end, the first to end first."""
        return self._ask(commands.LIST_ENDING, **{**query, "project_id": project_id})

    def show(self) -> Expiry:
        """Return whether servers are ended, or why not."""
        return self._ask(SHOW_EXPIRY)

    def resume(self, how: Query) -> Expiry:
        """Let servers be ended again, and believe the wall clock."""
        return self._ask(commands.RESUME_EXPIRY, **how)


class Archive(Facade):
    """What is kept aside."""

    def quarantined(self) -> QuarantineSize:
        """Return how many messages are kept for a person, and how many may be."""
        return self._ask(commands.COUNT_QUARANTINED)


class Nova(Facade):
    """What Nova has."""

    def lost_builds(self) -> list[str]:
        """Return the requests that the conductor has and of which nothing is heard."""
        return self._ask(commands.LOST_BUILDS)


class Notifications(Facade):
    """What is sent to others."""

    def show(self) -> Notifier:
        """Return how far notifications are sent, and what waits or was dropped."""
        return self._ask(commands.SHOW_NOTIFIER)


def _matching(if_match: Sequence[str] | None) -> dict[str, object]:
    return {} if if_match is None else {"if_match": if_match}
