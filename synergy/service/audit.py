"""Stores the audit log, for whichever process serves the API.

Must not know HTTP: requests and outcomes arrive as values.
"""

from collections.abc import Mapping
from typing import Any, cast

from synergy.core.audit import AuditEntry, AuditOutcome
from synergy.core.declared.answers.service import Change
from synergy.core.declared.filters import (
    CHANGE_FILTERS,
    USUAL_PAGE,
    ChangeFilters,
    keywords_in,
)
from synergy.ports import Clock, Store


class AuditLog:
    """Changes made through the API."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def begin(self, entry: Mapping[str, Any]) -> int:
        """Record a change before it is made, and return its number."""
        values = dict(entry)
        outcome = AuditOutcome(values.pop("outcome", AuditOutcome.BEGUN))
        with self._store.writing() as uow:
            number = uow.audit.add(AuditEntry(at=self._clock.now(), outcome=outcome, **values))
            uow.commit()
        return number

    def settle(self, number: int, settled: Mapping[str, Any]) -> None:
        """Record the outcome of a change."""
        values = dict(settled)
        outcome = AuditOutcome(values.pop("outcome"))
        with self._store.writing() as uow:
            uow.audit.settle(number, outcome, **values)
            uow.commit()

    def list(self, filters: Mapping[str, Any]) -> list[Change]:
        """Return changes, oldest first; `marker` is the last number seen. Raises InvalidInput."""
        wanted = cast(ChangeFilters, keywords_in(filters, CHANGE_FILTERS))
        limit, after = filters.get("limit", USUAL_PAGE), filters.get("marker", 0)
        with self._store.reading() as uow:
            found = uow.audit.search(limit=limit, after=after, **wanted)
        return [_json(number, entry) for number, entry in found]


def _json(number: int, entry: AuditEntry) -> Change:
    return {
        "number": number,
        "at": entry.at.isoformat(),
        "request_id": entry.request_id,
        "user_id": entry.user_id,
        "user_name": entry.user_name,
        "project_id": entry.project_id,
        "roles": list(entry.roles),
        "address": entry.address,
        "operation": entry.operation,
        "target": entry.target,
        "asked": dict(entry.asked),
        "before": None if entry.before is None else dict(entry.before),
        "after": None if entry.after is None else dict(entry.after),
        "outcome": entry.outcome.value,
        "status": entry.status,
        "why": entry.why,
    }
