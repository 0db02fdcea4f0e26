"""A route as a value: what it takes, what it answers, which rule guards it, and who handles it.

Why: the URL map, the checks of body and query, the OpenAPI document and the tests of every route
come from the same values, so none of them can lag behind.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from synergy.api.policies import Caller
from synergy.api.services import Services
from synergy.core.declared import filters
from synergy.core.declared.answers.projects import ProjectWithUsers
from synergy.core.declared.command import DRY_RUN, ManagerCommand
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.kinds import Instant, Text
from synergy.core.declared.shapes import object_of
from synergy.core.errors import InvalidInput, NotFound, PolicyDenied

Schema = Mapping[str, Any]
Row = TypeVar("Row", bound=Mapping[str, object])
EVERYONE: Final = None
TEXT: Final = Text().schema()
ID: Final = Text(64).schema()
INSTANT: Final = Instant().schema()
LIMIT: Final = {**schemas_of([filters.LIMIT])["limit"], "default": filters.USUAL_PAGE}
NOTHING: Final[Mapping[str, Schema]] = {}
PAGING: Final = {"limit": LIMIT, "marker": ID}


class Lane(StrEnum):
    """Which threads answer a route, so that costly questions keep nobody else waiting."""

    READS = "reads"
    CHANGES = "changes"
    COSTLY = "costly"  # each caller may ask so often only
    METRICS = "metrics"
    HEALTH = "health"


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a route: checked values, who asks, and what may be asked in turn.

    at        the parameters of the path
    if_match  revisions of the header If-Match, None without it
    metrics   gives the metrics of the service as Prometheus reads them
    secured   a token is needed for what has a rule
    """

    services: Services
    caller: Caller
    at: Mapping[str, str]
    query: dict[str, Any]
    body: dict[str, Any]
    if_match: list[str] | None
    url: str
    metrics: Callable[[], bytes]
    secured: bool

    def scope(self, noun: str) -> str | None:
        """Return the project whose things are asked for, None for everybody's.

        Raises PolicyDenied, or NotFound for another's project: whether it exists is not told.
        """
        self.caller.identify()
        asked = self.query.get("project_id")
        everything = self.caller.may(f"{noun}:get_all")
        if asked is None and everything:
            return None
        project_id = asked or self.caller.project_id
        if project_id is None:
            raise PolicyDenied("your token is not scoped to a project: use a project-scoped token")
        if not self.caller.may(f"{noun}:get", project_id=project_id):
            if asked is not None and asked != self.caller.project_id:
                raise NotFound(f"project {asked!r} is not managed by Synergy")
            raise PolicyDenied(f"policy does not allow you synergy:{noun}:get")
        return project_id


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, with what goes into the header."""

    body: "Body"
    revision: str | None = None


Body = Mapping[str, object] | bytes | None
Handler = Callable[[Call], Body | Answer]


@dataclass(frozen=True, kw_only=True)
class Route:
    """One method on one path.

    name        the operation id
    command     of a manager that gets what the route takes; its schema is that of query or body
    rule        "noun:action" without its prefix; EVERYONE asks for no token
    query       schema of each parameter of the query
    body        schema of the body's object, None without a body
    answer      schema of the answer, None without a body
    tried       schema of the answer to a dry run, where `answer` has no place for it
    media_type  of the answer
    matches     If-Match is honoured, and the answer has an ETag
    general     the rule depends on nothing but the caller; others need the thing first
    lane        the threads that answer it; None: those of its method
    before      what the route changes, as it is before; None where it makes something new
    harmless    tells of one call that it changes nothing, as a dry run never does; every other call
                that is no GET has an entry in the audit
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    rule: str | None
    command: ManagerCommand[object] | None = None
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Schema | None = None
    answer: Schema | None = None
    tried: Schema | None = None
    status: int = 200
    media_type: str = "application/json"
    matches: bool = False
    general: bool = False
    lane: Lane | None = None
    before: Callable[[Call], Mapping[str, object]] | None = None
    harmless: Callable[[Call], bool] | None = None

    def is_change(self, call: Call) -> bool:
        """Return whether a call changes anything."""
        return not (
            self.method == "GET"
            or is_tried(call)
            or (self.harmless is not None and self.harmless(call))
        )

    def status_of(self, body: object) -> int:
        """Return the status of an answer; the body of one that has none tells of a dry run."""
        return 200 if self.tried is not None and body is not None else self.status

    @property
    def flask_path(self) -> str:
        """Return the path as Flask writes it."""
        return self.path.replace("{", "<").replace("}", ">")

    @property
    def parameters(self) -> list[str]:
        """Return the names of the path's parameters."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]


def is_tried(call: Call) -> bool:
    """Return whether a call is a dry run, which changes nothing."""
    return bool({**call.query, **call.body}.get(DRY_RUN.name))


_READING: Final = frozenset({"GET", "OPTIONS"})


class LaneTable:
    """Names the lane of a request by its method and path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._special = [
            (route.method, re.compile(re.sub(r"{[^}]*}", "[^/]+", route.path) + "/?"), route.lane)
            for route in routes
            if route.lane is not None
        ]

    def __call__(self, method: str, path: str) -> Lane:
        """Return it; of what no route answers, that of its method."""
        wanted = "GET" if method == "HEAD" else method
        return next(
            (
                lane
                for of_method, pattern, lane in self._special
                if of_method == wanted and pattern.fullmatch(path)
            ),
            Lane.READS if wanted in _READING else Lane.CHANGES,
        )


