"""Nothing is asked of the cloud while others are kept off the database."""

import pytest

from synergy.sim.guard import CalledWhileWriting
from tests.builders import world


@pytest.mark.parametrize(
    ("port", "call"),
    [
        ("compute", lambda port: port.hosts()),
        ("identity", lambda port: port.projects()),
        ("conductor", lambda port: port.backlog()),
        ("intake", lambda port: port.fetch(limit=1)),
        ("changes", lambda port: port.fetch(limit=1)),
        ("notices", lambda port: port.fetch(limit=1)),
    ],
)
def test_every_functional_test_fails_when_a_port_is_called_inside_a_writer(port, call):
    with world() as made:
        needs = made.engine.needs_of("queue")
        call(needs[port])
        with made.store.reading():
            call(needs[port])
        with made.store.writing(), pytest.raises(CalledWhileWriting):
            call(needs[port])
        call(needs[port])
