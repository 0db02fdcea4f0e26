"""/v1/projects: who takes part, with which shares and limits; and their users."""

from typing import Any, Final

from synergy.api.routing import (
    PAGING,
    Answer,
    Call,
    Route,
    change_of,
    page_of,
    project_named,
)
from synergy.api.schemas import NAME, listed, wrapped
from synergy.core.declared.commands import CAREFULLY, PROJECT, SERVERS
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.declared.shapes import object_of, ref
from synergy.core.errors import NotFound


def list_projects(call: Call) -> Any:
    """List the managed projects: an administrator all, anybody else the own one."""
    found = call.run("project", "list")
    if not call.caller.may("projects:get_all"):
        own = call.scope("projects")
        found = [project for project in found if project["id"] == own]
    named = call.query.get("name")
    page, following = page_of(call, [p for p in found if named in (None, p["name"])], key="id")
    return {"projects": page, "next": following}


def add_project(call: Call) -> Any:
    """Manage a project: its quota moves into Synergy, and its requests are queued."""
    # Not by `run`, which leaves out nulls: a null lend_limit is no limit, and absent is nothing.
    return _project(call.services.host.execute("project", "add", call.body))


def show_project(call: Call) -> Any:
    """Show a managed project with its users."""
    return _project(_found(call, "projects:get"))


def set_project(call: Call) -> Any:
    """Change a managed project."""
    project_id = _found(call, "projects:update")["id"]
    changed = call.services.host.execute(
        "project", "set", {"project": project_id, **call.body, **_matching(call)}
    )
    return _project(changed)


def remove_project(call: Call) -> Any:
    """Manage a project no longer: Nova gets back the quota it had."""
    project_id = _found(call, "projects:delete")["id"]
    servers = call.query.get("servers")
    call.run("project", "remove", project=project_id, servers=servers, if_match=call.if_match)
    return None


def list_users(call: Call) -> Any:
    """List the users of a project with their shares."""
    page, following = page_of(call, _found(call, "users:get")["users"], key="user_id")
    return {"users": page, "next": following}


def show_user(call: Call) -> Any:
    """Show a user of a project."""
    project = _found(call, "users:get")
    asked = call.at["user"]
    found = [one for one in project["users"] if asked in (one["user_id"], one["name"])]
    if not found:
        raise NotFound(f"project {project['name']!r} has no user {asked!r}")
    return _user(found[0])


def set_user(call: Call) -> Any:
    """Change a user's shares or priority within a project."""
    given = {"project": _found(call, "users:update")["id"], "user": call.at["user"]}
    changed = call.services.host.execute(
        "project", "set_user", {**given, **call.body, **_matching(call)}
    )
    return _user(changed)


def _found(call: Call, rule: str) -> Any:
    """Return the project of the path. Raises NotFound also for one that is not to be seen."""
    found = project_named(call, call.at["project"])
    call.caller.authorize(rule, project_id=found["id"])
    return found


def _only_tries(call: Call) -> bool:
    return bool(call.body.get("dry_run"))


def _project_before(call: Call) -> Any:
    return show_project(call).body["project"]


def _user_before(call: Call) -> Any:
    return show_user(call).body["user"]


def _matching(call: Call) -> dict[str, Any]:
    return {} if call.if_match is None else {"if_match": call.if_match}


def _project(shown: Any) -> Answer:
    return Answer({"project": shown}, shown["revision"])


def _user(shown: Any) -> Answer:
    return Answer({"user": shown}, shown["revision"])


_HOW: Final = schemas_of(CAREFULLY)
_ONE: Final = wrapped(project=ref("Project"))
_ONE_USER: Final = wrapped(user=ref("User"))
ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/projects",
        name="list_projects",
        summary="List the managed projects: an administrator all, anybody else the own one.",
        rule="projects:get",
        handler=list_projects,
        query={"name": NAME, **PAGING},
        answer=listed("projects", "Project"),
    ),
    Route(
        method="POST",
        path="/v1/projects",
        name="add_project",
        summary="Manage a project: its quota moves into Synergy.",
        rule="projects:create",
        general=True,
        handler=add_project,
        body=object_of(schemas_of([PROJECT, *PROJECT_SETTINGS, *CAREFULLY]), ["project"]),
        answer=_ONE,
        status=201,
        matches=True,
    ),
    Route(
        method="GET",
        path="/v1/projects/{project}",
        name="show_project",
        summary="Show a managed project, by id or name, with its users.",
        rule="projects:get",
        handler=show_project,
        answer=_ONE,
        matches=True,
    ),
    Route(
        method="PATCH",
        path="/v1/projects/{project}",
        name="set_project",
        summary="Change a managed project.",
        rule="projects:update",
        handler=set_project,
        before=_project_before,
        harmless=_only_tries,
        body=change_of(schemas_of(PROJECT_SETTINGS), _HOW),
        answer=_ONE,
        matches=True,
    ),
    Route(
        method="DELETE",
        path="/v1/projects/{project}",
        name="remove_project",
        summary="Manage a project no longer: Nova gets back the quota it had.",
        rule="projects:delete",
        handler=remove_project,
        query={"servers": {**schemas_of([SERVERS])["servers"], "default": "keep"}},
        before=_project_before,
        status=204,
        matches=True,
    ),
    Route(
        method="GET",
        path="/v1/projects/{project}/users",
        name="list_users",
        summary="List the users of a project with their shares.",
        rule="users:get",
        handler=list_users,
        query=PAGING,
        answer=listed("users", "User"),
    ),
    Route(
        method="GET",
        path="/v1/projects/{project}/users/{user}",
        name="show_user",
        summary="Show a user of a project, by id or name.",
        rule="users:get",
        handler=show_user,
        answer=_ONE_USER,
        matches=True,
    ),
    Route(
        method="PATCH",
        path="/v1/projects/{project}/users/{user}",
        name="set_user",
        summary="Change a user's shares or priority within a project.",
        rule="users:update",
        handler=set_user,
        before=_user_before,
        body=change_of(schemas_of(USER_SETTINGS), {}),
        answer=_ONE_USER,
        matches=True,
    ),
)
