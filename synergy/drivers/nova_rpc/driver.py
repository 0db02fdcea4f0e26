"""The ports `Intake` and `Conductor` on AMQP: what the managers see of the relay."""

from synergy.drivers import envelope, nova_message
from synergy.drivers.nova_rpc.relay import Relay
from synergy.ports import Credentials


class NovaRpc(Relay):
    """Build requests in and out of Nova; see `ports.Intake` and `ports.Conductor`."""

    def credentials(self, body: bytes) -> Credentials:
        """Return the user's token and roles in a body."""
        return nova_message.credentials_of(body)

    def build(self, body: bytes, *, token: str | None) -> None:
        """Hand over one server's message, confirmed; a fresh token replaces the one inside."""
        self.hand_over(body if token is None else envelope.with_token(body, token))

    def backlog(self) -> int:
        """Return how many messages wait for the conductor. Raises UpstreamUnavailable."""
        return self.waiting()

    def refuse(self, body: bytes, reason: str) -> None:
        """End the server in ERROR with a fault that its user can read. Safe to repeat."""
        self.hand_over(nova_message.refused(body, reason))
