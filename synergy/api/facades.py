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
from synergy.core.declared.answers import Event, RequestRow, RequestWithHistory
from synergy.core.declared.commands import ManagerCommand

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


class Queue(Facade):
    """What waits, and what became of it."""

    def list_requests(self, project_id: str | None, query: Query) -> list[RequestRow]:
        """Return a page of a project's requests, or of everybody's."""
        return self._ask(commands.LIST_REQUESTS, **{**query, "project_id": project_id})

    def show_request(self, request_id: str) -> RequestWithHistory:
        """Return a request with its ledger. Raises NotFound."""
        return self._ask(commands.SHOW_REQUEST, request_id=request_id)

    def list_events(self, project_id: str | None, query: Query) -> list[Event]:
        """Return a page of what happened to a project's requests, or to everybody's."""
        return self._ask(commands.LIST_EVENTS, **{**query, "project_id": project_id})

    def counts(self) -> dict[str, int]:
        """Return how many requests are in each state."""
        return self._ask(commands.COUNT_REQUESTS)

    def hold(self, request_id: str, *, by: str, if_match: Sequence[str] | None) -> RequestRow:
        """Keep a waiting request from starting. Raises IllegalTransition, PreconditionFailed."""
        return self._ask(commands.HOLD_REQUEST, request_id=request_id, by=by, if_match=if_match)

    def release(self, request_id: str, *, by: str, if_match: Sequence[str] | None) -> RequestRow:
        """Give a request back to the queue. Raises IllegalTransition, PreconditionFailed."""
        return self._ask(commands.RELEASE_REQUEST, request_id=request_id, by=by, if_match=if_match)

    def cancel(self, request_id: str, *, why: str, if_match: Sequence[str] | None) -> RequestRow:
        """Withdraw a waiting request. Raises IllegalTransition, PreconditionFailed."""
        return self._ask(commands.CANCEL_REQUEST, request_id=request_id, why=why, if_match=if_match)

    def extend(self, request_id: str, *, by_s: int, if_match: Sequence[str] | None) -> RequestRow:
        """Let a server live longer. Raises IllegalTransition, InvalidInput, PreconditionFailed."""
        return self._ask(
            commands.EXTEND_REQUEST, request_id=request_id, by_s=by_s, if_match=if_match
        )
