"""Asks Nova for servers so that one which it cannot show keeps no other from being looked at.

Why: a driver may fail as a whole for one odd server, and everything that is done for others in the
same pass would fail with it, for ever. Must not know why the servers are asked for.
"""

import logging
from collections.abc import Sequence
from typing import Final

from synergy.core.errors import StoreUnavailable, error_line
from synergy.ports import Servers, ServerView

LOG = logging.getLogger(__name__)
SILENT: Final = 5  # servers in a row that nobody can be asked about, then it is Nova that is away


def views_of(servers: Servers, server_ids: Sequence[str]) -> dict[str, ServerView]:
    """Return those of the servers that exist; one that cannot be shown is UNKNOWN.

    Raises what was raised for the first one, when Nova shows none.
    """
    try:
        return dict(servers.servers(server_ids))
    except StoreUnavailable:
        raise
    except Exception:
        if len(server_ids) == 1:
            raise
    return _one_by_one(servers, server_ids)


def _one_by_one(servers: Servers, server_ids: Sequence[str]) -> dict[str, ServerView]:
    found: dict[str, ServerView] = {}
    failed: list[tuple[str, Exception]] = []
    for asked, server_id in enumerate(server_ids, start=1):
        try:
            found |= servers.servers([server_id])
        except Exception as error:  # noqa: BLE001 - of this server alone, unless all fail
            failed.append((server_id, error))
            if len(failed) == asked >= min(SILENT, len(server_ids)):
                raise failed[0][1] from None
    for server_id, _ in failed:
        found[server_id] = ServerView.unknown(server_id)
    if failed:
        server_id, why = failed[0]
        LOG.warning(
            "%d server(s) that Nova cannot show are left as they are, such as %s: %s",
            len(failed), server_id, error_line(why),
        )  # fmt: skip
    return found
