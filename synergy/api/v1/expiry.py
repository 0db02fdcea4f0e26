"""/v1/expiry: which servers end next, and letting them be ended again."""

from typing import Final

from synergy.api.routing import Body, Call, Route, body_of, next_page, query_of
from synergy.api.schemas import listed, wrapped
from synergy.core.declared import commands
from synergy.core.declared.shapes import ref


def list_ending(call: Call) -> Body:
    """List the servers that have an end, the first to end first, a page at a time."""
    found = call.services.expiry.list_ending(call.scope("requests"), call.query)
    return {"requests": found, "next": next_page(call, found)}


def resume_expiry(call: Call) -> Body:
    """End every server that is due, and believe the wall clock: a person has looked at both."""
    return {"expiry": call.services.expiry.resume(call.body)}


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/expiry/servers",
        name="list_ending",
        summary="List the servers that have an end, the first to end first, a page at a time.",
        rule="requests:get",
        handler=list_ending,
        command=commands.LIST_ENDING,
        query=query_of(commands.LIST_ENDING),
        answer=listed("requests", "Request"),
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
        answer=wrapped(expiry=ref("Expiry")),
    ),
)
