"""`synergy audit list`"""

import argparse
from typing import Final

from synergy.cli.command import Lister, add_limit, client_of
from synergy.cli.options import add_options, filters_given
from synergy.cli.render import Table, rows
from synergy.core.declared.filters import CHANGE_FILTERS, NUMBER

_COLUMNS: Final = (
    "number", "at", "user_name", "user_id", "project_id", "address", "operation", "target",
    "outcome", "status", "before", "after", "why", "request_id",
)  # fmt: skip

_FILTERS: Final = (*CHANGE_FILTERS, NUMBER)


class ListAudit(Lister):
    """List changes made through the API, oldest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_options(parser, _FILTERS)
        add_limit(parser, "changes")
        return parser

    def take_action(self, parsed: argparse.Namespace) -> Table:
        client = client_of(self)
        filters = filters_given(client, parsed, _FILTERS)
        found = client.reports.audit(limit=parsed.limit, **filters)
        return rows(list(found), _COLUMNS)
