"""/v1/quotas, shares, priorities, usage, events and rounds: what can be read of the whole."""

from typing import Final

from synergy.api.routing import (
    INSTANT,
    Body,
    Call,
    Lane,
    Route,
    next_page,
    project_named,
    query_of,
)
from synergy.api.schemas import listed, wrapped
from synergy.core.declared import commands
from synergy.core.declared.kinds import or_null
from synergy.core.declared.shapes import ref
from synergy.core.errors import InvalidInput


def show_quota(call: Call) -> Body:
    """Show the shared quota, and what projects own and hold."""
    return {"quota": call.services.quotas.show(call.scope("quotas"))}


def list_shares(call: Call) -> Body:
    """Show the share tree, or a project's rows of it."""
    return call.services.fairshare.shares(call.scope("shares"))


def list_priorities(call: Call) -> Body:
    """List waiting requests with each weighted term of their priority."""
    found = call.services.scheduler.priorities(call.scope("priorities"), call.query)
    return {"priorities": found, "next": next_page(call, found)}


def report_usage(call: Call) -> Body:
    """Report resource-hours and their cost."""
    return call.services.fairshare.usage(call.scope("usage"), call.query)


def list_events(call: Call) -> Body:
    """List what happened to requests, oldest first."""
    found = call.services.queue.list_events(call.scope("events"), call.query)
    return {"events": found, "next": next_page(call, found, key="number")}


def latest_round(call: Call) -> Body:
    """Show the last round and its counters."""
    return {"round": call.services.scheduler.latest_round()}


def score_forecasts(call: Call) -> Body:
    """Show how well forecasts of starts held."""
    return {"score": call.services.forecasts.score(call.scope("forecasts"))}


def show_outlook(call: Call) -> Body:
    """Show when servers of a project would start that nobody asked for yet."""
    asked = call.query.get("project_id") or call.caller.project_id
    if asked is None:
        raise InvalidInput("project_id is missing: your token is of none, so say for which")
    found = project_named(call, asked)
    call.caller.authorize("outlook:get", project_id=found["id"])
    users = {user["user_id"] for user in found["users"] if user["active"]}
    mine = call.caller.user_id if call.caller.user_id in users else None
    flavor = call.query.get("flavor")
    return {"outlook": call.services.forecasts.outlook(found["id"], mine, flavor)}


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/quotas",
        name="show_quota",
        summary="Show the shared quota, and what projects own and hold.",
        rule="quotas:get",
        handler=show_quota,
        command=commands.SHOW_QUOTA,
        query=query_of(commands.SHOW_QUOTA),
        answer=wrapped(quota=ref("Quota")),
    ),
    Route(
        method="GET",
        path="/v1/shares",
        name="list_shares",
        summary="Show the share tree, or a project's rows of it.",
        rule="shares:get",
        handler=list_shares,
        command=commands.SHOW_SHARES,
        query=query_of(commands.SHOW_SHARES),
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
        command=commands.LIST_PRIORITIES,
        query=query_of(commands.LIST_PRIORITIES),
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
        command=commands.REPORT_USAGE,
        query=query_of(commands.REPORT_USAGE),
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
        command=commands.LIST_EVENTS,
        query=query_of(commands.LIST_EVENTS),
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
    Route(
        method="GET",
        path="/v1/forecasts/score",
        name="score_forecasts",
        summary="Show how well forecasts of starts held, beside two that are cheap.",
        rule="forecasts:get",
        handler=score_forecasts,
        lane=Lane.COSTLY,
        command=commands.SCORE_FORECASTS,
        query=query_of(commands.SCORE_FORECASTS),
        answer=wrapped(score=ref("ForecastScore")),
    ),
    Route(
        method="GET",
        path="/v1/outlook",
        name="outlook",
        summary="Show when servers would start that nobody asked for yet, by flavor.",
        rule="outlook:get",
        handler=show_outlook,
        lane=Lane.COSTLY,
        command=commands.FORESEE,
        query=commands.FORESEE.without("user_id"),
        answer=wrapped(outlook=ref("Outlook")),
    ),
)
