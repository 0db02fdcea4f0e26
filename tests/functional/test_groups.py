"""Servers of a group go one after the other, since Nova knows a group by those that are placed."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.ports import ServerStatus, ServerView
from synergy.sim.clock import VirtualClock
from tests.builders import Fragile, World, spec, world


@pytest.fixture
def made() -> Iterator[World]:
    """A cloud whose Nova needs 5 s to put a server on a host, as seen from its API."""
    clock, rng = VirtualClock(), Random(7)
    identity = EmbeddedIdentity(spec(), clock, rng)
    nova: Any = Fragile(EmbeddedNova(spec(), clock, identity, rng))

    def late(real: Callable[..., Any], ids: dict[str, str] | list[str]) -> dict[str, ServerView]:
        return {
            key: replace(view, host=None) if view.status is ServerStatus.BUILDING else view
            for key, view in real(ids).items()
        }

    nova.answer("servers", late)
    with world(clock=clock, cloud=(nova, identity)) as found:
        found.add(default_quota="shared", ttl_s=3600)
        found.run(1)
        yield found


def create(made: World, group: str, count: int = 1, flavor: str = "small") -> list[str]:
    ids: list[str] = made.nova.create_server(
        project="A",
        user="alice",
        flavor=flavor,
        name="s",
        metadata={},
        count=count,
        server_group=group,
    )
    return ids  # fmt: skip


def test_one_of_a_group_is_on_its_way_at_a_time(made: World) -> None:
    ids = create(made, "g1", count=2) + create(made, "g1", flavor="medium")
    others = create(made, "g2") + made.create(count=2)
    maximum = 0
    for _ in range(30):
        made.run(1)
        maximum = max(maximum, made.states(ids).count("BUILDING"))
        if made.states(others) == ["BUILDING"] * 3 and "QUEUED" in made.states(ids):
            (waiting, *_) = [one for one in ids if made.states([one]) == ["QUEUED"]]
            assert made.reason(waiting) == "priority"
    assert maximum == 1
    assert made.states(ids + others) == ["ACTIVE"] * 6


def test_a_member_that_fails_lets_the_next_one_go(made: World) -> None:
    made.nova.faults.build_error = 1
    ids = create(made, "g1", count=2)
    made.run(30)
    assert sorted(made.states(ids)) == ["ACTIVE", "ERROR"]
