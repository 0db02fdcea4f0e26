"""Typed facts that managers publish to each other, after the commit that made them true."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from synergy.core.model import BuildFailure, Request, Resources
from synergy.core.quota import QuotaState
from synergy.core.shares import Floats


@dataclass(frozen=True, slots=True)
class Fact:
    """Base of all facts; a manager handles one with a method that is marked `on` its class."""


@dataclass(frozen=True, slots=True)
class RequestsQueued(Fact):
    """These requests wait now; they are committed."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class RequestsWithdrawn(Fact):
    """These requests no longer wait, and were not dispatched."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class RequestsRefused(Fact):
    """These requests were refused, at intake or by a round; each holds the reason."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class TokensRefused(Fact):
    """No trust can be created with the tokens of these waiting requests, so they may expire before
    dispatch."""

    request_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class OwnersGone(Fact):
    """These owners can no longer have servers: (project_id, user_id, reason for the user)."""

    owners: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class QuotaClaimed(Fact):
    """These requests claimed quota."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class BuildsFailed(Fact):
    """Nova gave up the builds of these requests, for this reason."""

    requests: tuple[Request, ...]
    failure: BuildFailure


@dataclass(frozen=True, slots=True)
class ServersActive(Fact):
    """These servers booted; those on the shared quota now have an expiry."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class QuotaReleased(Fact):
    """These requests no longer hold quota."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class ServersExpireSoon(Fact):
    """These shared servers expire within the warning lead time."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class EndsMoved(Fact):
    """The ends of these servers were put off, or taken away."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class ProjectsChanged(Fact):
    """Projects were added, removed, or changed their shares, limits or quotas."""

    project_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class QuotaChanged(Fact):
    """The size of the cloud, or who owns what of it, changed.

    edition  of the projects that the state was found from, which may have changed meanwhile:
             before what cannot be undone, it is compared it with that of the store
    """

    state: QuotaState
    edition: int | None


@dataclass(frozen=True, slots=True)
class RoundDecided(Fact):
    """A round was decided that leaves some to wait, and what it let go is recorded."""

    round_id: str


@dataclass(frozen=True, slots=True)
class ShortfallChanged(Fact):
    """The private quotas exceed the cloud by another amount than before."""

    shortfall: Resources
    before: Resources


@dataclass(frozen=True, slots=True, eq=False)
class FactorsChanged(Fact):
    """Fair-share factors and priorities of all associations: columns of shape (a,) by
    association_id.

    factors         FairShare factor, in [0, 1]
    points          association priority
    highest_points  the highest of them
    """

    factors: Floats
    points: Floats
    highest_points: float

    def same_as(self, other: "FactorsChanged") -> bool:
        """Return whether both hold the same values."""
        same = np.array_equal(self.factors, other.factors)
        return same and np.array_equal(self.points, other.points)


# No manager of ours handles these: they are for third-party plugins, such as one that sends mail.
FOR_OTHERS: Final = frozenset({RequestsRefused, ServersExpireSoon})
