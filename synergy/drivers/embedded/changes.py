"""The embedded cloud's resizes and unshelves: what waits between its API and its conductor."""

from collections import deque
from collections.abc import Callable, Sequence

from synergy.core.errors import HandOverFailed, HandOverUnknown
from synergy.drivers.embedded.faults import Faults
from synergy.ports import Change, Wake


class EmbeddedChanges:
    """See `ports.Changes`."""

    def __init__(
        self,
        perform: Callable[[Change], None],
        reject: Callable[[Change, str], None],
        faults: Faults,
    ) -> None:
        """`perform` does a change, `reject` leaves the server as it is and keeps why."""
        self._perform, self._reject, self._faults = perform, reject, faults
        self._wake: Wake = lambda: None
        self._inbox: deque[Change] = deque()
        self._unacked: dict[str, Change] = {}

    def arrive(self, change: Change) -> None:
        """Take a change off nova-api's way."""
        self._inbox.append(change)
        self._wake()

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a change arrives."""
        self._wake = wake

    def fetch(self, *, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes without waiting; they stay unacknowledged."""
        taken = [self._inbox.popleft() for _ in range(min(limit, len(self._inbox)))]
        self._unacked |= {change.message_id: change for change in taken}
        return taken

    def redeliver(self) -> None:
        """Put what was never acknowledged back, as a broker does when its consumer dies."""
        self._inbox.extendleft(reversed(self._unacked.values()))
        self._unacked.clear()

    def let_pass(self, change: Change) -> None:
        """Hand the change to the conductor as it came."""
        if self._faults.strikes("change_hand_over"):
            raise HandOverFailed("the broker did not take the message")
        self._perform(change)
        if self._faults.strikes("change_unconfirmed"):
            raise HandOverUnknown("the broker did not confirm the message")

    def refuse(self, change: Change, reason: str) -> None:
        """Leave the server as it is, and let its user read why."""
        self._reject(change, reason)

    def acknowledge(self, changes: Sequence[Change]) -> None:
        """Let the broker forget these."""
        for change in changes:
            self._unacked.pop(change.message_id, None)
