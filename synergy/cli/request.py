"""`synergy request ...`"""

import argparse
from typing import Any

from cliff.command import Command
from cliff.lister import Lister
from cliff.show import ShowOne

from synergy.cli.client import client_of
from synergy.cli.render import pairs, rows

_COLUMNS = ("id", "name", "project_id", "state", "quota", "flavor", "queued_at", "reason")


class ListRequests(Lister):
    """List requests in the order in which they were received."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--project-id", help="Only those of this project.")
        parser.add_argument("--state", help="Only those in this state, such as QUEUED.")
        parser.add_argument("--limit", type=int, help="Most requests to list (default: 100).")
        parser.add_argument("--marker", help="Begin after the request with this id.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Any:
        names = ("project_id", "state", "limit", "marker")
        query = {name: getattr(parsed, name) for name in names}
        return rows(client_of(self).get("/requests", query)["requests"], _COLUMNS)


class ShowRequest(ShowOne):
    """Show a request with its history, and why it waits."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("request", help="Id of the request, which is the server's.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Any:
        shown = client_of(self).get(f"/requests/{parsed.request}")["request"]
        steps = [f"{s['at']}  {s['from']} -> {s['to']}  {s['why']}" for s in shown["history"]]
        return pairs(shown | {"history": "\n".join(steps)})


class CancelRequest(Command):
    """Withdraw waiting requests; their servers end in ERROR with the reason."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("requests", nargs="+", metavar="request", help="Ids of the requests.")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> None:
        for request_id in parsed.requests:
            client_of(self).delete(f"/requests/{request_id}")
