"""/v1/requests: what waits, why, until when, and what became of it; and what if."""

from collections.abc import Sequence
from typing import Any, Final

from synergy.api.routing import (
    LIMIT,
    TEXT,
    Answer,
    Call,
    Lane,
    Route,
    next_page,
    project_named,
    visible,
)
from synergy.api.schemas import listed, wrapped
from synergy.api.visibility import public_why
from synergy.core.declared.answers import RequestRow, RequestWithHistory
from synergy.core.declared.commands import LONGER_BY, WHAT_IF
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.filters import MARKER, REQUEST_FILTERS, SORTING
from synergy.core.declared.shapes import object_of, ref
from synergy.core.errors import InvalidInput, NotFound
from synergy.core.lifecycle import Event
from synergy.core.model import State


def list_requests(call: Call) -> Any:
    """List requests, a page at a time; those that wait tell why."""
    found = call.services.queue.list_requests(call.scope("requests"), call.query)
    return {"requests": _with_reasons(call, found), "next": next_page(call, found)}


def show_request(call: Call) -> Answer:
    """Show a request with its history."""
    return _shown(call, _found(call, "requests:get"))


def explain_request(call: Call) -> Any:
    """Tell why a request waits, its place and priority, and what would unblock it."""
    found = _found(call, "requests:explain")
    told = {}
    if not call.caller.operates:
        event = Event(found["history"][-1]["event"])
        told["why"] = public_why(found["why"], event=event)
    explained = call.run("scheduler", "explain", request_id=found["id"], **told)
    return {"explanation": explained}


def hold_request(call: Call) -> Answer:
    """Keep a waiting request from starting."""
    request_id = _found(call, "requests:hold")["id"]
    by, queue = _side(call), call.services.queue
    return _shown(call, queue.hold(request_id, by=by, if_match=call.if_match))


def release_request(call: Call) -> Answer:
    """Give a held or quarantined request back to the queue."""
    request_id = _found(call, "requests:release")["id"]
    by, queue = _side(call), call.services.queue
    return _shown(call, queue.release(request_id, by=by, if_match=call.if_match))


def cancel_request(call: Call) -> Answer:
    """Withdraw a waiting request; its server ends in ERROR with the reason."""
    request_id = _found(call, "requests:cancel")["id"]
    why = "cancelled by an operator" if _side(call) == "admin" else "cancelled by its user"
    queue = call.services.queue
    return _shown(call, queue.cancel(request_id, why=why, if_match=call.if_match))


def extend_request(call: Call) -> Answer:
    """Let a running shared server live longer."""
    request_id = _found(call, "requests:extend")["id"]
    by_s, queue = call.body["by_s"], call.services.queue
    return _shown(call, queue.extend(request_id, by_s=by_s, if_match=call.if_match))


def simulate(call: Call) -> Any:
    """Tell whether servers would start now, and if not, why and when at the latest."""
    body = dict(call.body)
    asked = body.pop("project", None) or call.caller.project_id
    if asked is None:
        raise InvalidInput("project is missing: your token is of none, so say for which")
    found = project_named(call, asked)
    call.caller.authorize("requests:simulate", project_id=found["id"])
    users = {user["user_id"] for user in found["users"] if user["active"]}
    mine = call.caller.user_id if call.caller.user_id in users else None
    seen = call.run("scheduler", "simulate", project_id=found["id"], user_id=mine, **body)
    return {"simulation": seen}


def _found(call: Call, rule: str) -> RequestWithHistory:
    """Return the request of the path. Raises NotFound also for one that is not to be seen."""
    asked = call.at["request"]
    found = call.services.queue.show_request(asked)
    visible(
        call, rule, "requests:get", f"request {asked!r} does not exist",
        project_id=found["project_id"], user_id=found["user_id"],
    )  # fmt: skip
    return found


def _request_before(call: Call) -> Any:
    return show_request(call).body["request"]


def _side(call: Call) -> str:
    return "admin" if call.caller.may("admin") else "user"


def _shown(call: Call, found: RequestRow) -> Answer:
    (request,) = _with_reasons(call, [found])
    return Answer({"request": request}, request["revision"])


def _with_reasons(call: Call, found: Sequence[RequestRow]) -> list[RequestRow]:
    """Return requests with why they wait; what is stored of the others stays."""
    waiting = [one["id"] for one in found if one["state"] in (State.QUEUED, State.HELD)]
    if not waiting:
        return list(found)
    reasons: dict[str, Any] = {}
    try:
        reasons = call.run("scheduler", "reasons", request_ids=waiting)
    except NotFound:
        reasons = {}  # this process runs no scheduler
    told = {request_id: reasons.get(request_id) for request_id in waiting}
    return [{**one, "reason": told.get(one["id"], one["reason"])} for one in found]


_ONE: Final = wrapped(request=ref("Request"))


def _action(name: str, summary: str, handler: Any, body: Any = None) -> Route:
    return Route(
        method="POST",
        path=f"/v1/requests/{{request}}/{name}",
        name=f"{name}_request",
        summary=summary,
        rule=f"requests:{name}",
        handler=handler,
        before=_request_before,
        body=body,
        answer=_ONE,
        matches=True,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/requests",
        name="list_requests",
        summary="List requests, a page at a time; those that wait tell why.",
        rule="requests:get",
        handler=list_requests,
        query={
            **schemas_of([*REQUEST_FILTERS, *SORTING, MARKER]),
            "limit": LIMIT,
        },
        answer=listed("requests", "Request"),
    ),
    Route(
        method="GET",
        path="/v1/requests/{request}",
        name="show_request",
        summary="Show a request with its history, and why it waits.",
        rule="requests:get",
        handler=show_request,
        answer=_ONE,
        matches=True,
    ),
    Route(
        method="GET",
        path="/v1/requests/{request}/explain",
        name="explain_request",
        summary="Tell why a request waits, its place and priority, and what would unblock it.",
        rule="requests:explain",
        handler=explain_request,
        lane=Lane.COSTLY,
        answer=wrapped(explanation=ref("Explanation")),
    ),
    _action("hold", "Keep a waiting request from starting.", hold_request),
    _action("release", "Give a held request back to the queue.", release_request),
    _action("cancel", "Withdraw a waiting request; its server ends in ERROR.", cancel_request),
    _action(
        "extend",
        "Let a running shared server live longer.",
        extend_request,
        object_of(schemas_of([LONGER_BY]), ["by_s"]),
    ),
    Route(
        method="POST",
        path="/v1/simulate",
        name="simulate",
        summary="Tell whether servers would start now; nothing is created.",
        rule="requests:simulate",
        handler=simulate,
        harmless=lambda _: True,
        lane=Lane.COSTLY,
        body=object_of({"project": TEXT, **schemas_of(WHAT_IF)}, ["flavor"]),
        answer=wrapped(simulation=ref("Simulation")),
    ),
)
