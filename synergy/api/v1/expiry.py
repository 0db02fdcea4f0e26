"""/v1/expiry: whether servers are ended, and letting it go on."""

from typing import Final

from synergy.api.routing import Body, Call, Route, body_of, query_of
from synergy.api.schemas import wrapped
from synergy.core.declared import commands
from synergy.core.declared.shapes import ref


def list_ending(call: Call) -> Body:
    """List the servers that have an end, the first to end first."""
    return {"requests": call.services.expiry.list_ending(call.scope("requests"), call.query)}


def show_expiry(call: Call) -> Body:
    """Show whether servers are ended, how many are due, and which Nova refuses to end."""
    return {"expiry": call.services.expiry.show()}


def resume_expiry(call: Call) -> Body:
    """End every server that is due, and believe the wall clock: a person has looked at both."""
    return {"expiry": call.services.expiry.resume(call.body)}


_ONE: Final = wrapped(expiry=ref("Expiry"))
ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/expiry/servers",
        name="list_ending",
        summary="List the servers that have an end, the first to end first.",
        rule="requests:get",
        handler=list_ending,
        command=commands.LIST_ENDING,
        query=query_of(commands.LIST_ENDING),
        answer=wrapped(requests={"type": "array", "items": ref("Request")}),
    ),
    Route(
        method="GET",
        path="/v1/expiry",
        name="show_expiry",
        summary="Show whether servers are ended, or why not.",
        rule="expiry:get",
        general=True,
        handler=show_expiry,
        answer=_ONE,
    ),
    Route(
        method="POST",
        path="/v1/expiry/resume",
        name="resume_expiry",
        summary="Let servers be ended again.",
        rule="expiry:resume",
        general=True,
        handler=resume_expiry,
        before=lambda call: call.services.expiry.show(),
        command=commands.RESUME_EXPIRY,
        body=body_of(commands.RESUME_EXPIRY),
        answer=_ONE,
    ),
)
