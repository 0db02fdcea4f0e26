"""The way of notifications to others, as a protocol.

Must not know what a notification says.
"""

from collections.abc import Mapping
from typing import Protocol


class NotificationSink(Protocol):
    """Takes notifications to all who listen."""

    @property
    def active(self) -> bool:
        """Whether anybody is to be sent anything: a driver is configured."""

    @property
    def dropped(self) -> int:
        """How many notifications were taken and could not be delivered, since the start."""

    def send(self, name: str, priority: str, payload: Mapping[str, object]) -> None:
        """Send one; it may arrive twice. Raises UpstreamUnavailable when that is not certain."""

    def close(self) -> None:
        """Close the connections."""
