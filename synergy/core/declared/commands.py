"""The arguments of commands that the API and the command line hand over as they are.

Why: as soon as two places bound the same argument, the API lets through what the manager behind it
refuses, or the other way round. Must not know what a command does.
"""

from typing import Final

from synergy.core.declared.fields import Argument
from synergy.core.declared.kinds import (
    DAY_S,
    LONGEST_ID,
    Choice,
    Instant,
    Number,
    ProjectId,
    Properties,
    Several,
    Switch,
    Text,
)

PROJECT: Final = Argument(name="project", kind=Text(), help="Name or id of the project.")
USER: Final = Argument(name="user", kind=Text(), help="Name or id of the user.")
# How a change of quotas is made.
CAREFULLY: Final = (
    Argument(name="dry_run", kind=Switch(), help="Change nothing, and tell what would happen."),
    Argument(
        name="force",
        kind=Switch(),
        help="Do it although the private quotas then exceed the cloud, or no host has a class.",
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
