"""What a consumer tells the broker: everything that was handled, and nothing else."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from synergy.drivers.nova_rpc.consumer import Inbox, PendingAcks


class Channel:
    """The broker's side of a channel: which deliveries it still waits to hear of."""

    def __init__(self) -> None:
        self.waits: set[int] = set()
        self.last, self.frames = 0, 0

    def deliver(self) -> int:
        self.last += 1
        self.waits.add(self.last)
        return self.last

    def basic_ack(self, tag: int, multiple: bool = False) -> None:
        assert tag in self.waits, f"unknown delivery tag {tag}"  # RabbitMQ closes the channel
        self.waits -= {one for one in self.waits if one <= tag} if multiple else {tag}
        self.frames += 1


steps = st.lists(
    st.tuples(st.sampled_from(["come", "come", "handle", "settle"]), st.integers(0, 50)),
    max_size=120,
)


@given(steps)
def test_the_broker_hears_of_what_was_handled_and_of_nothing_else(
    steps: Sequence[tuple[str, int]],
) -> None:
    channel, acks = Channel(), PendingAcks()
    open_: set[int] = set()
    handled: set[int] = set()
    for what, number in steps:
        if what == "come":
            tag = channel.deliver()
            acks.received(tag)
            open_.add(tag)
        elif what == "settle":
            acks.flush(channel)
            handled.clear()
            assert channel.waits == open_
        elif open_:
            tag = sorted(open_)[number % len(open_)]
            open_.remove(tag)
            acks.handled(tag)
            handled.add(tag)
        assert channel.waits == open_ | handled


def test_a_batch_takes_one_frame() -> None:
    channel, acks, inbox = Channel(), PendingAcks(), Inbox[int]()
    inbox.reset()
    for number in range(200):
        tag = channel.deliver()
        acks.received(tag)
        inbox.put(f"m{number}", number, tag)
    inbox.acknowledge(f"m{number}" for number in range(100))
    inbox.flush_to(acks)
    acks.flush(channel)
    assert channel.waits == set(range(101, 201))
    assert channel.frames == 1


def test_what_came_on_the_last_connection_is_not_acknowledged_on_this_one() -> None:
    channel, acks, inbox = Channel(), PendingAcks(), Inbox[int]()
    inbox.reset()
    inbox.put("m", 1, 1)
    inbox.reset()
    acks.reset()
    inbox.acknowledge(["m"])
    inbox.flush_to(acks)
    acks.flush(channel)
    assert channel.frames == 0
