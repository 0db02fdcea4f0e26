"""`synergy audit list`"""

import argparse
from typing import Any, Final

from synergy.cli.command import Lister, add_limit, add_project, client_of, project_id_of
from synergy.cli.render import rows

_COLUMNS: Final = (
    "number", "at", "user_name", "user_id", "project_id", "address", "operation", "target",
    "outcome", "status", "before", "after", "why", "request_id",
)  # fmt: skip


class ListAudit(Lister):
    """List who changed what through the API, oldest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_project(parser)
        parser.add_argument("--user", metavar="ID", help="Only by this user; an id.")
        parser.add_argument("--operation", metavar="NAME", help="Only this one: set_project, ...")
        parser.add_argument("--outcome", choices=["begun", "done", "refused", "failed"])
        parser.add_argument("--since", metavar="INSTANT", help="Such as 2026-01-31T12:00:00Z.")
        parser.add_argument("--marker", type=int, metavar="N", help="Begin after this number.")
        add_limit(parser, "changes")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Any:
        client = client_of(self)
        found = client.reports.audit(
            limit=parsed.limit,
            project_id=project_id_of(client, parsed.project),
            user_id=parsed.user,
            operation=parsed.operation,
            outcome=parsed.outcome,
            since=parsed.since,
            marker=parsed.marker,
        )
        return rows(list(found), _COLUMNS)
