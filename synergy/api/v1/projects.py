"""/v1/projects: who takes part, with which shares and limits; and their users."""

from typing import Final

from synergy.api.routing import (
    PAGING,
    Answer,
    Body,
    Call,
    Route,
    body_of,
    change_of,
    is_tried,
    page_of,
    project_named,
)
from synergy.api.schemas import NAME, listed, wrapped
from synergy.core.declared import commands
from synergy.core.declared.answers.projects import Project, ProjectWithUsers, User
from synergy.core.declared.command import DRY_RUN
from synergy.core.declared.commands import CAREFULLY
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.declared.shapes import ref
from synergy.core.errors import NotFound


def list_projects(call: Call) -> Body:
    """List the managed projects: an administrator all, anybody else the own one."""
    found = call.services.projects.list_projects()
    if not call.caller.may("projects:get_all"):
        own = call.scope("projects")
        found = [project for project in found if project["id"] == own]
    named = call.query.get("name")
    page, following = page_of(call, [p for p in found if named in (None, p["name"])], key="id")
    return {"projects": page, "next": following}


def add_project(call: Call) -> Answer:
    """Manage a project: its quota moves into Synergy, and its requests are queued."""
    return _project(call.services.projects.add(call.body))


def show_project(call: Call) -> Answer:
    """Show a managed project with its users."""
    return _project(_found(call, "projects:get"))


def set_project(call: Call) -> Answer:
    """Change a managed project."""
    project_id = _found(call, "projects:update")["id"]
    return _project(call.services.projects.set(project_id, call.body, if_match=call.if_match))


def remove_project(call: Call) -> Body:
    """Stop managing a project: Nova gets back the quota it had."""
    project_id = _found(call, "projects:delete")["id"]
    found = call.services.projects.remove(project_id, call.query, if_match=call.if_match)
    return {"removal": found} if is_tried(call) else None


def show_rule(call: Call) -> Body:
    """Show which projects the rule adds and removes, or what another rule would do."""
    return {"project_rule": call.services.projects.rule(call.query)}


def resume_rule(call: Call) -> Body:
    """Let all projects leave that the rule no longer manages: an operator has checked them."""
    return {"project_rule": call.services.projects.resume_rule()}


def list_users(call: Call) -> Body:
    """List the users of a project with their shares."""
    page, following = page_of(call, _found(call, "users:get")["users"], key="user_id")
    return {"users": page, "next": following}


def show_user(call: Call) -> Answer:
    """Show a user of a project."""
    return _user(_found_user(call))


def set_user(call: Call) -> Answer:
    """Change a user's shares or priority within a project."""
    project_id, user = _found(call, "users:update")["id"], call.at["user"]
    changed = call.services.projects.set_user(project_id, user, call.body, if_match=call.if_match)
    return _user(changed)


def _found(call: Call, rule: str) -> ProjectWithUsers:
    """Return the project of the path. Raises NotFound also for one that is not to be seen."""
    found = project_named(call, call.at["project"])
    call.caller.authorize(rule, project_id=found["id"])
    return found


def _found_user(call: Call) -> User:
    project, asked = _found(call, "users:get"), call.at["user"]
    found = [one for one in project["users"] if asked in (one["user_id"], one["name"])]
    if not found:
        raise NotFound(f"project {project['name']!r} has no user {asked!r}")
    return found[0]


def _project(shown: Project) -> Answer:
    return Answer({"project": shown}, shown["revision"])


def _user(shown: User) -> Answer:
    return Answer({"user": shown}, shown["revision"])


_ONE: Final = wrapped(project=ref("Project"))
_ONE_USER: Final = wrapped(user=ref("User"))
_RULE: Final = wrapped(project_rule=ref("ProjectRule"))
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
        command=commands.ADD_PROJECT,
        body=body_of(commands.ADD_PROJECT),
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
        before=lambda call: _found(call, "projects:get"),
        command=commands.SET_PROJECT,
        body=change_of(
            commands.SET_PROJECT.only(PROJECT_SETTINGS), commands.SET_PROJECT.only(CAREFULLY)
        ),
        answer=_ONE,
        matches=True,
    ),
    Route(
        method="DELETE",
        path="/v1/projects/{project}",
        name="remove_project",
        summary="Stop managing a project: Nova gets back the quota it had.",
        rule="projects:delete",
        handler=remove_project,
        command=commands.REMOVE_PROJECT,
        query={
            "servers": {**commands.REMOVE_PROJECT.takes["servers"], "default": "keep"},
            **commands.REMOVE_PROJECT.only([DRY_RUN]),
        },
        before=lambda call: _found(call, "projects:get"),
        tried=wrapped(removal=ref("Removal")),
        status=204,
        matches=True,
    ),
    Route(
        method="GET",
        path="/v1/project-rule",
        name="show_project_rule",
        summary="Show whom the rule of managed projects takes in and lets go, or what another "
        "rule would do.",
        rule="project_rule:get",
        general=True,
        handler=show_rule,
        command=commands.SHOW_RULE,
        query=commands.SHOW_RULE.takes,
        answer=_RULE,
    ),
    Route(
        method="POST",
        path="/v1/project-rule/resume",
        name="resume_project_rule",
        summary="Let all projects leave that the rule no longer manages.",
        rule="project_rule:resume",
        general=True,
        handler=resume_rule,
        before=lambda call: call.services.projects.rule({}),
        answer=_RULE,
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
        before=_found_user,
        command=commands.SET_USER,
        body=change_of(commands.SET_USER.only(USER_SETTINGS), {}),
        answer=_ONE_USER,
        matches=True,
    ),
)
