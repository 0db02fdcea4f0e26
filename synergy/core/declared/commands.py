"""The commands of managers that others call by name: what each takes, and what it answers.

Why: as soon as two places bound the same argument, the API lets through what the manager behind it
refuses, or the other way round; and whoever calls a command of another process has nothing but its
name, so its answer is typed here. Must not know what a command does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from synergy.core.declared.answers import (
    Event,
    Expiry,
    Explanation,
    ForecastScore,
    MethodScore,
    Notifier,
    Outlook,
    Priority,
    Project,
    ProjectRule,
    ProjectWithUsers,
    QuarantineSize,
    Quota,
    Removal,
    RequestRow,
    RequestWithHistory,
    Reset,
    Round,
    Shares,
    Simulation,
    TriedProject,
    UsageReport,
    User,
    WhatIf,
)
from synergy.core.declared.fields import Argument, schemas_of
from synergy.core.declared.filters import (
    EVENT_FILTERS,
    LIMIT,
    MARKER,
    NUMBER,
    ONE_PROJECT,
    OWNER_FILTERS,
    REQUEST_FILTERS,
    SORTING,
)
from synergy.core.declared.kinds import (
    DAY_S,
    LONGEST_ID,
    Choice,
    Instant,
    Number,
    ProjectId,
    Properties,
    Schema,
    Several,
    Switch,
    Text,
)
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.declared.supposed import SUPPOSED

A = TypeVar("A", covariant=True)
DRY_RUN: Final = Argument(
    name="dry_run", kind=Switch(), help="Change nothing, and tell what would happen."
)


@dataclass(frozen=True, kw_only=True, eq=False)  # a generic one cannot have slots
class ManagerCommand(Generic[A]):
    """A command of a manager, whose answer is an A.

    takes     the schema of each argument, by name
    required  those that have to be given
    beside    it may run while the manager is at work: it reads the store, and values of the manager
              that are replaced as a whole
    hurts     it may end servers, stop waiting requests, or lose what nobody can restore: it takes
              `dry_run` too, and then changes nothing
    """

    manager: str
    name: str
    takes: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    beside: bool = False
    hurts: bool = False

    def __post_init__(self) -> None:
        if self.hurts:
            object.__setattr__(self, "takes", {**self.takes, **schemas_of([DRY_RUN])})

    def without(self, *filled_in: str) -> dict[str, Schema]:
        """Return what a route takes on behalf of the command: all but what it fills in itself."""
        return {name: schema for name, schema in self.takes.items() if name not in filled_in}

    def only(self, table: Iterable[Argument]) -> dict[str, Schema]:
        """Return what it takes of a table of arguments."""
        return {one.name: self.takes[one.name] for one in table}


# What other programs give as an id is looked up as it is: no text is wrong, it is only unknown.
ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
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
        help="Do it although the private quotas then exceed the cloud, or no host has a class.",
    ),
)
RULE: Final = (
    Argument(
        name="manage",
        kind=Text(4096),
        help="Tell what this rule would do instead of the one in use: listed, all, or "
        "domains:NAME_OR_ID,...",
    ),
)
SERVERS: Final = Argument(
    name="servers",
    kind=Choice(("keep", "expire")),
    help="What becomes of its servers on the shared quota. keep: they have no end any more. "
    "expire: they are deleted at the end that they have.",
)
LONGER_BY: Final = Argument(
    name="by_s", kind=Number(1, 366 * DAY_S, "seconds"), help="How much longer."
)
GROUPS: Final = ("project", "user", "quota")
PERIODS: Final = ("none", "hour", "day", "week", "month")
USAGE: Final = (
    Argument(name="project_id", kind=ProjectId(), help="Only this project; a name or an id."),
    Argument(
        name="begin",
        kind=Instant(),
        help="Such as 2026-01-31T12:00:00Z; default: a week ago.",
    ),
    Argument(name="end", kind=Instant(), help="Default: now."),
    Argument(name="period", kind=Choice(PERIODS), help="A row for each, cut at UTC boundaries."),
    Argument(
        name="group_by",
        kind=Several(Choice(GROUPS), unique=True),
        help="A row for each (default: project and quota).",
    ),
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
        name="availability_zone", kind=Text(), help="The zone it would ask for. Default: any."
    ),
    Argument(
        name="server_group",
        kind=Text(LONGEST_ID),
        help="The id of the server group it would belong to.",
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
LIST_EVENTS: Final = ManagerCommand[list[Event]](
    manager="queue",
    name="events",
    takes=schemas_of([*EVENT_FILTERS, LIMIT, NUMBER]),
    beside=True,
)
COUNT_REQUESTS: Final = ManagerCommand[dict[str, int]](manager="queue", name="counts", beside=True)
HOLD_REQUEST: Final = _change_of_request("hold", {"by": _BY})
RELEASE_REQUEST: Final = _change_of_request("release", {"by": _BY})
CANCEL_REQUEST: Final = _change_of_request("cancel", {"why": {"type": "string", "maxLength": 150}})
EXTEND_REQUEST: Final = _change_of_request(
    "extend", {"by": _BY, **schemas_of([LONGER_BY])}, ["by_s"]
)


# --- rounds ---------------------------------------------------------------------------------------

SHOW_ROUND: Final = ManagerCommand[Round](manager="scheduler", name="status", beside=True)
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
LIST_PRIORITIES: Final = ManagerCommand[list[Priority]](
    manager="scheduler",
    name="priorities",
    takes=schemas_of([*OWNER_FILTERS, LIMIT, MARKER]),
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
    hurts=True,
)
SET_PROJECT: Final = ManagerCommand[Changed](
    manager="project",
    name="set",
    takes={**schemas_of([PROJECT, *PROJECT_SETTINGS, *CAREFULLY]), "if_match": IF_MATCH},
    required=("project",),
    hurts=True,
)
REMOVE_PROJECT: Final = ManagerCommand[Project | Removal](  # the latter of a dry run
    manager="project",
    name="remove",
    takes={**schemas_of([PROJECT, SERVERS]), "if_match": IF_MATCH},
    required=("project",),
    hurts=True,
)
SHOW_RULE: Final = ManagerCommand[ProjectRule](
    manager="project", name="rule", takes=schemas_of(RULE), beside=True
)
RESUME_RULE: Final = ManagerCommand[ProjectRule](manager="project", name="resume_rule")
SET_USER: Final = ManagerCommand[User](
    manager="project",
    name="set_user",
    takes={**schemas_of([PROJECT, USER, *USER_SETTINGS]), "if_match": IF_MATCH},
    required=("project", "user"),
)

# --- quota, shares and usage ----------------------------------------------------------------------

SHOW_QUOTA: Final = ManagerCommand[Quota](
    manager="quota", name="show", takes=schemas_of([ONE_PROJECT]), beside=True
)
SHOW_SHARES: Final = ManagerCommand[Shares](
    manager="fairshare", name="shares", takes=schemas_of([ONE_PROJECT]), beside=True
)
REPORT_USAGE: Final = ManagerCommand[UsageReport](
    manager="fairshare", name="usage", takes=schemas_of(USAGE), beside=True
)
SCORE_FORECASTS: Final = ManagerCommand[ForecastScore](
    manager="forecast", name="score", takes=schemas_of([ONE_PROJECT]), beside=True
)
STANDING_OF_FORECASTS: Final = ManagerCommand[list[MethodScore]](
    manager="forecast", name="standing", beside=True
)
ONE_FLAVOR: Final = Argument(
    name="flavor", kind=Text(), help="Name of a public flavor. Default: all of them."
)
FORESEE: Final = ManagerCommand[Outlook](
    manager="forecast",
    name="outlook",
    takes={**schemas_of([ONE_PROJECT, ONE_FLAVOR]), "user_id": ID},
    required=("project_id",),
    beside=True,
)
RESET_USAGE: Final = ManagerCommand[Reset](manager="fairshare", name="reset", hurts=True)

# --- ends, and what operators watch ---------------------------------------------------------------

WITHIN: Final = Argument(
    name="within_s",
    kind=Number(0, 366 * DAY_S, "seconds"),
    help="Only servers that end within this time; those that are overdue are among them. "
    "Default: all that have an end.",
)
LIST_ENDING: Final = ManagerCommand[list[RequestRow]](
    manager="expiry", name="list", takes=schemas_of([ONE_PROJECT, WITHIN, LIMIT]), beside=True
)
SHOW_EXPIRY: Final = ManagerCommand[Expiry](manager="expiry", name="show", beside=True)
RESUME_EXPIRY: Final = ManagerCommand[Expiry](manager="expiry", name="resume", hurts=True)
COUNT_QUARANTINED: Final = ManagerCommand[QuarantineSize](
    manager="archive", name="quarantined", beside=True
)
SHOW_NOTIFIER: Final = ManagerCommand[Notifier](manager="notifier", name="show", beside=True)
LOST_BUILDS: Final = ManagerCommand[list[str]](manager="nova", name="lost", beside=True)
