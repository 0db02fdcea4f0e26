"""The audit log: who changed what through the API, when, from where, and with which outcome.

Why: an entry is written before the change is made and its outcome after it, so that even a change
that a crash interrupts leaves a trace. Must not know HTTP or tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AuditOutcome(StrEnum):
    """What became of a change."""

    BEGUN = "begun"  # in progress; one that stays so was interrupted, and may have been made
    DONE = "done"
    REFUSED = "refused"  # nothing was changed
    FAILED = "failed"  # an error; how much was changed shows only in the changed object


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change.

    request_id  of the HTTP request, as in the log
    operation   the name of the route
    target      the requested path
    asked       what the caller sent
    before      the fields that the change replaced
    after       what they are now
    """

    at: datetime
    request_id: str
    user_id: str | None
    user_name: str | None
    project_id: str | None
    roles: Sequence[str]
    address: str
    operation: str
    target: str
    asked: Mapping[str, object]
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
    outcome: AuditOutcome = AuditOutcome.BEGUN
    status: int | None = None
    why: str = ""


def difference(
    before: Mapping[str, object] | None, after: Mapping[str, object] | None
) -> tuple[dict[str, object], dict[str, object]]:
    """Return the fields that differ: their old values, and their new values."""
    was, now = before or {}, after or {}
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return (
        {name: was[name] for name in changed if name in was},
        {name: now[name] for name in changed if name in now},
    )
