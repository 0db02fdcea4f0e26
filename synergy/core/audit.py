"""Who changed what through the API, when, from where, and with which outcome.

Why: a change is written down before it is made, and its outcome after it, so that none is without a
trace, not even one that a crash cuts short. Must not know HTTP or tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AuditOutcome(StrEnum):
    """What became of a change."""

    BEGUN = "begun"  # being made; one that stays so was cut short, and may have been made
    DONE = "done"
    REFUSED = "refused"  # nothing was changed
    FAILED = "failed"  # an error on the way: what was changed, the thing itself tells


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change.

    request_id  of the HTTP request, which the log has too
    operation   the name of the route
    target      the path that was asked
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
    """Return the fields that differ, as they were and as they are."""
    was, now = before or {}, after or {}
    changed = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    return (
        {name: was[name] for name in changed if name in was},
        {name: now[name] for name in changed if name in now},
    )
