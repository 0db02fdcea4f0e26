"""`synergy request ...`"""

import argparse
from collections.abc import Callable, Mapping
from typing import Any, Final

from cliff.command import Command

from synergy.cli.command import ShowOne, WatchedLister, add_limit, client_of
from synergy.cli.options import add_options, duration_s, filters_given
from synergy.cli.render import Pairs, Table, cell, lines, pairs, rows, with_quota
from synergy.client import ApiError, Client
from synergy.core.declared.filters import MARKER, REQUEST_FILTERS, SORTING

_START: Final = ("forecast_p50_at", "forecast_p90_at", "forecast_text")
_COLUMNS: Final = (
    "id", "name", "project_id", "state", "quota", "flavor", "queued_at", "reason"
)  # fmt: skip
_LONG: Final = (*_COLUMNS, "user_id", "demand", "expires_at", "host", "why", *_START)
_FILTERS: Final = (*REQUEST_FILTERS, *SORTING, MARKER)


class ListRequests(WatchedLister):
    """List requests, by default in the order in which they were received."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        add_options(parser, _FILTERS)
        parser.add_argument("--long", action="store_true", help="Show more columns.")
        add_limit(parser, "requests")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        filters = filters_given(client, parsed, _FILTERS)
        found = client.requests.list(limit=parsed.limit, states=filters.pop("state", ()), **filters)
        return rows([with_quota(one) for one in found], _LONG if parsed.long else _COLUMNS)


class _OneRequest(ShowOne):
    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("request", help="Id of the request, which is the id of its server.")
        return parser


class ShowRequest(_OneRequest):
    """Show a request with its history and the reason why it waits."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        shown = with_quota(client_of(self).requests.show(parsed.request))
        return pairs(shown, history=lines(shown["history"], "{at}  {from} -> {to}  {why}"))


class ExplainRequest(_OneRequest):
    """Explain why a request waits, its position in the queue, and what would unblock it."""

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        return _explained(client_of(self).requests.explain(parsed.request))


class CheckRequest(ShowOne):
    """Check whether servers would start now, and if not, why not and when at the latest.

    Nothing is created.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--flavor", required=True, help="Name of a public flavor.")
        parser.add_argument("--count", type=int, default=1, metavar="N", help="How many servers.")
        parser.add_argument(
            "--project", help="Name or id of the project. Default: that of the token."
        )
        parser.add_argument(
            "--property", action="append", default=[], metavar="KEY=VALUE",
            help="Metadata of the server, such as quota=shared; may be given several times.",
        )  # fmt: skip
        parser.add_argument(
            "--availability-zone",
            metavar="ZONE",
            help="Availability zone to request. Default: any.",
        )
        parser.add_argument("--server-group", metavar="ID", help="Server group of the servers.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Pairs:
        options: dict[str, object] = {"count": parsed.count}
        if parsed.project:
            options["project"] = parsed.project
        if parsed.property:
            options["metadata"] = dict(_property(text) for text in parsed.property)
        for name in ("availability_zone", "server_group"):
            if getattr(parsed, name):
                options[name] = getattr(parsed, name)
        found = client_of(self).requests.simulate(parsed.flavor, **options)
        return pairs(found, bounds=lines(found["bounds"], _BOUND))


class _Many(Command):
    """A command on several requests: it tries each, and reports those that fail."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("requests", nargs="+", metavar="request", help="Ids of the requests.")
        return parser

    def action_of(self, client: Client, parsed: argparse.Namespace) -> Callable[[str], object]:
        raise NotImplementedError

    def take_action(self, parsed: argparse.Namespace) -> None:
        act = self.action_of(client_of(self), parsed)
        failed = []
        for request_id in parsed.requests:
            try:
                act(request_id)
            except ApiError as error:
                failed.append(str(error))
        if failed:
            raise ApiError("; ".join(failed))


class CancelRequest(_Many):
    """Cancel waiting requests; their servers go to ERROR with the reason."""

    def action_of(self, client: Client, parsed: argparse.Namespace) -> Callable[[str], object]:
        return client.requests.cancel


class HoldRequest(_Many):
    """Keep waiting requests from starting until they are released."""

    def action_of(self, client: Client, parsed: argparse.Namespace) -> Callable[[str], object]:
        return client.requests.hold


class ReleaseRequest(_Many):
    """Release held or quarantined requests to the queue."""

    def action_of(self, client: Client, parsed: argparse.Namespace) -> Callable[[str], object]:
        return client.requests.release


class ExtendRequest(_Many):
    """Extend the lifetime of running shared servers."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--by",
            type=duration_s,
            required=True,
            metavar="DURATION",
            help="Time to add to the lifetime, such as 3600, 90m or 24h.",
        )
        return parser

    def action_of(self, client: Client, parsed: argparse.Namespace) -> Callable[[str], object]:
        return lambda request_id: client.requests.extend(request_id, parsed.by)


_BOUND: Final = (
    "{scope} of {node}: {resource_class} needs {needed}, free {free} of {limit}, your project "
    "holds {own} of the {used} in use"
)


def _explained(found: Mapping[str, Any]) -> Pairs:
    """Return an explanation: text first, numbers after."""
    unblocked = found["unblocked_by"] or dict.fromkeys(
        ("estimated_start", "reserved_at", "enough_at", "releases", "smaller_flavors")
    )
    first = {
        name: found[name] for name in ("text", "reason", "state", "quotas", "position", "bounds")
    }
    last = {name: found[name] for name in (*_START, "priority", "round_id", "round_at", "age_s")}
    terms = found["priority"] or {}
    return pairs(
        {**first, **unblocked, **last},
        bounds=lines(found["bounds"], _BOUND),
        releases=lines(unblocked["releases"] or [], "{at}: {freed} ({servers} server(s))"),
        smaller_flavors=lines(unblocked["smaller_flavors"] or [], "{name}: {demand}"),
        priority="\n".join(f"{name}: {cell(value)}" for name, value in terms.items()),
    )


def _property(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found:
        raise ApiError(f"{text!r} must have the form KEY=VALUE")
    return name, value
