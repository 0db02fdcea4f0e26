"""Quotas, shares, and what was used."""

from typing import Annotated, Final, TypedDict

from synergy.core.declared.answers.parts import (
    OPERATORS,
    Amounts,
    At,
    Count,
    Hours,
    QuotaWord,
    RawShares,
)
from synergy.core.declared.fields import Argument, schemas_of
from synergy.core.declared.filters import ONE_PROJECT
from synergy.core.declared.kinds import Choice, Instant, ProjectId, Several
from synergy.core.declared.read import OfProjects, Read
from synergy.core.declared.shapes import Instead


class ProjectQuota(TypedDict):
    """What a project owns and holds."""

    id: str
    name: str
    private: Amounts
    private_used: Amounts
    shared_used: Amounts
    max_private_servers: Count | None
    private_servers: Count
    borrow_limit: Amounts | None
    lend_limit: Amounts | None


class Quota(TypedDict):
    """The shared quota, and who owns and holds what; null is an administrator's to know."""

    total: Annotated[Amounts | None, OPERATORS]
    private_unmanaged: Annotated[Amounts | None, OPERATORS]
    shared: Amounts
    shortfall: Annotated[Amounts | None, OPERATORS]
    lent: Annotated[Amounts | None, OPERATORS]
    shared_used: Annotated[Amounts | None, OPERATORS]
    shared_free: Amounts
    shortfall_causes: Annotated[
        dict[str, list[str]] | None,
        Instead(
            {
                "type": ["object", "null"],
                "additionalProperties": {"type": "array", "items": {"type": "string"}},
            }
        ),
        OPERATORS,
    ]
    warnings: Annotated[
        list[str] | None,
        Instead({"type": ["array", "null"], "items": {"type": "string"}}),
        OPERATORS,
    ]
    projects: list[ProjectQuota]


class Share(TypedDict):
    """A row of the share tree."""

    id: str
    parent: str | None
    user: str | None
    raw_shares: RawShares
    norm_shares: float | None
    raw_usage: float
    norm_usage: float
    effective_usage: float
    level_fs: Annotated[
        float | str | None,
        Instead(
            {
                "anyOf": [
                    {"type": "number"}, {"const": "inf", "type": "string"}, {"type": "null"},
                ]
            }
        ),
    ]  # fmt: skip
    rank: Count | None
    fairshare: float | None
    why: str


class Shares(TypedDict):
    """The share tree, and when its factors were computed."""

    computed_at: At | None
    shares: list[Share]


class Usage(TypedDict):
    """What somebody used in a time."""

    begin: At
    end: At
    project_id: str | None
    project: str | None
    user_id: str | None
    user: str | None
    quota: QuotaWord | None
    servers: Count
    resource_hours: Hours
    billed_hours: float
    promised_share: Annotated[float | None, OPERATORS]
    delivered_share: Annotated[float | None, OPERATORS]


class UsageReport(TypedDict):
    """What was used in a time, by period and group."""

    begin: At
    end: At
    usage: list[Usage]


USAGE: Final = (
    Argument(name="project_id", kind=ProjectId(), help="Only this project; a name or an id."),
    Argument(
        name="begin",
        kind=Instant(),
        help="Such as 2026-01-31T12:00:00Z; default: a week ago.",
    ),
    Argument(name="end", kind=Instant(), help="Default: now."),
    Argument(
        name="period",
        kind=Choice(("none", "hour", "day", "week", "month")),
        help="A row for each, cut at UTC boundaries.",
    ),
    Argument(
        name="group_by",
        kind=Several(Choice(("project", "user", "quota")), unique=True),
        help="A row for each (default: project and quota).",
    ),
)
SHOW_QUOTA: Final = Read[Quota](
    manager="quota",
    name="show",
    takes=schemas_of([ONE_PROJECT]),
    path="/v1/quotas",
    operation="show_quota",
    method="quota",
    summary="Show the shared quota, and what projects own and hold.",
    noun="quotas",
    whose=OfProjects(
        "Show the shared quota, and what a project owns and holds.",
        "Show the capacity, and what everybody holds.",
    ),
    answer=Quota,
    key="quota",
)
SHOW_SHARES: Final = Read[Shares](
    manager="fairshare",
    name="shares",
    takes=schemas_of([ONE_PROJECT]),
    path="/v1/shares",
    operation="list_shares",
    method="shares",
    summary="Show the share tree, or a project's rows of it.",
    noun="shares",
    whose=OfProjects("Show a project's rows of the share tree.", "Show the whole share tree."),
    answer=Shares,
)
REPORT_USAGE: Final = Read[UsageReport](
    manager="fairshare",
    name="usage",
    takes=schemas_of(USAGE),
    path="/v1/usage",
    operation="report_usage",
    method="usage",
    summary="Report resource-hours and their cost, by default of the last 7 days.",
    noun="usage",
    whose=OfProjects(
        "Report what a project used.", "Report what everybody used, and what was promised them."
    ),
    answer=UsageReport,
    costly=True,
)
READS: Final = (SHOW_QUOTA, SHOW_SHARES, REPORT_USAGE)
