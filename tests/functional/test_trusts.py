"""Requests whose tokens make no trust: kept, or refused with the reason, as the operator wants."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from synergy.core.errors import InvalidInput
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.drivers.embedded.spec import CloudSpec
from synergy.sim.clock import VirtualClock
from tests.builders import Fragile, World, spec, world


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """Make a world whose Keystone makes no trust of the first `useless` tokens it is shown."""
    opened = []

    def making(useless: int, **settings: Any) -> World:
        clock, rng, shown = VirtualClock(), Random(7), []
        described: CloudSpec = spec()
        real = EmbeddedIdentity(described, clock, rng)
        identity: Any = Fragile(real)

        def refusing(create: Callable[..., Any], token: str, **more: Any) -> Any:
            if token not in shown:
                shown.append(token)
            if shown.index(token) < useless:
                raise InvalidInput("the user's token comes from an application credential")
            return create(token, **more)

        identity.answer("create_trust", refusing)
        nova = EmbeddedNova(described, clock, real, rng)
        one = world(clock=clock, cloud=(nova, identity), settings={"keystone": settings})
        opened.append(one)
        found = one.__enter__()
        found.add(default_quota="shared", suspended=True)
        found.run(1)
        return found

    yield making
    for one in opened:
        one.__exit__(None, None, None)


def test_by_default_it_waits_and_is_dispatched_with_its_own_token(make: Callable[..., Any]) -> None:
    made = make(useless=1)
    (server,) = made.create()
    made.run(5)
    assert made.states([server]) == ["QUEUED"]
    made.command("project", "set", project="A", suspended=False)
    made.run(20)
    assert made.states([server]) == ["ACTIVE"]


def test_where_the_operator_wants_it_it_is_refused_and_its_user_reads_why(
    make: Callable[..., Any],
) -> None:
    made = make(useless=1, without_trust="refuse")
    first = made.create(count=150)  # more than are looked at together
    made.run(5)
    assert set(made.states(first)) == {"REJECTED"}
    shown = made.nova.show_server(first[0])
    assert "its token would not last" in shown.fault
    assert "application credential" in shown.fault
    second = made.create()  # with another token
    made.run(5)
    assert made.states(second) == ["QUEUED"]
    assert len(made.engine.identity.trusts) == 1


def test_one_good_token_is_enough_for_all_requests_of_its_user(make: Callable[..., Any]) -> None:
    made = make(useless=1, without_trust="refuse")
    made.create(user="anna")  # the first token that is looked at
    good, other = made.create(user="alice"), made.create(user="alice")
    made.run(5)
    assert made.states(good + other) == ["QUEUED"] * 2
    (kept,) = made.command("keystone", "trusts")
    assert kept["user_id"] == "ua"


def test_the_first_useless_token_does_not_hide_a_good_one(make: Callable[..., Any]) -> None:
    made = make(useless=1, without_trust="refuse")
    ids = made.create() + made.create()  # the latest is tried first, and is of no use
    made.run(5)
    assert made.states(ids) == ["QUEUED"] * 2
    assert len(made.engine.identity.trusts) == 1
