"""/v1/audit: who changed what through this API."""

from typing import Any, Final

from synergy.api.routing import ID, INSTANT, LIMIT, TEXT, Call, Route, next_page
from synergy.api.schemas import listed
from synergy.core.audit import AuditOutcome


def list_audit(call: Call) -> Any:
    """List changes that were asked for, and what became of them, oldest first."""
    found = call.services.changes(call.query)
    return {"audit": found, "next": next_page(call, found, key="number")}


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/audit",
        name="list_audit",
        summary="List changes that were asked for, and what became of them, oldest first.",
        rule="audit:get",
        general=True,
        handler=list_audit,
        query={
            "user_id": ID,
            "project_id": ID,
            "operation": TEXT,
            "outcome": {"type": "string", "enum": [one.value for one in AuditOutcome]},
            "since": INSTANT,
            "limit": LIMIT,
            "marker": {"type": "integer", "minimum": 0, "maximum": 2**62},
        },
        answer=listed("audit", "Change"),
    ),
)
