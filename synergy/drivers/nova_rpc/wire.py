"""What is used of kombu's connections, channels and messages, as types.

Why: kombu has no types for these, so everything that a message passes through would be unchecked.
Each function asks for the part of a channel that it uses. Must not know what a message means.
"""

from collections.abc import Callable, Mapping
from typing import Protocol


class Acknowledging(Protocol):
    """A channel on which messages came."""

    def basic_ack(self, delivery_tag: int, /, multiple: bool = False) -> None:
        """Acknowledge a message, or all up to it."""


class Received(Protocol):
    """A message as it came from the broker."""

    @property
    def body(self) -> bytes | str:
        """As it was published."""

    @property
    def properties(self) -> Mapping[str, str | None]:
        """Properties of AMQP, such as its expiration in milliseconds."""

    @property
    def delivery_info(self) -> Mapping[str, object]:
        """How it came, such as whether it is redelivered."""

    @property
    def delivery_tag(self) -> int:
        """Its number on its channel."""

    @property
    def channel(self) -> Acknowledging:
        """The channel that it came on."""


class Declaring(Protocol):
    """A channel on which queues are declared."""

    def exchange_declare(
        self, exchange: str, kind: str, /, *, durable: bool, auto_delete: bool
    ) -> None:
        """Declare an exchange."""

    def queue_declare(
        self,
        queue: str,
        /,
        *,
        durable: bool,
        auto_delete: bool,
        arguments: Mapping[str, object] = ...,
    ) -> object:
        """Declare a queue."""

    def queue_bind(self, queue: str, exchange: str, routing_key: str, /) -> None:
        """Bind a queue to an exchange."""


class Consuming(Declaring, Protocol):
    """A channel on which queues are declared and consumed."""

    def basic_qos(self, prefetch_size: int, prefetch_count: int, a_global: bool, /) -> None:
        """Say how many messages may be unacknowledged."""

    def basic_consume(self, queue: str, /, *, callback: Callable[[Received], None]) -> None:
        """Call `callback` for each message of a queue."""


class DeclaredQueue(Protocol):
    """What the broker answers when a queue is declared."""

    queue: str
    message_count: int
    consumer_count: int


class Refusal(Protocol):
    """Why the broker refuses what was published."""

    reply_text: str


class Listeners(Protocol):
    """Who is called when a frame of one kind arrives on a channel."""

    def add(self, listener: Callable[..., None], /) -> None:
        """Call one more."""


class Channel(Consuming, Acknowledging, Protocol):
    """A channel of a connection, whole."""

    auto_decode: bool
    events: Mapping[str, Listeners]  # by the name of the frame

    def queue_declare(
        self,
        queue: str,
        /,
        passive: bool = False,
        *,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        arguments: Mapping[str, object] = ...,
    ) -> DeclaredQueue:
        """Declare a queue; a passive one must exist."""

    def basic_get(self, queue: str, /, *, no_ack: bool) -> Received | None:
        """Return the next message of a queue, None when it has none."""

    def basic_publish(
        self,
        message: object,
        /,
        *,
        exchange: str,
        routing_key: str,
        mandatory: bool,
        timeout: float,
    ) -> None:
        """Publish a message."""

    def confirm_select(self) -> None:
        """Have the broker confirm what is published."""
