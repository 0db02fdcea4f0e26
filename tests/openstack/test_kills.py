"""kill -9 at each step of intake and hand-over, beside a real Nova: nothing lost, nothing twice.

The steps are held still from outside: by a gate in the connection to the broker, and by a lock on
the database.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import configuration
from lab.steps import Lab
from tests.contract.clouds import Connect
from tests.openstack.beside import Beside, until
from tests.openstack.gate import Gate

pytestmark = pytest.mark.openstack
PATIENCE_S = 90
SETTLE_S = 2


class Steps:
    """A service behind gates, alice who asks it for servers, and ways to hold it at a step."""

    def __init__(self, lab: Lab, connect: Connect, folder: Path) -> None:
        self.admin, self.alice = connect(), connect("alice", "science")
        self.edge = Gate(configuration.broker(lab.settings, "edge"))
        self.core = Gate(configuration.broker(lab.settings, "core"))
        self.service = Beside(
            lab.settings, folder, nova={"settle_s": SETTLE_S},
            openstack={"edge_url": self.edge.url, "core_url": self.core.url,
                       "notifications_url": configuration.broker(lab.settings, "core")},
        ).start()  # fmt: skip
        self.service.ask("POST", "/v1/projects", {"project": "science", "suspended": True,
                                                  "default_quota": "private"})  # fmt: skip

    def create(self) -> str:
        compute = self.alice.compute
        made = compute.create_server(
            name="s", networks="none", flavor_id=compute.find_flavor("m1.tiny").id,
            image_id=self.alice.image.find_image("tiny").id,
        )  # fmt: skip
        return str(made.id)

    def let_go(self, *, go: bool = True) -> None:
        self.service.ask("PATCH", "/v1/projects/science", {"suspended": not go})

    def warm_up(self) -> None:
        """Let a server go, so that the connections for the hand-over are there."""
        server = self.create()
        self.let_go()
        self.is_in(server, "ACTIVE")
        self.let_go(go=False)

    def is_in(self, server: str, state: str) -> None:
        until(lambda: self.service.states(server) == [state], PATIENCE_S)

    def in_nova(self, server: str) -> str:
        return str(self.alice.compute.get_server(server).status)

    def die(self) -> None:
        self.service.kill()
        self.edge.open()
        self.core.open()
        self.service.start()

    @contextmanager
    def store_locked(self) -> Iterator[None]:
        """Nobody commits anything."""
        with sqlite3.connect(self.service.folder / "synergy.sqlite", timeout=30) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def story(self, server: str) -> list[tuple[str, str]]:
        history = self.service.ask("GET", f"/v1/requests/{server}")["request"]["history"]
        return [(step["event"], step["why"]) for step in history]

    def end(self) -> None:
        for server in list(self.alice.compute.servers()):
            self.alice.compute.delete_server(server, ignore_missing=True)
            self.alice.compute.wait_for_delete(server, wait=PATIENCE_S)
        self.service.ask("DELETE", "/v1/projects/science")
        self.service.stop()
        self.edge.close()
        self.core.close()


@pytest.fixture
def steps(on_edge: Lab, connect: Connect, tmp_path: Path) -> Iterator[Steps]:
    alice = connect("alice", "science")
    connect().compute.revert_quota_set(alice.current_project_id)
    made = Steps(on_edge, connect, tmp_path)
    yield made
    made.end()


def built_once(steps: Steps, server: str) -> list[tuple[str, str]]:
    """Wait until it runs, and let whatever would be a second build come."""
    steps.is_in(server, "ACTIVE")
    time.sleep(2 * SETTLE_S)
    assert steps.in_nova(server) == "ACTIVE"
    held = steps.admin.placement.get(f"/allocations/{server}", microversion="1.28").json()
    assert len(held["allocations"]) == 1
    events = [event for event, _ in steps.story(server)]
    assert events.count("ADMITTED") == events.count("BOOTED") == 1
    return steps.story(server)


def test_killed_before_a_request_is_committed(steps: Steps) -> None:
    with steps.store_locked():
        server = steps.create()
        time.sleep(2)
        steps.service.kill()
    steps.service.start()
    steps.is_in(server, "QUEUED")
    steps.let_go()
    built_once(steps, server)


def test_killed_before_a_committed_request_is_acknowledged(steps: Steps) -> None:
    steps.edge.to_broker.clear()
    server = steps.create()
    steps.is_in(server, "QUEUED")
    steps.die()
    steps.is_in(server, "QUEUED")
    steps.let_go()
    built_once(steps, server)


def test_killed_before_the_message_left(steps: Steps) -> None:
    server = steps.create()
    steps.is_in(server, "QUEUED")
    steps.core.to_broker.clear()
    steps.let_go()
    steps.is_in(server, "DISPATCHING")
    time.sleep(1)
    assert steps.in_nova(server) == "BUILD"
    steps.die()
    assert ("HAND_OVER_FAILED", "it was not sent") in built_once(steps, server)


def test_killed_before_the_broker_confirmed(steps: Steps) -> None:
    steps.warm_up()
    server = steps.create()
    steps.is_in(server, "QUEUED")
    steps.core.from_broker.clear()
    steps.let_go()
    until(lambda: steps.in_nova(server) == "ACTIVE", PATIENCE_S)
    steps.die()
    assert "HAND_OVER_FAILED" not in [event for event, _ in built_once(steps, server)]


def test_killed_before_the_confirmed_hand_over_is_committed(steps: Steps) -> None:
    steps.warm_up()
    server = steps.create()
    steps.is_in(server, "QUEUED")
    steps.core.from_broker.clear()
    steps.let_go()
    steps.is_in(server, "DISPATCHING")
    with steps.store_locked():
        steps.core.open()
        until(lambda: steps.in_nova(server) == "ACTIVE", PATIENCE_S)
        steps.service.kill()
    steps.service.start()
    assert "HAND_OVER_FAILED" not in [event for event, _ in built_once(steps, server)]


def test_killed_while_nova_builds(steps: Steps) -> None:
    server = steps.create()
    steps.is_in(server, "QUEUED")
    steps.let_go()
    until(lambda: steps.service.states(server)[0] in ("BUILDING", "ACTIVE"), PATIENCE_S, 0.05)
    steps.die()
    built_once(steps, server)
