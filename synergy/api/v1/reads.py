"""What can be read of the whole: a route for everything that is declared as a `Read`.

Must not know any particular resource: one that needs more than this has a route of its own.
"""

from functools import partial
from typing import Any, Final

from synergy.api.routing import Body, Call, Lane, Route, next_page, project_named, query_of
from synergy.core.declared.answers import COMPONENTS, READS
from synergy.core.declared.kinds import or_null
from synergy.core.declared.read import OfOneProject, OfOperators, OfProjects, Read
from synergy.core.declared.shapes import object_of, schema_of
from synergy.core.errors import InvalidInput


def route_of(read: Read[Any]) -> Route:
    """Return the route of a read."""
    shown = {name: schema_of(part, COMPONENTS) for name, part in read.parts().items()}
    if read.marker:
        shown["next"] = or_null({"type": "string"})
    return Route(
        method="GET",
        path=read.path,
        name=read.operation,
        summary=read.summary,
        rule=f"{read.noun}:get",
        general=isinstance(read.whose, OfOperators),
        handler=partial(_answer, read),
        lane=Lane.COSTLY if read.costly else None,
        command=read,
        query=query_of(read, filled_in=read.of_caller()),
        answer=object_of(shown, shown),
    )


def _answer(read: Read[Any], call: Call) -> Body:
    found = call.services.reads.ask(read, _arguments(read, call))
    if read.marker:
        return {read.key: found, "next": next_page(call, found, key=read.marker)}
    return {read.key: found} if read.key else found


def _arguments(read: Read[Any], call: Call) -> dict[str, object]:
    match read.whose:
        case OfOperators():
            return call.query
        case OfProjects():
            return {**call.query, "project_id": call.scope(read.noun)}
        case OfOneProject():
            return {**call.query, **_one_project(read, call)}


def _one_project(read: Read[Any], call: Call) -> dict[str, object]:
    """Return the project that is asked about, and the caller where that is one of its users."""
    asked = call.query.get("project_id") or call.caller.project_id
    if asked is None:
        raise InvalidInput(
            "project_id is missing, and your token is not scoped to a project: name a project"
        )
    found = project_named(call, asked)
    call.caller.authorize(f"{read.noun}:get", project_id=found["id"])
    users = {user["user_id"] for user in found["users"] if user["active"]}
    mine = call.caller.user_id if call.caller.user_id in users else None
    return {"project_id": found["id"], "user_id": mine}


ROUTES: Final = tuple(route_of(read) for read in READS)
