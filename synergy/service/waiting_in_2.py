"""What waits in the queue of Synergy 2.6, and what becomes of each server.

Why: a server that nobody accounts for stays in BUILD for ever, and its user hears nothing. Must not
know where the rows are stored.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from synergy.core.declared.kinds import Explained


class RequestFate(Explained):
    """What becomes of a server that waits in 2.6."""

    AGAIN = (
        "again",
        (
            "its message is one of Nova as it was then, with a token that is no longer valid: let "
            "its user delete the server and create it again"
        ),
    )
    TWICE = "twice", "another row has the same server"
    UNREADABLE = "unreadable", "its row cannot be read: look for it by project, user and time"


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRequest:
    """A server that waits in 2.6; of a row that cannot be read, what its columns tell.

    row  its id; a row may hold several servers
    """

    row: int
    server_id: str
    server_name: str
    flavor: str
    project_id: str
    user_id: str
    queued_at: str
    fate: RequestFate
    why: str


def fates_of(rows: Iterable[Any]) -> list[OldRequest]:
    """Return what becomes of every server of every row, in their order."""
    found: list[OldRequest] = []
    seen: set[str] = set()
    for row in rows:
        for one in _requests(*row):
            again = one.server_id in seen and one.fate is RequestFate.AGAIN
            found.append(_with_fate(one, RequestFate.TWICE) if again else one)
            seen.add(one.server_id)
    return found


def _with_fate(one: OldRequest, fate: RequestFate) -> OldRequest:
    return replace(one, fate=fate, why=fate.meaning)


def _requests(
    row: Any, user_id: Any, project_id: Any, queued_at: Any, data: Any
) -> list[OldRequest]:
    """Return the servers of a row, at least one: of a row that cannot be read, one unknown."""
    fate = RequestFate.UNREADABLE
    nothing = OldRequest(
        row=int(row), server_id="", server_name="", flavor="",
        project_id=str(project_id or "").strip(), user_id=str(user_id or "").strip(),
        queued_at=str(queued_at or ""), fate=fate, why=fate.meaning,
    )  # fmt: skip
    try:
        servers = _servers_of(json.loads(data))
        known = [
            replace(_with_fate(nothing, RequestFate.AGAIN), server_id=str(server["uuid"]),
                    server_name=str(server.get("display_name") or ""), flavor=_flavor_of(server))
            for server in servers
        ]  # fmt: skip
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        known = []
    return known or [nothing]


def _servers_of(stored: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    data = stored["data"]
    instances = data["instances"] if "instances" in data else [
        one["nova_object.data"]["instance"] for one in data["build_requests"]
    ]  # fmt: skip
    return [one["nova_object.data"] for one in instances]


def _flavor_of(server: Mapping[str, Any]) -> str:
    try:
        return str(server["flavor"]["nova_object.data"]["name"])
    except (KeyError, TypeError):
        return ""


def table_of(requests: Sequence[OldRequest]) -> str:
    """Return the servers that wait as a table for a spreadsheet or a mailer, with a head."""
    columns = [one.name for one in fields(OldRequest)]
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(getattr(one, name)) for name in columns] for one in requests)
    return made.getvalue()


def _cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula, and no terminal for a command."""
    text = "".join(one if one.isprintable() else " " for one in str(value))
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
