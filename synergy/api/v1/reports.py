"""/v1/quotas, shares, priorities, usage, events and rounds: what can be read of the whole."""

from typing import Any, Final

from synergy.api.routing import ID, INSTANT, LIMIT, PAGING, Call, Lane, Route, next_page
from synergy.api.schemas import listed, wrapped
from synergy.core.declared.commands import USAGE
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.filters import EVENT_FILTERS, NUMBER
from synergy.core.declared.kinds import or_null
from synergy.core.declared.shapes import ref


def show_quota(call: Call) -> Any:
    """Show the shared quota, and what projects own and hold."""
    return {"quota": call.run("quota", "show", project_id=call.scope("quotas"))}


def list_shares(call: Call) -> Any:
    """Show the share tree, or a project's rows of it."""
    return call.run("fairshare", "shares", project_id=call.scope("shares"))


def list_priorities(call: Call) -> Any:
    """List waiting requests with each weighted term of their priority."""
    project_id = call.scope("priorities")
    found = call.run("scheduler", "priorities", **{**call.query, "project_id": project_id})
    return {"priorities": found, "next": next_page(call, found)}


def report_usage(call: Call) -> Any:
    """Report resource-hours and their cost."""
    project_id = call.scope("usage")
    return call.run("fairshare", "usage", **{**call.query, "project_id": project_id})


def list_events(call: Call) -> Any:
    """List what happened to requests, oldest first."""
    found = call.services.queue.list_events(call.scope("events"), call.query)
    return {"events": found, "next": next_page(call, found, key="number")}


def latest_round(call: Call) -> Any:
    """Show the last round and its counters."""
    return {"round": call.run("scheduler", "status")}


_PROJECT: Final = {"project_id": ID}
ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/quotas",
        name="show_quota",
        summary="Show the shared quota, and what projects own and hold.",
        rule="quotas:get",
        handler=show_quota,
        query=_PROJECT,
        answer=wrapped(quota=ref("Quota")),
    ),
    Route(
        method="GET",
        path="/v1/shares",
        name="list_shares",
        summary="Show the share tree, or a project's rows of it.",
        rule="shares:get",
        handler=list_shares,
        query=_PROJECT,
        answer=wrapped(
            computed_at=or_null(INSTANT), shares={"type": "array", "items": ref("Share")}
        ),
    ),
    Route(
        method="GET",
        path="/v1/priorities",
        name="list_priorities",
        summary="List waiting requests with each weighted term of their priority.",
        rule="priorities:get",
        handler=list_priorities,
        lane=Lane.COSTLY,
        query={**_PROJECT, "user_id": ID, **PAGING},
        answer=listed("priorities", "Priority"),
    ),
    Route(
        method="GET",
        path="/v1/usage",
        name="report_usage",
        summary="Report resource-hours and their cost, by default of the last 7 days.",
        rule="usage:get",
        handler=report_usage,
        lane=Lane.COSTLY,
        query=schemas_of(USAGE),
        answer=wrapped(begin=INSTANT, end=INSTANT, usage={"type": "array", "items": ref("Usage")}),
    ),
    Route(
        method="GET",
        path="/v1/events",
        name="list_events",
        summary="List what happened to requests, oldest first.",
        rule="events:get",
        handler=list_events,
        lane=Lane.COSTLY,
        query={**schemas_of([*EVENT_FILTERS, NUMBER]), "limit": LIMIT},
        answer=listed("events", "Event"),
    ),
    Route(
        method="GET",
        path="/v1/rounds/latest",
        name="latest_round",
        summary="Show the last round and its counters.",
        rule="rounds:get",
        general=True,
        handler=latest_round,
        answer=wrapped(round=ref("Round")),
    ),
)
