"""Typed facts that managers tell each other, after the commit that made them true."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from synergy.core.model import BuildFailure, Request
from synergy.core.quota import QuotaState
from synergy.core.shares import Floats


@dataclass(frozen=True, slots=True)
class Fact:
    """Root of the facts; a manager takes one in with a method that is marked `on` its class."""


@dataclass(frozen=True, slots=True)
class RequestsQueued(Fact):
    """These requests wait now, committed."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class RequestsWithdrawn(Fact):
    """These requests wait no longer, without having been dispatched."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class RequestsRefused(Fact):
    """These requests were refused, at intake or by a round; each tells why."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class TokensRefused(Fact):
    """The tokens of these waiting requests make no trust, and may be dead when their turn comes."""

    request_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class OwnersGone(Fact):
    """These (project_id, user_id) may have no servers any more; each with why, for its user."""

    owners: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class QuotaHeld(Fact):
    """These requests began to hold quota."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class BuildsFailed(Fact):
    """Nova gave the builds of these requests up, for this reason."""

    requests: tuple[Request, ...]
    failure: BuildFailure


@dataclass(frozen=True, slots=True)
class ServersActive(Fact):
    """These servers booted; those on the shared quota have an end now."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class QuotaReleased(Fact):
    """These requests hold quota no longer."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class ServersExpireSoon(Fact):
    """These shared servers end within the warning lead time."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class ProjectsChanged(Fact):
    """Projects came, went, or have other shares, limits or quotas."""

    project_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class QuotaChanged(Fact):
    """The cloud, or who owns what of it, is sized anew."""

    state: QuotaState


@dataclass(frozen=True, slots=True, eq=False)
class FactorsChanged(Fact):
    """Fair-share factors and priorities of associations, complete: columns of shape (a,) by
    association_id.

    factors         FairShare factor, in [0, 1]
    points          association priority
    highest_points  the highest of them
    """

    factors: Floats
    points: Floats
    highest_points: float

    def same_as(self, other: "FactorsChanged") -> bool:
        """Tell whether the other says the same."""
        same = np.array_equal(self.factors, other.factors)
        return same and np.array_equal(self.points, other.points)


# No manager here listens to these: they are for the plugins of others, such as one that sends mail.
FOR_OTHERS: Final = frozenset({RequestsRefused, ServersExpireSoon})
