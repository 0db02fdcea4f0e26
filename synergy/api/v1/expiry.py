"""/v1/expiry: whether servers are ended, and letting it go on."""

from typing import Final

from synergy.api.routing import Body, Call, Route, body_of
from synergy.api.schemas import wrapped
from synergy.core.declared import commands
from synergy.core.declared.shapes import ref


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
