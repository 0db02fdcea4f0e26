"""The embedded cloud's resizes and unshelves on their way from its API to its conductor."""

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
        """`perform` makes a change; `reject` leaves the server as it is and records the reason."""
        self._perform, self._reject, self._faults = perform, reject, faults
        self._wake: Wake = lambda: None
        self._inbox: deque[Change] = deque()
        self._unacked: dict[str, Change] = {}

    def arrive(self, change: Change) -> None:
        """Intercept a change from nova-api."""
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
        """Requeue the unacknowledged changes, as a broker does when its consumer dies."""
        self._inbox.extendleft(reversed(self._unacked.values()))
        self._unacked.clear()

    def let_pass(self, change: Change) -> None:
        """Hand the change to the conductor as it came."""
        if self._faults.triggers("change_hand_over"):
            raise HandOverFailed("the broker did not take the message")
        self._perform(change)
        if self._faults.triggers("change_unconfirmed"):
            raise HandOverUnknown("the broker did not confirm the message")

    def refuse(self, change: Change, reason: str) -> None:
        """Leave the server as it is, and show its user the reason."""
        self._reject(change, reason)

    def acknowledge(self, changes: Sequence[Change]) -> None:
        """Acknowledge these to the broker."""
        for change in changes:
            self._unacked.pop(change.message_id, None)
