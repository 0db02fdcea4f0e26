"""What belongs to no noun: versions, health, metrics, and the description of the API itself."""

from collections.abc import Sequence
from typing import Final

from synergy.api.openapi import document
from synergy.api.routing import EVERYONE, Body, Call, Handler, Lane, Route
from synergy.core.declared.shapes import ref

API_VERSION: Final = "1.0"


def versions(_call: Call) -> Body:
    """List the versions of the API."""
    links = [
        {"rel": "self", "href": "/v1"},
        {"rel": "describedby", "href": "/v1/openapi.json"},
    ]
    one = {"id": "v1", "status": "CURRENT", "version": API_VERSION, "links": links}
    return {"versions": [one]}


def health(call: Call) -> Body:
    """Return whether the service is ready, and well, and why not."""
    return {"live": True, **call.services.host.health()}


def live(_call: Call) -> Body:
    """Answer that the service lives, without asking anything."""
    return {"live": True}


def metrics(call: Call) -> Body:
    """Return the metrics as Prometheus reads them."""
    return call.metrics()


def routes(others: Sequence[Route]) -> tuple[Route, ...]:
    """Return these routes; one of them describes all the `others` as well."""

    def openapi(call: Call) -> Body:
        return document([*others, *own], API_VERSION, secured=call.secured)

    own = (
        _open("/", "versions", "List the versions of the API.", versions, "Versions"),
        _open("/v1", "version", "List the versions of the API.", versions, "Versions"),
        _open("/healthcheck", "healthcheck",
              "Show whether every manager works; 503 if one does not.", health, "Health",
              lane=Lane.HEALTH),
        _open("/healthcheck/live", "healthcheck_live",
              "Show that the service is alive; anybody may ask.", live, "Liveness",
              lane=Lane.HEALTH),
        _open("/healthcheck/ready", "healthcheck_ready",
              "Show whether the service does its work; 503 with the reason if it does not.", health,
              "Health", lane=Lane.HEALTH),
        Route(
            method="GET",
            path="/metrics",
            name="metrics",
            summary="Return the metrics for Prometheus.",
            rule="metrics:get",
            general=True,
            handler=metrics,
            answer={"type": "string"},
            media_type="text/plain; version=0.0.4",
            lane=Lane.METRICS,
        ),
        _open("/v1/openapi.json", "openapi", "Describe this API.", openapi, None),
    )  # fmt: skip
    return own


def _open(
    path: str,
    name: str,
    summary: str,
    handler: Handler,
    answer: str | None,
    *,
    lane: Lane | None = None,
) -> Route:
    """Return a route to read for everybody; `answer` names a component."""
    return Route(
        method="GET",
        path=path,
        name=name,
        summary=summary,
        rule=EVERYONE,
        handler=handler,
        answer=ref(answer) if answer else {"type": "object"},
        lane=lane,
    )
