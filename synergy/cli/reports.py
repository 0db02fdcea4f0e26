"""`synergy quota|round show`, `share|priority|event list`, `usage report`, and forecasts"""

import argparse
from typing import Final

from synergy.cli.command import (
    Lister,
    ShowOne,
    WatchedLister,
    add_limit,
    add_project,
    client_of,
    project_id_of,
)
from synergy.cli.options import add_options, filters_given
from synergy.cli.render import Pairs, Table, lines, pairs, rows, with_quota
from synergy.core.declared.answers.usage import USAGE
from synergy.core.declared.filters import EVENT_FILTERS, NUMBER

_SHARES: Final = (
    "id", "user", "raw_shares", "norm_shares", "raw_usage", "effective_usage", "level_fs",
    "fairshare",
)  # fmt: skip
_TERMS: Final = (
    "age", "association", "fairshare", "size", "partition", "qos", "tres", "site", "nice"
)  # fmt: skip
_EVENTS: Final = ("number", "at", "request_id", "project_id", "event", "from", "to", "why")
_EVENT_FILTERS: Final = (*EVENT_FILTERS, NUMBER)
_WHOSE: Final = ("begin", "end", "project", "user", "quota", "servers")
_SCORES: Final = (
    "group", "method", "count", "coverage_50", "coverage_90", "pinball_50_s", "pinball_90_s",
    "width_by_wait",
)  # fmt: skip
_OUTLOOK: Final = (
    "flavor", "starts_now", "servers", "p50_at", "p90_at", "latest_at", "text"
)  # fmt: skip
_COST: Final = ("billed_hours", "promised_share", "delivered_share")


class ShowQuota(ShowOne):
    """Show the shared quota, and what projects own and hold."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_project(parser)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        client = client_of(self)
        shown = client.reports.quota(project_id_of(client, parsed.project))
        form = (
            "{name}: private {private_used} of {private}, {private_servers} servers; "
            "shared {shared_used}"
        )
        return pairs(shown, projects=lines(shown["projects"], form))


class ListShares(Lister):
    """Show the share tree with usage and factors, as sshare -l does."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_project(parser)
        parser.add_argument(
            "--explain",
            action="store_true",
            help="Add a column that explains each row in a sentence.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        found = client.reports.shares(project_id_of(client, parsed.project))
        return rows(found, (*_SHARES, "why") if parsed.explain else _SHARES)


class ListPriorities(WatchedLister):
    """List queued requests with each weighted term of their priority, as sprio -l does."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_project(parser)
        add_limit(parser, "requests")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        project_id = project_id_of(client, parsed.project)
        found = [
            {**with_quota(one), **(one["priority"] or dict.fromkeys((*_TERMS, "priority")))}
            for one in client.reports.priorities(limit=parsed.limit, project_id=project_id)
        ]
        return rows(found, ("id", "name", "project_id", "quota", "priority", *_TERMS))


class ReportUsage(Lister):
    """Report resource-hours by owner and quota, and their cost.

    The report on all projects also shows each project's promised and delivered share.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_options(parser, USAGE)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        found = client.reports.usage(**filters_given(client, parsed, USAGE))
        classes = sorted({name for one in found for name in one["resource_hours"]})
        hours = [
            {**one, **{f"{name}_hours": one["resource_hours"].get(name, 0.0) for name in classes}}
            for one in found
        ]
        return rows(hours, (*_WHOSE, *(f"{name}_hours" for name in classes), *_COST))


class ListEvents(WatchedLister):
    """List what happened to requests, oldest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_options(parser, _EVENT_FILTERS)
        add_limit(parser, "events")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        filters = filters_given(client, parsed, _EVENT_FILTERS)
        found = client.reports.events(limit=parsed.limit, **filters)
        return rows(list(found), _EVENTS)


class ShowRound(ShowOne):
    """Show the last scheduling round, its counters, and why requests wait."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return pairs(client_of(self).reports.latest_round())


class ScoreForecasts(Lister):
    """Show how well forecasts of starts held, beside two that are cheap."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_project(parser)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        found = client.reports.forecast_score(project_id_of(client, parsed.project))
        if found["resolved"] < found["needed"]:
            self.app.stderr.write(found["text"] + "\n")
        return rows(found["scores"], _SCORES)


class ShowOutlook(Lister):
    """Show when servers would start that nobody asked for yet, by flavor.

    It shows how many of a project's servers would start now, and by when 1, 5 and 10 would: with a
    probability of a half, of nine tenths, and at the latest. Nothing is created.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--flavor", help="Name of a public flavor. Default: all of them.")
        parser.add_argument(
            "--project", help="Name or id of the project. Default: that of the token."
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        found = client.reports.outlook(project_id_of(client, parsed.project), parsed.flavor)
        if found["text"]:
            self.app.stderr.write(found["text"] + "\n")
        shown = [{**flavor, **start} for flavor in found["flavors"] for start in flavor["starts"]]
        return rows(shown, _OUTLOOK)
