"""What lists are filtered and sorted by.

A filter is declared with the keyword of the search that takes it; commands, the API, the command
line and the statements that look for rows follow from these tables. Must not know where the things
are that are looked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Final, TypedDict, get_type_hints

from synergy.core.audit import AuditOutcome
from synergy.core.declared.fields import Argument
from synergy.core.declared.kinds import (
    LONGEST_ID,
    Choice,
    Instant,
    Number,
    ProjectId,
    RequestId,
    Several,
    Text,
    UserId,
)
from synergy.core.lifecycle import Event
from synergy.core.model import QuotaKind, State

LONGEST_PAGE: Final = 1000
USUAL_PAGE: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(Argument):
    """Which entries of a list are wanted.

    name      of the parameter; the keyword, if not given
    argument  the keyword of the search, which `filters_of` fills in
    field     the field of an entry that has to have this value; the name, if not given
    """

    name: str = ""
    argument: str = ""
    field: str = ""


def filters_of(keywords: type) -> tuple[Filter, ...]:
    """Return the filters that a TypedDict of keywords declares, in their order."""
    hints = get_type_hints(keywords, include_extras=True)
    found = []
    for argument, hint in hints.items():
        one = next(part for part in hint.__metadata__ if isinstance(part, Filter))
        name = one.name or argument
        found.append(replace(one, name=name, argument=argument, field=one.field or name))
    return tuple(found)


def keywords_in(given: Mapping[str, object], table: Sequence[Filter]) -> dict[str, object]:
    """Return the filters among parameters as keywords of the search. Raises InvalidInput."""
    return {
        one.argument: one.kind.read(given[one.name], one.name) for one in table if one.name in given
    }


class RequestFilters(TypedDict, total=False):
    """What requests are looked for by; None and () ask for nothing."""

    project_id: Annotated[
        str | None, Filter(kind=ProjectId(), help="Only this project; a name or an id.")
    ]
    user_id: Annotated[
        str | None, Filter(kind=UserId(), help="Only those of this user; a name or an id.")
    ]
    states: Annotated[
        Sequence[State],
        Filter(
            name="state",
            kind=Several(Choice(State)),
            help="Only those in this state, such as QUEUED.",
        ),
    ]
    quota: Annotated[
        QuotaKind | None, Filter(kind=Choice(QuotaKind), help="Only those on this quota.")
    ]
    # Of these, whatever narrows most comes first: a page is read by the index of the first given.
    batch_id: Annotated[
        str | None, Filter(kind=Text(LONGEST_ID), help="Only those created together.")
    ]
    name: Annotated[
        str | None, Filter(kind=Text(), help="Only servers of this name.", field="server_name")
    ]
    flavor: Annotated[str | None, Filter(kind=Text(), help="Only those of this flavor.")]


class EventFilters(TypedDict, total=False):
    """What entries of the ledger are looked for by; None asks for nothing."""

    project_id: Annotated[
        str | None, Filter(kind=ProjectId(), help="Only this project; a name or an id.")
    ]
    request_id: Annotated[str | None, Filter(kind=RequestId(), help="Only of this request.")]
    event: Annotated[
        Event | None, Filter(kind=Choice(Event), help="Only this event, such as BOOTED.")
    ]
    since: Annotated[datetime | None, Filter(kind=Instant(), help="Such as 2026-01-31T12:00:00Z.")]


class ChangeFilters(TypedDict, total=False):
    """What changes made through the API are looked for by; None asks for nothing."""

    project_id: Annotated[
        str | None, Filter(kind=ProjectId(), help="Only this project; a name or an id.")
    ]
    # Anyone who made a change may be of no managed project, so no name is looked up.
    user_id: Annotated[
        str | None, Filter(kind=UserId(by_name=False), help="Only by this user; an id.")
    ]
    operation: Annotated[str | None, Filter(kind=Text(), help="Only this one: set_project, ...")]
    outcome: Annotated[
        AuditOutcome | None, Filter(kind=Choice(AuditOutcome), help="Only those with this outcome.")
    ]
    since: Annotated[datetime | None, Filter(kind=Instant(), help="Such as 2026-01-31T12:00:00Z.")]


REQUEST_FILTERS: Final = filters_of(RequestFilters)
OWNER_FILTERS: Final = tuple(
    one for one in REQUEST_FILTERS if one.name in ("project_id", "user_id")
)
ONE_PROJECT: Final = OWNER_FILTERS[0]
EVENT_FILTERS: Final = filters_of(EventFilters)
CHANGE_FILTERS: Final = filters_of(ChangeFilters)
# What requests are sorted by, and the field of a request; "received" is the order of arrival.
SORT_KEYS: Final[Mapping[str, str]] = {
    "received": "seq",
    "queued_at": "queued_at",
    "changed_at": "changed_at",
    "name": "server_name",
    "flavor": "flavor",
    "state": "state",
    "user_id": "user_id",
    "project_id": "project_id",
}
SORTING: Final = (
    Argument(name="sort_key", kind=Choice(tuple(SORT_KEYS)), help="Field to sort by."),
    Argument(name="sort_dir", kind=Choice(("asc", "desc")), help="Sort direction."),
)
LIMIT: Final = Argument(
    name="limit", kind=Number(1, LONGEST_PAGE), help="Maximum number of entries on a page."
)
MARKER: Final = Argument(
    name="marker", kind=Text(LONGEST_ID), help="Start after the request with this id."
)
NUMBER: Final = Argument(
    name="marker", kind=Number(0, 2**62), help="Start after the entry with this number."
)
