"""The notifications of the embedded cloud."""

from collections.abc import Sequence

from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.ports import Notice, Wake


class EmbeddedNotices:
    """The notification pool of an embedded Nova; see `ports.Notices`."""

    def __init__(self, nova: EmbeddedNova) -> None:
        self._nova = nova

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""
        self._nova.on_notice(wake)

    def fetch(self, *, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications."""
        return self._nova.take_notices(limit)

    def acknowledge(self, notices: Sequence[Notice]) -> None:
        """Do nothing: `fetch` removed them already."""
