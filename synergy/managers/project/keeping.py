"""Lets the shared servers of a project live on when it is managed no longer.

Why: their end was a condition of the shared quota; back under Nova's quota alone they are their
project's, as its private ones are. Must not know why the project leaves.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from synergy.core.lifecycle import IN_NOVA, Event, Move, transition
from synergy.core.model import OnPrivateFull, QuotaKind, Request
from synergy.ports import Reading, Writing

_PAGE: Final = 1000


def keep_servers(uow: Writing, project_id: str, now: datetime) -> int:
    """Take the end from every shared server of a project, and return how many there were."""
    kept = 0
    for page in _pages(uow, project_id, QuotaKind.SHARED):
        uow.requests.save([_kept(uow, request, now) for request in page])
        kept += len(page)
    return kept


def servers_of(uow: Reading, project_id: str, quota: QuotaKind) -> Iterator[Request]:
    """Yield the servers that a project has on a quota."""
    for page in _pages(uow, project_id, quota):
        yield from page


def _pages(uow: Reading, project_id: str, quota: QuotaKind) -> Iterator[Sequence[Request]]:
    marker = None
    while page := uow.requests.search(
        states=tuple(IN_NOVA), project_id=project_id, quota=quota, limit=_PAGE, after=marker
    ):
        marker = page[-1].request_id
        yield page


def _kept(uow: Writing, request: Request, now: datetime) -> Move:
    kind = replace(
        request.request_class,
        quota=QuotaKind.PRIVATE,
        on_private_full=OnPrivateFull.QUEUE,
        ttl_s=0,
    )
    private = replace(
        request,
        request_class=kind,
        class_id=uow.requests.class_id(kind),
        ttl_s=0,
        expires_at=None,
    )
    return transition(private, Event.UNMANAGED, now, why="its project is no longer managed")
