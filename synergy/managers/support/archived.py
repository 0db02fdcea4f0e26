"""Finds a request where it is now: among those that Synergy works with, or in the archive.

Why: anyone who asks what became of a server does not know how long its record is kept where. Must
not know who asks.
"""

from dataclasses import dataclass

from synergy.core.errors import NotFound
from synergy.core.lifecycle import Step
from synergy.core.model import Request
from synergy.ports import LedgerEntry, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A request with its ledger; `archived`: nothing works with it any longer."""

    request: Request
    steps: tuple[Step, ...]
    archived: bool


def locate(uow: Reading, request_id: str) -> Located:
    """Return a request. Raises NotFound."""
    try:
        request = uow.requests.get(request_id)
        return Located(request=request, steps=tuple(uow.requests.steps(request_id)), archived=False)
    except NotFound as missing:
        try:
            request, entries = uow.archive.request(request_id)
        except NotFound as error:
            raise (error if "archived" in str(error) else missing) from None
        return Located(request=request, steps=tuple(entry.step for entry in entries), archived=True)


def archived_entries(uow: Reading, request_id: str, project_id: str | None) -> list[LedgerEntry]:
    """Return the archived ledger of a request, empty when it is not archived.

    project_id  None, or the only project whose requests may be seen
    Raises NotFound when there is no such request, or not of that project.
    """
    found = locate(uow, request_id)
    if project_id not in (None, found.request.project_id):
        raise NotFound(f"request {request_id!r} does not exist")
    return uow.archive.request(request_id)[1] if found.archived else []
