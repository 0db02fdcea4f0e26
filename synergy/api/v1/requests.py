"""/v1/requests: what waits, why, until when, and what became of it; and what if."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from synergy.api.routing import (
    TEXT,
    Answer,
    Body,
    Call,
    Handler,
    Lane,
    Route,
    Schema,
    body_of,
    change_of,
    next_page,
    project_named,
    query_of,
    visible,
)
from synergy.api.schemas import listed, wrapped
from synergy.api.visibility import public_why
from synergy.core.declared import commands
from synergy.core.declared.answers.requests import RequestRow, RequestWithHistory
from synergy.core.declared.command import ManagerCommand
from synergy.core.declared.shapes import ref
from synergy.core.errors import IllegalTransition, InvalidInput, NotFound
from synergy.core.lifecycle import Event
from synergy.core.model import State


def list_requests(call: Call) -> Body:
    """List requests, one page at a time; each waiting one has its reason."""
    found = call.services.queue.list_requests(call.scope("requests"), call.query)
    return {"requests": _with_reasons(call, found), "next": next_page(call, found)}


def show_request(call: Call) -> Answer:
    """Show a request with its history."""
    return _shown(call, _found(call, "requests:get"))


def explain_request(call: Call) -> Body:
    """Explain why a request waits: its position, priority, and what would unblock it."""
    found = _found(call, "requests:explain")
    why = None
    if not call.caller.operates:
        why = public_why(found["why"], event=Event(found["history"][-1]["event"]))
    explained = call.services.scheduler.explain(found["id"], why=why)
    return {"explanation": explained}


def hold_request(call: Call) -> Answer:
    """Hold a waiting request, so that it does not start."""
    request_id = _found(call, "requests:hold")["id"]
    by, queue = _side(call), call.services.queue
    return _shown(call, queue.hold(request_id, by=by, if_match=call.if_match))


def release_request(call: Call) -> Answer:
    """Return a held or quarantined request to the queue."""
    request_id = _found(call, "requests:release")["id"]
    by, queue = _side(call), call.services.queue
    return _shown(call, queue.release(request_id, by=by, if_match=call.if_match))


def cancel_request(call: Call) -> Answer:
    """Cancel a waiting request; its server goes to ERROR with the reason."""
    request_id = _found(call, "requests:cancel")["id"]
    why = "cancelled by an operator" if _side(call) == "admin" else "cancelled by its user"
    queue = call.services.queue
    return _shown(call, queue.cancel(request_id, why=why, if_match=call.if_match))


def extend_request(call: Call) -> Answer:
    """Extend the lifetime of a running shared server."""
    request_id = _found(call, "requests:extend")["id"]
    by_s, by, queue = call.body["by_s"], _side(call), call.services.queue
    return _shown(call, queue.extend(request_id, by_s=by_s, by=by, if_match=call.if_match))


def simulate(call: Call) -> Body:
    """Show whether servers would start now, and if not, why, and when they would."""
    body = dict(call.body)
    asked = body.pop("project", None) or call.caller.project_id
    if asked is None:
        raise InvalidInput(
            "project is missing, and your token is not scoped to a project: name a project"
        )
    found = project_named(call, asked)
    call.caller.authorize("requests:simulate", project_id=found["id"])
    users = {user["user_id"] for user in found["users"] if user["active"]}
    mine = call.caller.user_id if call.caller.user_id in users else None
    return {"simulation": call.services.scheduler.simulate(found["id"], mine, body)}


def what_if(call: Call) -> Body:
    """Show which requests would start earlier or later under other rules; nothing changes."""
    return {"what_if": call.services.scheduler.what_if(call.body)}


def _found(call: Call, rule: str) -> RequestWithHistory:
    """Return the request of the path. Raises NotFound also for one that is not to be seen."""
    asked = call.at["request"]
    found = call.services.queue.show_request(asked)
    visible(
        call, rule, "requests:get", f"request {asked!r} does not exist",
        project_id=found["project_id"], user_id=found["user_id"],
    )  # fmt: skip
    if found["archived"] and rule not in ("requests:get", "requests:explain"):
        raise IllegalTransition(f"request {asked} is {found['state']}, and archived")
    return found


def _request_before(call: Call) -> RequestRow:
    (found,) = _with_reasons(call, [_found(call, "requests:get")])
    return found


def _side(call: Call) -> str:
    return "admin" if call.caller.may("admin") else "user"


def _shown(call: Call, found: RequestRow) -> Answer:
    (request,) = _with_reasons(call, [found])
    return Answer({"request": request}, request["revision"])


def _with_reasons(call: Call, found: Sequence[RequestRow]) -> list[RequestRow]:
    """Return requests with why they wait; what is stored of the others stays."""
    waiting = [one["id"] for one in found if one["state"] in (State.QUEUED, State.HELD)]
    reasons: dict[str, str | None] = dict.fromkeys(waiting)
    if waiting:
        with suppress(NotFound):  # where this service runs no scheduler
            reasons |= call.services.scheduler.reasons(waiting)
    return [{**one, "reason": reasons.get(one["id"], one["reason"])} for one in found]


_ONE: Final = wrapped(request=ref("Request"))


def _action(
    summary: str,
    handler: Handler,
    command: ManagerCommand[RequestRow],
    body: Schema | None = None,
) -> Route:
    return Route(
        method="POST",
        path=f"/v1/requests/{{request}}/{command.name}",
        name=f"{command.name}_request",
        summary=summary,
        rule=f"requests:{command.name}",
        handler=handler,
        before=_request_before,
        command=command,
        body=body,
        answer=_ONE,
        matches=True,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/requests",
        name="list_requests",
        summary="List requests, one page at a time; each waiting one has its reason.",
        rule="requests:get",
        handler=list_requests,
        command=commands.LIST_REQUESTS,
        query=query_of(commands.LIST_REQUESTS),
        answer=listed("requests", "Request"),
    ),
    Route(
        method="GET",
        path="/v1/requests/{request}",
        name="show_request",
        summary="Show a request with its history, and why it waits.",
        rule="requests:get",
        handler=show_request,
        command=commands.SHOW_REQUEST,
        answer=_ONE,
        matches=True,
    ),
    Route(
        method="GET",
        path="/v1/requests/{request}/explain",
        name="explain_request",
        summary="Explain why a request waits: its position, priority, and what would unblock it.",
        rule="requests:explain",
        handler=explain_request,
        command=commands.EXPLAIN_REQUEST,
        lane=Lane.COSTLY,
        answer=wrapped(explanation=ref("Explanation")),
    ),
    _action(
        "Hold a waiting request, so that it does not start.", hold_request, commands.HOLD_REQUEST
    ),
    _action("Return a held request to the queue.", release_request, commands.RELEASE_REQUEST),
    _action(
        "Cancel a waiting request; its server goes to ERROR.",
        cancel_request,
        commands.CANCEL_REQUEST,
    ),
    _action(
        "Extend the lifetime of a running shared server.",
        extend_request,
        commands.EXTEND_REQUEST,
        body_of(commands.EXTEND_REQUEST, filled_in=("request_id", "by", "if_match")),
    ),
    Route(
        method="POST",
        path="/v1/simulate",
        name="simulate",
        summary="Show whether servers would start now; nothing is created.",
        rule="requests:simulate",
        handler=simulate,
        harmless=lambda _: True,
        lane=Lane.COSTLY,
        command=commands.SIMULATE,
        body=body_of(
            commands.SIMULATE, filled_in=("project_id", "user_id"), besides={"project": TEXT}
        ),
        answer=wrapped(simulation=ref("Simulation")),
    ),
    Route(
        method="POST",
        path="/v1/what-if",
        name="what_if",
        summary="Show which requests would start earlier or later under other rules.",
        rule="what_if:ask",
        general=True,
        handler=what_if,
        harmless=lambda _: True,
        lane=Lane.COSTLY,
        command=commands.WHAT_IF_QUEUE,
        body=change_of(commands.WHAT_IF_QUEUE.takes, {}),
        answer=wrapped(what_if=ref("WhatIf")),
    ),
)
