"""Forecasts in the service: made beside rounds, stored, held against what came true."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from synergy.managers.forecast import ForecastManager
from synergy.sim.engine import Engine
from tests.builders import World, spec, world

SHARED = {"default_quota": "shared", "ttl_s": 600}


@contextmanager
def forecasting(**settings: object) -> Iterator[World]:
    more = {"forecast": {"rate_s": 30.0, "samples": 5, **settings}}
    with world(settings=more, more_managers=(ForecastManager,)) as made:
        made.add("A", **SHARED)
        made.add("B", **SHARED)
        made.run(1)
        yield made


def score(made: World, **arguments: Any) -> dict[str, Any]:
    found: dict[str, Any] = made.command("forecast", "score", **arguments)
    return found


def recorded(made: World) -> dict[str, Any]:
    with made.store.reading() as uow:
        return {one.request_id: one for one in (*uow.forecasts.open(), *uow.forecasts.last(1000))}


def test_what_waits_is_forecast_by_its_bound_while_nothing_is_known() -> None:
    """A large server has 8 of 12 VCPU for 600 s from its boot; nothing has ended yet."""
    with forecasting() as made:
        made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        made.run(40)
        one = recorded(made)[waits]
        assert one.wait_s is None
        assert one.said.p50_s == one.said.p90_s == one.said.bound_s
        assert 480 < one.said.bound_s < 600
        found = score(made)
        assert (found["resolved"], found["waiting"], found["scores"]) == (0, 1, [])
        assert found["text"].startswith("Too little is known for a score: 0 of 50")
        made.run(700)
        settled = recorded(made)[waits]
        assert settled.wait_s == pytest.approx(settled.said.bound_s, abs=30)
        found = score(made)
        assert (found["resolved"], found["waiting"]) == (1, 0)
        assert {row["method"] for row in found["scores"]} == {
            "forecast", "lifetimes_run_out", "past_waits",
        }  # fmt: skip


def test_early_ends_are_learned() -> None:
    """Whatever runs is deleted by its user after a minute: who waits starts long before the end."""
    with forecasting() as made:
        for _ in range(12):
            for server in made.create("small"):
                made.run(60)
                made.nova.delete_server_as_user(server)
                made.run(10)
        made.create("large")
        made.run(10)
        (waits,) = made.create("large")
        made.run(40)
        one = recorded(made)[waits]
        assert one.said.p50_s < 120
        assert one.said.bound_s > 500


def test_one_that_leaves_without_a_start_counts_for_nothing() -> None:
    with forecasting() as made:
        made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        made.run(40)
        made.command("queue", "cancel", request_id=waits)
        made.run(40)
        assert waits not in recorded(made)
        assert (score(made)["resolved"], score(made)["waiting"]) == (0, 0)


def test_a_project_is_shown_its_own_forecasts() -> None:
    with forecasting() as made:
        made.create("large")
        made.run(60)
        made.create("large", project="A")
        made.create("large", project="B", count=2)
        made.run(40)
        assert score(made)["waiting"] == 3
        assert score(made, project_id="project-A")["waiting"] == 1
        assert score(made, project_id="project-C")["waiting"] == 0


def test_after_a_restart_it_goes_on_with_what_is_stored() -> None:
    with forecasting() as made:
        made.create("large")
        made.run(60)
        first = made.create("large", count=3)
        made.run(2500)
        before = recorded(made)
        assert all(before[one].wait_s is not None for one in first)
        again = World(
            Engine(
                spec(), {"forecast": {"rate_s": 30.0, "samples": 5}}, store=made.store, seed=7,
                clock=made.engine.clock, cloud=(made.nova, made.engine.identity),
                more_managers=(ForecastManager,),
            )
        )  # fmt: skip
        again.run(40)
        manager = again.engine.managers["forecast"]
        assert isinstance(manager, ForecastManager)
        assert manager._correction.resolved == 3
        assert manager._lifetimes.learned >= 3
        assert recorded(again) == before


def test_no_more_are_run_forward_than_the_operator_allows() -> None:
    with forecasting(most_waiting=2) as made:
        made.create("large")
        made.run(60)
        made.create("large", count=5)
        made.run(100)
        assert score(made)["waiting"] == 2


def test_forecasts_that_came_true_long_ago_are_dropped() -> None:
    with forecasting(keep_days=1) as made:
        made.create("large")
        made.run(60)
        (early,) = made.create("large")
        made.run(700)
        assert recorded(made)[early].wait_s is not None
        made.run(90_000)
        made.create("large", count=3)
        made.run(1500)
        assert early not in recorded(made)
