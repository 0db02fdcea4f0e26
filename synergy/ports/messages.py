"""What comes and goes by message: build requests, changes and notifications, as protocols.

Why: they follow what was observed on Nova: a build message may carry several servers, must reach
the conductor at most once, and is acknowledged only after its requests are committed. Must not know
who implements them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from synergy.core.model import (
    BuildFailure,
    Constraints,
    Resources,
)

Wake = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One server that a user asked for, as read from Nova's message.

    body is the message that builds just this server; it holds tokens and passwords.
    """

    server_id: str
    project_id: str
    user_id: str
    user_name: str
    server_name: str
    flavor: str
    demand: Resources
    created_at: datetime
    body: bytes = field(repr=False)
    batch_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    constraints: Constraints = ()
    user_data_quota: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message from the edge: its requests, or why it cannot be read.

    unreadable is "" when the message is what Nova sends. `message_id` is stable over redelivery.
    """

    message_id: str
    body: bytes = field(repr=False)
    requests: tuple[BuildRequest, ...] = ()
    unreadable: str = ""


class Intake(Protocol):
    """Build requests of managed projects, intercepted between nova-api and the conductor."""

    def manage(self, project_ids: frozenset[str]) -> None:
        """Take requests of these projects from now on; those of all others pass untouched."""

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a message arrives."""

    def fetch(self, *, limit: int) -> Sequence[Delivery]:
        """Return up to `limit` messages without waiting; they stay unacknowledged."""

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge these to the broker; call it after the commit."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The token and roles in a stored body."""

    token: str = field(repr=False)
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parcel:
    """One server's message for the conductor; a fresh token replaces the one inside."""

    body: bytes = field(repr=False)
    token: str | None = field(default=None, repr=False)


class Handed(StrEnum):
    """Whether a parcel was sent."""

    SENT = "sent"
    NOT_SENT = "not sent"
    UNKNOWN = "unknown"  # the connection broke before the broker confirmed it
    UNUSABLE = "unusable"  # the message cannot be read, and never will


@dataclass(frozen=True, slots=True)
class Receipt:
    """Whether a parcel was sent, and if not, why."""

    handed: Handed
    why: str = ""


class Conductor(Protocol):
    """The way to Nova's conductor."""

    def credentials(self, body: bytes) -> Credentials:
        """Return the user's token and roles in a body."""

    def build(self, parcels: Sequence[Parcel]) -> Sequence[Receipt]:
        """Hand messages over, wait for confirmation, and return a receipt for each."""

    def refuse(self, body: bytes, reason: str) -> None:
        """End the server in ERROR with a fault that its user can read. Safe to repeat.

        Raises UpstreamUnavailable when that is not certain.
        """

    def backlog(self) -> int:
        """Return how many messages wait for the conductor. Raises UpstreamUnavailable."""


class ChangeKind(StrEnum):
    """A user's request that an existing server take more, or other, resources."""

    RESIZE = "resize"
    UNSHELVE = "unshelve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that waits between nova-api and the conductor.

    demand  what the server will use after it
    """

    message_id: str
    kind: ChangeKind
    server_id: str
    project_id: str
    flavor: str
    demand: Resources
    body: bytes = field(repr=False)


class Changes(Protocol):
    """Changes of servers of managed projects, which Nova no longer checks against a quota.

    `let_pass` and `refuse` raise UpstreamUnavailable.
    """

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a change arrives."""

    def fetch(self, *, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes without waiting; they stay unacknowledged."""

    def let_pass(self, change: Change) -> None:
        """Hand the change to the conductor as it came."""

    def refuse(self, change: Change, reason: str) -> None:
        """Leave the server as it is, and show its user the reason."""

    def acknowledge(self, changes: Sequence[Change]) -> None:
        """Acknowledge these to the broker."""


class NoticeKind(StrEnum):
    """The meaning of a notification."""

    BOOTED = "booted"
    ATTEMPT_FAILED = "attempt failed"  # on one host; Nova may try another
    FAILED = "failed"
    DELETED = "deleted"
    SHELVED = "shelved"
    UNSHELVED = "unshelved"
    RESIZED = "resized"  # confirmed, or reverted
    CHANGED = "changed"  # it moved or was rebuilt: query Nova for its state


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification about one server; `detail` and `failure` are set for a failure."""

    kind: NoticeKind
    server_id: str
    at: datetime
    host: str | None = None
    detail: str = ""
    failure: BuildFailure | None = None
    message_id: str = ""


class Notices(Protocol):
    """Notifications of the compute service, from Synergy's own pool."""

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""

    def fetch(self, *, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications without waiting."""

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """Acknowledge these to the broker; call it after the commit."""
