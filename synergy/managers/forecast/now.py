"""Reads from the store what waits and holds quota now, to be run forward. Changes nothing."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import Final
from uuid import UUID

from synergy.core.accounts import user_node
from synergy.core.events import FactorsChanged
from synergy.core.forecasts.starts import Now, Server, Wanted
from synergy.core.ids import ID_BYTES
from synergy.core.model import QuotaKind, Request, Resources, State
from synergy.core.quota import QuotaState, QuotaTree
from synergy.core.rounds import Policy
from synergy.core.rounds.timeline import Arrival, Holding, LiveState
from synergy.ports import Reading

_HOLD: Final = (State.DISPATCHING, State.BUILDING, State.ACTIVE, State.EXPIRING)
_PAGE: Final = 1000


def read_waiting(uow: Reading, project_of: Mapping[int, str], most: int) -> list[Wanted]:
    """Return what waits, the oldest of each class first, at most `most`."""
    found: list[Wanted] = []
    for line in uow.requests.lines():
        kind = line.request_class
        project_id = project_of.get(kind.association_id, "")
        for place, queued_at_s in enumerate(line.queued_at_s):
            if len(found) == most:
                return found
            key = UUID(bytes=line.ids[place * ID_BYTES : (place + 1) * ID_BYTES])
            arrival = Arrival(at_s=queued_at_s, request_id=str(key), kind=kind, held_s=inf)
            found.append(Wanted(key=key.int, project_id=project_id, arrival=arrival))
    return found


def read_holding(uow: Reading) -> list[Request]:
    """Return the requests that hold quota."""
    found: list[Request] = []
    while page := uow.requests.search(
        states=list(_HOLD), limit=_PAGE, after=found[-1].request_id if found else None
    ):
        found += page
    return found


def now_of(
    *,
    at: datetime,
    state: QuotaState,
    policy: Policy,
    waiting: Sequence[Wanted],
    holding: Sequence[Request],
    suspended: frozenset[int],
    factors: FactorsChanged,
    more: Collection[str] = (),
) -> Now:
    """Return what is to be run forward from an instant.

    more  resource classes that neither what waits nor what is held has
    """
    names = {name for one in waiting for name in one.arrival.kind.demand}
    names |= {name for one in holding for name in one.demand}
    names |= set(more)
    tree = QuotaTree(state, tuple(sorted(names | set(state.resource_classes()))))
    return Now(
        tree=tree,
        policy=policy,
        state=LiveState(at_s=at.timestamp(), suspended=suspended, factors=factors),
        waiting=waiting,
        holding=[_server(one, tree, at) for one in holding],
    )


def _server(request: Request, tree: QuotaTree, at: datetime) -> Server:
    kind, began = request.request_class, request.held_from or at
    ends = request.expires_at
    if ends is None and kind.ttl_s > 0 and request.active_at is None:
        ends = at + timedelta(seconds=kind.ttl_s)  # its life begins when it runs
    known_end_s = ends.timestamp() if ends is not None else inf
    return Server(
        key=UUID(request.request_id).int,
        kind=kind,
        project_id=request.project_id,
        holding=Holding(
            leaf=tree.row.get(user_node(kind.association_id), 0),
            demand=tree.amounts(kind.demand),
            quota=kind.quota,
            known_end_s=known_end_s if kind.quota is QuotaKind.SHARED else inf,
            end_s=inf,
        ),
        began_s=began.timestamp(),
    )


def size_in(demand: Resources, tree: QuotaTree) -> float:
    """Return the largest part of the cloud that is asked for."""
    capacity = dict(zip(tree.resource_classes, tree.capacity.tolist(), strict=True))
    return max((n / capacity[name] for name, n in demand.amounts if capacity[name]), default=0.0)
