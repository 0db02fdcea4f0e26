"""/v1/audit: who changed what through this API."""

from typing import Final

from synergy.api.routing import LIMIT, Body, Call, Route, next_page
from synergy.api.schemas import listed
from synergy.core.declared.fields import schemas_of
from synergy.core.declared.filters import CHANGE_FILTERS, NUMBER


def list_audit(call: Call) -> Body:
    """List the changes that callers asked for and their outcomes, oldest first."""
    found = call.services.host.changes(call.query)
    return {"audit": found, "next": next_page(call, found, key="number")}


ROUTES: Final = (
    Route(
        method="GET",
        path="/v1/audit",
        name="list_audit",
        summary="List the changes that callers asked for and their outcomes, oldest first.",
        rule="audit:get",
        general=True,
        handler=list_audit,
        query={**schemas_of([*CHANGE_FILTERS, NUMBER]), "limit": LIMIT},
        answer=listed("audit", "Change"),
    ),
)
