"""Quotas, shares, and what was used."""

from typing import Annotated, TypedDict

from synergy.core.declared.answers.parts import (
    OPERATORS,
    Amounts,
    At,
    Count,
    Hours,
    QuotaWord,
    RawShares,
)
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
