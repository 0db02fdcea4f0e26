"""A manager and its parts get what their constructors name, and whoever starts hears what lacks."""

import pytest

from synergy.core.errors import ConfigurationInvalid
from synergy.managers.base import Manager, Part, assemble


class Hands(Part):
    def __init__(self, servers: str, clock: str) -> None:
        self.given = servers, clock


class Eyes(Part):
    def __init__(self, hands: Hands, capacity: str = "none") -> None:
        self.hands, self.capacity = hands, capacity


class Body(Manager):
    name = "body"

    def __init__(self, clock: str, hands: Hands, eyes: Eyes) -> None:
        self.clock, self.hands, self.eyes = clock, hands, eyes


def made(name: str, needs: dict[str, object]) -> Body:
    found = assemble({name: Body}, lambda _: needs)[name]
    assert isinstance(found, Body)
    return found


def test_a_part_gets_its_own_needs_and_is_shared_by_the_parts_of_one_manager() -> None:
    found = made("body", {"clock": "C", "servers": "S", "capacity": "P"})
    assert found.hands.given == ("S", "C")
    assert found.eyes.hands is found.hands
    assert found.eyes.capacity == "P"


def test_each_manager_has_parts_of_its_own() -> None:
    needs = {"clock": "C", "servers": "S"}
    both = assemble({"one": Body, "two": Body}, lambda _: needs)
    parts = {id(one.hands) for one in both.values() if isinstance(one, Body)}
    assert len(parts) == 2
    assert made("body", {**needs, "hands": "not this"}).eyes.capacity == "none"


def test_all_that_lacks_is_named_once_also_of_parts() -> None:
    with pytest.raises(ConfigurationInvalid) as caught:
        made("body", {"capacity": "P"})
    text = str(caught.value)
    assert text.count("needs 'clock'") == text.count("needs 'servers'") == 1
    assert "'hands'" not in text
