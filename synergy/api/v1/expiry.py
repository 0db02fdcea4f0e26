"""/v1/expiry: whether servers are ended, and letting it go on."""

from typing import Any, Final

from synergy.api.routing import Call, Route
from synergy.api.schemas import wrapped
from synergy.core.declared.shapes import ref


def show_expiry(call: Call) -> Any:
    """Show whether servers are ended, how many are due, and which Nova refuses to end."""
    return {"expiry": call.run("expiry", "show")}


def resume_expiry(call: Call) -> Any:
    """End every server that is due, and believe the wall clock: a person has looked at both."""
    return {"expiry": call.run("expiry", "resume")}


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
        before=lambda call: show_expiry(call)["expiry"],
        answer=_ONE,
    ),
)
