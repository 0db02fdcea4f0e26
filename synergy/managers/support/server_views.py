"""Asks Nova for servers so that one which it cannot show keeps no other from being looked at.

Why: a driver may fail as a whole for one odd server, and everything that is done for others in the
same pass would fail with it, for ever. Must not know why the servers are asked for.
"""

import logging
from collections.abc import Sequence

from synergy.core.ask_each import ask_together
from synergy.core.errors import error_line
from synergy.core.ids import NOBODY
from synergy.ports import Servers, ServerView

LOG = logging.getLogger(__name__)


def views_of(servers: Servers, server_ids: Sequence[str]) -> dict[str, ServerView]:
    """Return those of the servers that exist; one that cannot be shown is UNKNOWN.

    Raises what was raised for the first one, when Nova shows none.
    """
    found, unknown = ask_together(server_ids, servers.servers, nothing=NOBODY)
    if unknown:
        server_id, error = next(iter(unknown.items()))
        LOG.warning(
            "%d server(s) that Nova cannot show are left as they are, such as %s: %s",
            len(unknown), server_id, error_line(error),
        )  # fmt: skip
    return found | {server_id: ServerView.unknown(server_id) for server_id in unknown}