def query_of(
    command: ManagerCommand[object], *, filled_in: Collection[str] = ()
) -> dict[str, Schema]:
    """Return the parameters of a query that a command gets, a page being of the usual length.

    filled_in  arguments that the route finds elsewhere
    """
    limit = {"limit": LIMIT} if "limit" in command.takes else {}
    return {**command.without(*filled_in), **limit}


def body_of(
    command: ManagerCommand[object],
    *,
    filled_in: Collection[str] = (),
    besides: Mapping[str, Schema] = NOTHING,
) -> Schema:
    """Return the schema of a body that a command gets.

    filled_in  arguments that the route finds elsewhere, such as in the path
    besides    what the route takes in their place
    """
    required = [name for name in command.required if name not in filled_in]
    return object_of({**besides, **command.without(*filled_in)}, required)


def change_of(settings: Mapping[str, Schema], how: Mapping[str, Schema]) -> Schema:
    """Return the schema of a change: at least one setting, and how it is to be made."""
    changes = [{"required": [name]} for name in settings]
    return object_of({**settings, **how}) | {"anyOf": changes}


def next_page(call: Call, found: Sequence[Mapping[str, object]], *, key: str = "id") -> str | None:
    """Return where the next page is, None when this was the last."""
    limit = call.query.get("limit", LIMIT["default"])
    if len(found) < limit:
        return None
    query = {**call.query, "marker": found[-1][key]}
    return f"{call.url}?{urlencode(query, doseq=True)}"


def page_of(call: Call, found: Sequence[Row], *, key: str) -> tuple[list[Row], str | None]:
    """Return a page of a list that is there whole, in the order of `key`, and where the next is.

    A marker that is gone marks its place all the same.
    """
    marker, limit = call.query.get("marker", ""), call.query.get("limit", LIMIT["default"])
    rest = sorted((one for one in found if str(one[key]) > marker), key=lambda one: str(one[key]))
    page = rest[:limit]
    more = len(rest) > limit
    return page, next_page(call, page, key=key) if more else None


def visible(call: Call, rule: str, seen_by: str, missing: str, **target: str | None) -> None:
    """Check a rule for one thing; a caller who may not see it gets NotFound."""
    call.caller.identify()
    if not call.caller.may(seen_by, **target):
        raise NotFound(missing)
    call.caller.authorize(rule, **target)


def project_named(call: Call, asked: str) -> ProjectWithUsers:
    """Return a managed project by id or name, among those that the caller may see.

    A name is looked up among these only: how many others have it is not told. Raises NotFound.
    """
    call.caller.identify()
    seen = [
        project
        for project in call.services.projects.list_projects()
        if asked in (project["id"], project["name"])
        and call.caller.may("projects:get", project_id=project["id"])
    ]
    found = [project for project in seen if project["id"] == asked] or seen
    if not found:
        raise NotFound(f"project {asked!r} is not managed by Synergy")
    if len(found) > 1:
        ids = ", ".join(project["id"] for project in found)
        raise InvalidInput(f"project name {asked!r} is not unique: give one of {ids}")
    return call.services.projects.show(found[0]["id"])


def unique(values: Sequence[str], name: str) -> str:
    """Return the one value of a parameter. Raises InvalidInput when there are several."""
    if len(values) > 1:
        raise InvalidInput(f"{name} is given {len(values)} times, but may be given once")
    return values[0]
