"""The ports `Intake`, `Conductor` and `Changes` on AMQP: the managers' view of the relay."""

from collections.abc import Sequence
from typing import Final

from synergy.core.errors import InvalidInput
from synergy.drivers import envelope, nova_message
from synergy.drivers.nova_rpc.publisher import PublishStatus
from synergy.drivers.nova_rpc.relay import Relay
from synergy.ports import Change, Credentials, Handed, Parcel, Receipt, Wake

_HANDED: Final = {
    PublishStatus.CONFIRMED: Handed.SENT,
    PublishStatus.REFUSED: Handed.NOT_SENT,
    PublishStatus.UNKNOWN: Handed.UNKNOWN,
}


class NovaRpc(Relay):
    """Build requests in and out of Nova; see `ports.Intake` and `ports.Conductor`."""

    def credentials(self, body: bytes) -> Credentials:
        """Return the user's token and roles in a body."""
        return nova_message.credentials_of(body)

    def build(self, parcels: Sequence[Parcel]) -> Sequence[Receipt]:
        """Hand messages over, wait for confirmation, and return a receipt for each."""
        bodies: dict[int, bytes] = {}
        receipts: dict[int, Receipt] = {}
        for place, parcel in enumerate(parcels):
            try:
                bodies[place] = _with_its_token(parcel)
            except InvalidInput as error:
                receipts[place] = Receipt(Handed.UNUSABLE, str(error))
        for place, done in zip(bodies, self.hand_over(list(bodies.values())), strict=True):
            receipts[place] = Receipt(_HANDED[done.status], done.why)
        return [receipts[place] for place in range(len(parcels))]

    def backlog(self) -> int:
        """Return how many messages wait for the conductor. Raises UpstreamUnavailable."""
        return self.waiting()

    def refuse(self, body: bytes, reason: str) -> None:
        """End the server in ERROR with a fault that its user can read. Safe to repeat."""
        self.hand_over_one(nova_message.refused(body, reason))


def _with_its_token(parcel: Parcel) -> bytes:
    return parcel.body if parcel.token is None else envelope.with_token(parcel.body, parcel.token)


class ServerChanges:
    """Resizes and unshelves on their way from nova-api to the conductor; see `ports.Changes`."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def on_arrival(self, wake: Wake) -> None:
        """Call `wake` when a change arrives."""
        self._relay.on_change(wake)

    def fetch(self, *, limit: int) -> Sequence[Change]:
        """Return up to `limit` changes without waiting; they stay unacknowledged."""
        return self._relay.fetch_changes(limit=limit)

    def let_pass(self, change: Change) -> None:
        """Hand the change to the conductor as it came."""
        self._relay.hand_over_one(change.body)

    def refuse(self, change: Change, reason: str) -> None:
        """Leave the server as it is, and show its user the reason."""
        self._relay.hand_over_one(nova_message.refused_change(change.body, reason))

    def acknowledge(self, changes: Sequence[Change]) -> None:
        """Let the broker forget these."""
        self._relay.acknowledge_changes(changes)
