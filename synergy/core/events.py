"""Typed facts that managers tell each other, after the commit that made them true."""

from collections.abc import Mapping
from dataclasses import dataclass

from synergy.core.model import Request
from synergy.core.quota import QuotaState, SharedSize


@dataclass(frozen=True, slots=True)
class Fact:
    """Root of the events; a manager lists in `listens` the classes it wants."""


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
    """These requests were refused at intake; each tells why."""

    requests: tuple[Request, ...]


@dataclass(frozen=True, slots=True)
class QuotaHeld(Fact):
    """These requests began to hold quota."""

    requests: tuple[Request, ...]


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
    size: SharedSize


@dataclass(frozen=True, slots=True)
class FactorsChanged(Fact):
    """Fair-share factors by association_id, complete."""

    factors: Mapping[int, float]
