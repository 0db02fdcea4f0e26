"""What a manager hears follows from what its methods declare."""

from synergy.core.events import (
    Fact,
    ProjectsChanged,
    QuotaReleased,
    ServersActive,
    ServersExpireSoon,
)
from synergy.managers.base import Manager, on


class Listening(Manager):
    name = "listening"
    woken_by = (QuotaReleased,)

    def __init__(self) -> None:
        self.heard: list[object] = []

    @on(ServersActive)
    def note(self, fact: ServersActive) -> None:
        self.heard.append(("note", fact))

    @on(ProjectsChanged)
    def look(self, fact: ProjectsChanged) -> None:
        self.heard.append(("look", fact))


class Further(Listening):
    name = "further"

    @on(ServersExpireSoon)
    def warn(self, fact: Fact) -> None:
        self.heard.append(("warn", fact))

    def note(self, fact: Fact) -> None:  # no longer declared: what it replaces is not called either
        self.heard.append(("replaced", fact))


class ByHand(Manager):
    name = "by_hand"
    listens = (ServersActive,)

    def on_event(self, fact: Fact) -> None:
        self.heard = fact


def test_a_fact_reaches_the_method_that_is_declared_for_it() -> None:
    manager = Listening()
    assert set(manager.listens) == {QuotaReleased, ServersActive, ProjectsChanged}
    active, changed = ServersActive(()), ProjectsChanged(frozenset())
    for fact in (active, changed, QuotaReleased(())):
        manager.on_event(fact)
    assert manager.heard == [("note", active), ("look", changed)]


def test_a_subclass_hears_what_it_inherits_and_declares() -> None:
    assert set(Further.listens) == {QuotaReleased, ProjectsChanged, ServersExpireSoon}
    assert set(Listening.listens) == {QuotaReleased, ServersActive, ProjectsChanged}


def test_a_manager_may_take_facts_in_by_hand() -> None:
    manager = ByHand()
    assert manager.listens == (ServersActive,)
    manager.on_event(fact := ServersActive(()))
    assert manager.heard is fact
