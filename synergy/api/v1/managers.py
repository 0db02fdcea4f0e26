"""/v1/managers: what runs, and its commands."""

from typing import Final

from synergy.api.routing import Body, Call, Route, is_tried
from synergy.api.schemas import wrapped
from synergy.core.declared.answers.service import Manager
from synergy.core.declared.command import DRY_RUN
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.shapes import object_of, ref
from synergy.core.errors import InvalidInput


def list_managers(call: Call) -> Body:
    """List the managers with status, last and next run, and last error."""
    return {"managers": call.services.host.managers()}


def show_manager(call: Call) -> Body:
    """Show one manager with its commands."""
    return {"manager": call.services.host.manager(call.at["manager"])}


def start_manager(call: Call) -> Body:
    """Let a paused manager run; one in ERROR is set up again."""
    return {"manager": call.services.host.start_manager(call.at["manager"])}


def stop_manager(call: Call) -> Body:
    """Pause a manager after the run it may be in; a dry run shows what that means."""
    if is_tried(call):
        return show_manager(call)
    return {"manager": call.services.host.stop_manager(call.at["manager"])}


def execute(call: Call) -> Body:
    """Run a command of a manager; the body holds its arguments."""
    if not all(name.isidentifier() for name in call.body):
        wrong = next(name for name in call.body if not name.isidentifier())
        raise InvalidInput(f"{wrong!r} is not the name of an argument")
    found = call.services.host.execute(call.at["manager"], call.at["command"], call.body)
    return {"result": found}


def _as_it_is(call: Call) -> Manager:
    return call.services.host.manager(call.at["manager"])


def _only_reads(call: Call) -> bool:
    """Return whether a command only reads; one that does not exist changes nothing either."""
    commands = call.services.host.manager(call.at["manager"])["commands"]
    return not any(one["changes"] for one in commands if one["name"] == call.at["command"])


_ONE: Final = wrapped(manager=ref("Manager"))
ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/managers",
        name="list_managers",
        summary="List the managers.",
        rule="managers:get",
        general=True,
        handler=list_managers,
        answer=wrapped(managers={"type": "array", "items": ref("Manager")}),
    ),
    Route(
        method="GET",
        path="/v1/managers/{manager}",
        name="show_manager",
        summary="Show a manager with its commands.",
        rule="managers:get",
        general=True,
        handler=show_manager,
        answer=_ONE,
    ),
    Route(
        method="POST",
        path="/v1/managers/{manager}/start",
        name="start_manager",
        summary="Let a paused manager run.",
        rule="managers:control",
        general=True,
        handler=start_manager,
        before=_as_it_is,
        answer=_ONE,
    ),
    Route(
        method="POST",
        path="/v1/managers/{manager}/stop",
        name="stop_manager",
        summary="Pause a manager.",
        rule="managers:control",
        general=True,
        handler=stop_manager,
        before=_as_it_is,
        body=object_of(schemas_of([DRY_RUN])),
        answer=_ONE,
    ),
    Route(
        method="POST",
        path="/v1/managers/{manager}/commands/{command}",
        name="execute_command",
        summary="Run a command of a manager; the body holds its arguments.",
        rule="managers:execute",
        general=True,
        handler=execute,
        harmless=_only_reads,
        body={
            "type": "object",
            "description": "The arguments; GET on the manager returns their schema.",
        },
        answer=wrapped(result={}),
    ),
)
