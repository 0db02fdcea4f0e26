"""What only the cloud knows, as values: a round is told it, and names what it was not told.

Why: a round must not call Nova, and Nova must not be asked about a thousand shapes when ten matter.
So a round takes what it does not know for granted and names it as lacking; whoever runs the round
finds it out and decides again. Must not know who is asked, or how.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from synergy.core.model import SERVER_GROUP, Constraints, RequestClass, Resources


@dataclass(frozen=True, slots=True)
class Shape:
    """What a request asks of a host: an amount of each resource class, and what binds the choice.

    Equal shapes meet equal hosts, whoever asks.
    """

    demand: Resources
    placement: Constraints = ()


def shape_of(kind: RequestClass) -> Shape:
    """Return what the requests of a class ask of a host."""
    return Shape(kind.demand, kind.placement)


Room = Mapping[str, Resources]  # what each host that could take a shape has free, by its name


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of the cloud; what is None or absent was not asked for.

    zones      the availability zones that there are
    groups     by server group: whether a server of it is on its way to a host, none chosen yet
    rooms      by shape: the hosts that could take it, alone
    in_flight  shapes of what was handed over and has no allocation yet, so that `rooms` do not
               count it; known whenever `rooms` are
    silent     Nova does not answer, so nothing is known and nothing can be handed over
    """

    zones: frozenset[str] | None = None
    groups: Mapping[str, bool] = field(default_factory=dict)
    rooms: Mapping[Shape, Room] = field(default_factory=dict)
    in_flight: tuple[Shape, ...] = ()
    silent: bool = False


@dataclass(frozen=True, slots=True)
class LacksZones:
    """Whether these availability zones exist."""

    asked: frozenset[str]


@dataclass(frozen=True, slots=True)
class LacksGroup:
    """Whether a server of a group is on its way to a host."""

    group: str


@dataclass(frozen=True, slots=True)
class LacksRoom:
    """Which hosts could take a shape, and how much they have free."""

    shape: Shape


Lack = LacksZones | LacksGroup | LacksRoom


def group_of(placement: Constraints) -> str | None:
    """Return the server group that a request belongs to."""
    return dict(placement).get(SERVER_GROUP) if placement else None
