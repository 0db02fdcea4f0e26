"""What is only read, as methods: made by `make sample`, not by hand."""

from collections.abc import Iterator, Sequence
from typing import cast

from synergy.client.api import Noun, object_in, objects_in
from synergy.client.types import (
    Event,
    Expiry,
    ForecastScore,
    Outlook,
    Priority,
    Quota,
    Round,
    Share,
    Usage,
)


class Reads(Noun):
    """One method for each resource that is only read; parameters that are None are left out."""

    def quota(self, project_id: str | None = None) -> Quota:
        """Show the shared quota, and what projects own and hold."""
        answer = self._api.get("/quotas", project_id=project_id)
        return cast(Quota, object_in(answer, "quota"))

    def shares(self, project_id: str | None = None) -> list[Share]:
        """Show the share tree, or a project's rows of it."""
        answer = self._api.get("/shares", project_id=project_id)
        return cast(list[Share], objects_in(answer, "shares"))

    def usage(
        self,
        project_id: str | None = None,
        begin: str | None = None,
        end: str | None = None,
        period: str | None = None,
        group_by: Sequence[str] | None = None,
    ) -> list[Usage]:
        """Report resource-hours and their cost, by default of the last 7 days."""
        answer = self._api.get(
            "/usage",
            project_id=project_id,
            begin=begin,
            end=end,
            period=period,
            group_by=group_by,
        )
        return cast(list[Usage], objects_in(answer, "usage"))

    def priorities(
        self,
        *,
        limit: int | None = None,
        project_id: str | None = None,
        user_id: str | None = None,
        marker: str | None = None,
    ) -> Iterator[Priority]:
        """List waiting requests with each weighted term of their priority.

        Yields up to `limit`, over all pages.
        """
        return self._api.pages(
            "/priorities",
            "priorities",
            limit,
            project_id=project_id,
            user_id=user_id,
            marker=marker,
        )

    def latest_round(self) -> Round:
        """Show the last round and its counters."""
        answer = self._api.get("/rounds/latest")
        return cast(Round, object_in(answer, "round"))

    def events(
        self,
        *,
        limit: int | None = None,
        project_id: str | None = None,
        request_id: str | None = None,
        event: str | None = None,
        since: str | None = None,
        marker: int | None = None,
    ) -> Iterator[Event]:
        """List what happened to requests, oldest first.

        Yields up to `limit`, over all pages.
        """
        return self._api.pages(
            "/events",
            "events",
            limit,
            project_id=project_id,
            request_id=request_id,
            event=event,
            since=since,
            marker=marker,
        )

    def forecast_score(self, project_id: str | None = None) -> ForecastScore:
        """Show how well forecasts of starts held, beside two that are cheap."""
        answer = self._api.get("/forecasts/score", project_id=project_id)
        return cast(ForecastScore, object_in(answer, "score"))

    def outlook(self, project_id: str | None = None, flavor: str | None = None) -> Outlook:
        """Show when servers would start that nobody asked for yet, by flavor."""
        answer = self._api.get("/outlook", project_id=project_id, flavor=flavor)
        return cast(Outlook, object_in(answer, "outlook"))

    def expiry(self) -> Expiry:
        """Show whether servers are ended, or why not."""
        answer = self._api.get("/expiry")
        return cast(Expiry, object_in(answer, "expiry"))
