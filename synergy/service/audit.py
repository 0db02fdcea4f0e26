"""Keeps the audit in the store, for whichever process answers the API.

Must not know HTTP: what was asked and what became of it arrive as values.
"""

from collections.abc import Mapping
from typing import Any

from synergy.core.audit import AuditEntry, AuditOutcome
from synergy.managers.render import read_instant
from synergy.ports import Clock, Store

Json = Any


class AuditLog:
    """Changes that were asked for through the API."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def begin(self, entry: Mapping[str, Json]) -> int:
        """Write down what is about to be done, and return its number."""
        values = dict(entry)
        outcome = AuditOutcome(values.pop("outcome", AuditOutcome.BEGUN))
        with self._store.writing() as uow:
            number = uow.audit.add(AuditEntry(at=self._clock.now(), outcome=outcome, **values))
            uow.commit()
        return number

    def settle(self, number: int, settled: Mapping[str, Json]) -> None:
        """Write what became of it."""
        values = dict(settled)
        outcome = AuditOutcome(values.pop("outcome"))
        with self._store.writing() as uow:
            uow.audit.settle(number, outcome, **values)
            uow.commit()

    def list(self, filters: Mapping[str, Json]) -> list[Json]:
        """Return changes, oldest first; `marker` is the last number seen. Raises InvalidInput."""
        wanted = dict(filters)
        since, outcome = wanted.pop("since", None), wanted.pop("outcome", None)
        with self._store.reading() as uow:
            found = uow.audit.search(
                since=read_instant("since", since) if since else None,
                outcome=AuditOutcome(outcome) if outcome else None,
                after=wanted.pop("marker", 0),
                limit=wanted.pop("limit", 100),
                **wanted,
            )
        return [_json(number, entry) for number, entry in found]


def _json(number: int, entry: AuditEntry) -> Json:
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
        "asked": entry.asked,
        "before": entry.before,
        "after": entry.after,
        "outcome": entry.outcome.value,
        "status": entry.status,
        "why": entry.why,
    }
