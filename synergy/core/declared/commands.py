"""The commands of managers that others call by name: what each takes, and what it answers.

Why: as soon as two places bound the same argument, the API lets through what the manager behind it
refuses, or the other way round; and anyone who calls a command of another process has nothing but
its name, so its answer is typed here. A resource that is only read stands beside its answer, as a
`Read`. Must not know what a command does.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from synergy.core.declared.answers.ends import Expiry, Notifier, QuarantineSize, Reset
from synergy.core.declared.answers.forecasts import MethodScore
from synergy.core.declared.answers.projects import (
    Project,
    ProjectRule,
    ProjectWithUsers,
    Removal,
    TriedProject,
    User,
)
from synergy.core.declared.answers.requests import RequestRow, RequestWithHistory
from synergy.core.declared.answers.rounds import Explanation, Simulation
from synergy.core.declared.answers.supposed import WhatIf
from synergy.core.declared.command import DRY_RUN, ID, ManagerCommand
from synergy.core.declared.fields import Argument, schemas_of
from synergy.core.declared.filters import (
    LIMIT,
    MARKER,
    ONE_PROJECT,
    REQUEST_FILTERS,
    SORTING,
)
from synergy.core.declared.kinds import (
    DAY_S,
    LONGEST_ID,
    Choice,
    Number,
    Properties,
    Schema,
    Switch,
    Text,
)
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.declared.supposed import SUPPOSED
from synergy.core.membership import MANAGE_PATTERN

IF_MATCH: Final[Schema] = {
    "type": "array",
    "items": {"type": "string", "maxLength": 4096},
    "maxItems": 1000,
}
PROJECT: Final = Argument(name="project", kind=Text(), help="Name or id of the project.")
USER: Final = Argument(name="user", kind=Text(), help="Name or id of the user.")
# How a change of quotas is made.
CAREFULLY: Final = (
    DRY_RUN,
    Argument(
        name="force",
        kind=Switch(),
        help="Do it even if the private quotas then exceed the cloud, or no host has such a class.",
    ),
)
RULE: Final = (
    Argument(
        name="manage",
        kind=Text(4096, MANAGE_PATTERN),
        help="Show what this rule would do instead of the current one: listed, all, or "
        "domains:NAME_OR_ID,...",
    ),
)
SERVERS: Final = Argument(
    name="servers",
    kind=Choice(("keep", "expire")),
    help="What happens to its servers on the shared quota. keep: they have no end any more. "
    "expire: they are deleted at the end that they have.",
)
LONGER_BY: Final = Argument(
    name="by_s", kind=Number(1, 366 * DAY_S, "seconds"), help="How much longer."
)
WHAT_IF: Final = (
    Argument(name="flavor", kind=Text(), help="Name of a public flavor."),
    Argument(name="count", kind=Number(1, 1000), help="How many servers."),
    Argument(
        name="metadata",
        kind=Properties(),
        help="What the servers would be created with, such as quota=shared.",
    ),
    Argument(
        name="availability_zone", kind=Text(), help="Availability zone to request. Default: any."
    ),
    Argument(
        name="server_group",
        kind=Text(LONGEST_ID),
        help="Id of the server group of the servers.",
    ),
)


# --- the queue ------------------------------------------------------------------------------------

_BY: Final[Schema] = {"enum": ["user", "admin"]}


def _change_of_request(
    name: str, takes: Mapping[str, Schema], required: Iterable[str] = ()
) -> ManagerCommand[RequestRow]:
    return ManagerCommand(
        manager="queue",
        name=name,
        takes={"request_id": ID, **takes, "if_match": IF_MATCH},
        required=("request_id", *required),
    )


LIST_REQUESTS: Final = ManagerCommand[list[RequestRow]](
    manager="queue",
    name="list",
    takes=schemas_of([*REQUEST_FILTERS, *SORTING, LIMIT, MARKER]),
    beside=True,
)
SHOW_REQUEST: Final = ManagerCommand[RequestWithHistory](
    manager="queue", name="show", takes={"request_id": ID}, required=("request_id",), beside=True
)
COUNT_REQUESTS: Final = ManagerCommand[dict[str, int]](manager="queue", name="counts", beside=True)
HOLD_REQUEST: Final = _change_of_request("hold", {"by": _BY})
RELEASE_REQUEST: Final = _change_of_request("release", {"by": _BY})
CANCEL_REQUEST: Final = _change_of_request("cancel", {"why": {"type": "string", "maxLength": 150}})
EXTEND_REQUEST: Final = _change_of_request(
    "extend", {"by": _BY, **schemas_of([LONGER_BY])}, ["by_s"]
)


# --- rounds ---------------------------------------------------------------------------------------

REASONS_OF: Final = ManagerCommand[dict[str, str | None]](
    manager="scheduler",
    name="reasons",
    takes={"request_ids": {"type": "array", "items": ID, "maxItems": 1000}},
    required=("request_ids",),
    beside=True,
)
EXPLAIN_REQUEST: Final = ManagerCommand[Explanation](
    manager="scheduler",
    name="explain",
    takes={"request_id": ID, "why": {"type": "string"}},
    required=("request_id",),
    beside=True,
)
SIMULATE: Final = ManagerCommand[Simulation](
    manager="scheduler",
    name="simulate",
    takes={"project_id": ID, "user_id": ID, **schemas_of(WHAT_IF)},
    required=("project_id", "flavor"),
    beside=True,
)

WHAT_IF_QUEUE: Final = ManagerCommand[WhatIf](
    manager="scheduler", name="what_if", takes=SUPPOSED, beside=True
)

# --- projects -------------------------------------------------------------------------------------

Changed = ProjectWithUsers | TriedProject  # the latter of a dry run
LIST_PROJECTS: Final = ManagerCommand[list[Project]](manager="project", name="list", beside=True)
SHOW_PROJECT: Final = ManagerCommand[ProjectWithUsers](
    manager="project",
    name="show",
    takes=schemas_of([PROJECT]),
    required=("project",),
    beside=True,
)
ADD_PROJECT: Final = ManagerCommand[Changed](
    manager="project",
    name="add",
    takes=schemas_of([PROJECT, *PROJECT_SETTINGS, *CAREFULLY]),
    required=("project",),
    destructive=True,
)
SET_PROJECT: Final = ManagerCommand[Changed](
    manager="project",
    name="set",
    takes={**schemas_of([PROJECT, *PROJECT_SETTINGS, *CAREFULLY]), "if_match": IF_MATCH},
    required=("project",),
    destructive=True,
)
REMOVE_PROJECT: Final = ManagerCommand[Project | Removal](  # the latter of a dry run
    manager="project",
    name="remove",
    takes={**schemas_of([PROJECT, SERVERS]), "if_match": IF_MATCH},
    required=("project",),
    destructive=True,
)
SHOW_RULE: Final = ManagerCommand[ProjectRule](
    manager="project", name="rule", takes=schemas_of(RULE), beside=True
)
RULE_SUSPENDED: Final = ManagerCommand[bool](manager="project", name="rule_suspended", beside=True)
RESUME_RULE: Final = ManagerCommand[ProjectRule](manager="project", name="resume_rule")
SET_USER: Final = ManagerCommand[User](
    manager="project",
    name="set_user",
    takes={**schemas_of([PROJECT, USER, *USER_SETTINGS]), "if_match": IF_MATCH},
    required=("project", "user"),
)

# --- forecasts and usage -------------------------------------------------------------------------

STANDING_OF_FORECASTS: Final = ManagerCommand[list[MethodScore]](
    manager="forecast", name="standing", beside=True
)
RESET_USAGE: Final = ManagerCommand[Reset](manager="fairshare", name="reset", destructive=True)

# --- ends, and what operators watch ---------------------------------------------------------------

WITHIN: Final = Argument(
    name="within_s",
    kind=Number(0, 366 * DAY_S, "seconds"),
    help="Only servers that end within this time, overdue ones included. "
    "Default: all that have an end.",
)
LIST_ENDING: Final = ManagerCommand[list[RequestRow]](
    manager="expiry",
    name="list",
    takes=schemas_of([ONE_PROJECT, WITHIN, LIMIT, MARKER]),
    beside=True,
)
RESUME_EXPIRY: Final = ManagerCommand[Expiry](manager="expiry", name="resume", destructive=True)
COUNT_QUARANTINED: Final = ManagerCommand[QuarantineSize](
    manager="archive", name="quarantined", beside=True
)
SHOW_NOTIFIER: Final = ManagerCommand[Notifier](manager="notifier", name="show", beside=True)
LOST_BUILDS: Final = ManagerCommand[list[str]](manager="nova", name="lost", beside=True)
