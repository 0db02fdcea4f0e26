"""A duty is done when it is due, whatever else fails, and nobody wakes for one that is not wanted."""

from datetime import timedelta
from typing import Any

import pytest
from oslo_config import cfg

from synergy.core.errors import UpstreamUnavailable
from synergy.managers.base import Manager, Status, every, register_options
from synergy.managers.supervision.supervisor import Supervisor
from synergy.service.options import manager_classes
from synergy.sim.clock import VirtualClock


class Gardener(Manager):
    """Notes what it does."""

    name = "gardener"
    options = (
        cfg.FloatOpt("water_s", default=10.0, mutable=True, help="Seconds."),
        cfg.FloatOpt("prune_s", default=100.0, help="Seconds."),
    )

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.broken: set[str] = set()
        self.weeds, self.again_s = 0, None

    def task(self) -> None:
        self.done.append("task")

    def _do(self, name: str) -> None:
        self.done.append(name)
        if name in self.broken:
            raise UpstreamUnavailable(f"no {name}")

    @every("water_s")
    def water(self) -> float | None:
        """Water the plants."""
        self._do("water")
        return self.again_s

    @every("prune_s", times=4, at_start=False)
    def prune(self) -> None:
        """Cut them back."""
        self._do("prune")

    @every(3.0, when=lambda self: self.weeds > 0)
    def weed(self) -> None:
        """Pull a weed."""
        self._do("weed")
        self.weeds -= 1


class Garden:
    def __init__(self, manager: Any = None) -> None:
        conf = cfg.ConfigOpts()
        register_options(conf, "gardener", Gardener)
        conf(args=[], default_config_files=[], default_config_dirs=[])
        self.conf, self.clock = conf, VirtualClock()
        self.manager = manager or Gardener()
        self.supervisor = Supervisor(self.manager, conf.gardener, self.clock)
        self.supervisor.setup(autostart=True)

    def run(self, after_s: float = 0.0) -> tuple[list[str], float]:
        """Run once after a time; return what was done, and in how many seconds to come back."""
        self.clock.move_to(self.clock.now() + timedelta(seconds=after_s))
        self.manager.done.clear()
        delay_s = self.supervisor.run()
        return self.manager.done[:], delay_s


@pytest.fixture
def garden() -> Garden:
    return Garden()


def test_a_duty_is_done_at_the_start_and_whenever_its_option_says(garden: Garden) -> None:
    assert garden.run() == (["task", "water"], 10.0)
    assert garden.run(4) == (["task"], 6.0)
    assert garden.run(6) == (["task", "water"], 10.0)


def test_one_that_is_not_done_at_the_start_comes_when_its_time_is_over(garden: Garden) -> None:
    found = [(garden.run(5)[0], at) for at in range(5, 55, 5)]
    assert [at for done, at in found if "prune" in done] == [25, 50]  # four times in 100 s


def test_an_option_that_changes_counts_from_the_last_time(garden: Garden) -> None:
    garden.run()
    garden.conf.set_override("water_s", 2.0, group="gardener")
    assert garden.run(2) == (["task", "water"], 2.0)


def test_an_option_of_zero_makes_no_busy_loop(garden: Garden) -> None:
    garden.conf.set_override("water_s", 0.0, group="gardener")
    assert garden.run()[1] == 1.0


def test_nobody_wakes_for_a_duty_that_is_not_wanted(garden: Garden) -> None:
    garden.run()
    garden.manager.weeds = 2
    assert garden.run(1) == (["task", "weed"], 3.0)
    assert garden.run(3) == (["task", "weed"], 6.0)  # none is left: the plants are next
    assert "weed" not in garden.run(6)[0]


def test_a_duty_may_ask_to_go_on_sooner(garden: Garden) -> None:
    garden.manager.again_s = 0.0
    assert garden.run() == (["task", "water"], 0.0)
    garden.manager.again_s = None
    assert garden.run() == (["task", "water"], 10.0)


def test_a_duty_that_is_asked_for_is_done_in_the_next_run(garden: Garden) -> None:
    garden.run()
    garden.manager.soon(garden.manager.prune)
    assert garden.run(1)[0] == ["task", "prune"]
    assert garden.run(1)[0] == ["task"]


def test_one_that_is_asked_for_while_another_is_done_has_its_turn_in_the_same_run(
    garden: Garden,
) -> None:
    class Busy(Gardener):
        @every("water_s")
        def water(self) -> None:
            """Water the plants, and see that they have grown."""
            self._do("water")
            self.soon(self.prune)

    assert Garden(Busy()).run()[0] == ["task", "water", "prune"]


def test_a_failed_duty_degrades_stays_due_and_stops_no_other(
    garden: Garden, caplog: pytest.LogCaptureFixture
) -> None:
    garden.manager.broken, garden.manager.weeds = {"water", "weed"}, 1
    done, delay_s = garden.run(25)
    assert done == ["task", "water", "prune", "weed"]
    assert delay_s == 1.0  # the back-off
    report = garden.supervisor.report
    assert (report.status, report.last_error) == (
        Status.DEGRADED, "UpstreamUnavailable: no water"
    )  # fmt: skip
    assert "its duty weed failed, too: UpstreamUnavailable: no weed" in caplog.text
    garden.manager.broken = set()
    assert garden.run(1)[0] == ["task", "water", "weed"]
    assert garden.supervisor.report.status is Status.RUNNING


def test_a_duty_is_declared_once_although_a_subclass_has_another_way() -> None:
    class Other(Gardener):
        @every("prune_s")
        def water(self) -> None:
            """Water seldom."""

    assert [(d.name, d.every, d.help) for d in Other.duties] == [
        ("water", "prune_s", "Water seldom."),
        ("prune", "prune_s", "Cut them back."),
        ("weed", 3.0, "Pull a weed."),
    ]


def test_an_option_that_does_not_exist_is_noticed_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Forgetful\.water is due every 'watr_s'"):

        class Forgetful(Gardener):
            @every("watr_s")
            def water(self) -> None:
                """Water."""


def test_every_duty_of_ours_says_what_it_does_and_keeps_no_instant_beside() -> None:
    found = {name: cls.duties for name, cls in manager_classes().items() if cls.duties}
    assert {"fairshare", "keystone", "nova"} <= found.keys()
    assert all(duty.help.endswith(".") for duties in found.values() for duty in duties)
