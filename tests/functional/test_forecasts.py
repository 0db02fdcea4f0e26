"""Forecasts in the service: made beside rounds, stored, held against what happened."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from synergy.core.forecasts.record import Recorded
from synergy.core.model import State
from synergy.managers.base import Status
from synergy.managers.forecast import ForecastManager
from synergy.managers.forecast.drawers import ProcessDrawer
from synergy.sim.engine import Engine, Plugins
from tests.builders import World, rid, spec, world
from tests.patience import until
from tests.served import Api

SHARED = {"default_quota": "shared", "ttl_s": 600}


@contextmanager
def forecasting(**settings: object) -> Iterator[World]:
    more = {"forecast": {"rate_s": 30.0, "samples": 5, "refresh_s": 86_400.0, **settings}}
    with world(settings=more, plugins=Plugins(managers=(ForecastManager,))) as made:
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
        assert one.published.p50_s == one.published.p90_s == one.published.bound_s
        assert 480 < one.published.bound_s < 600
        found = score(made)
        assert (found["resolved"], found["waiting"], found["scores"]) == (0, 1, [])
        assert found["text"].startswith("Too little is known for a score: 0 of 50")
        made.run(700)
        settled = recorded(made)[waits]
        assert settled.wait_s == pytest.approx(settled.published.bound_s, abs=30)
        found = score(made)
        assert (found["resolved"], found["waiting"]) == (1, 0)
        assert {row["method"] for row in found["scores"]} == {
            "forecast", "lifetimes_run_out", "past_waits",
        }  # fmt: skip


def measured(made: World, name: str) -> dict[str, float]:
    """Return the values of a metric, by its labels."""
    text = Api(made).as_admin().raw_text("/metrics")
    families = {one.name: one for one in text_string_to_metric_families(text)}
    return {" ".join(one.labels.values()): one.value for one in families[name].samples}


def test_metrics_say_how_well_forecasts_hold_beside_their_baselines() -> None:
    with forecasting() as made:
        made.run(40)
        assert measured(made, "synergy_forecasts_resolved") == {"": 0}
        assert measured(made, "synergy_forecast_coverage_ratio") == {}
        made.create("large")
        made.run(60)
        made.create("large", count=3)
        made.run(2500)
        published = [one for one in score(made)["scores"] if one["group"] == "all"]
        assert len(published) == 3
        assert measured(made, "synergy_forecasts_resolved") == {"": 3}
        for metric, field in (
            ("synergy_forecast_coverage_ratio", "coverage_{}"),
            ("synergy_forecast_pinball_seconds", "pinball_{}_s"),
        ):
            assert measured(made, metric) == {
                f"{level} {one['method']}": pytest.approx(one[field.format(level)])
                for one in published
                for level in (50, 90)
            }


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
        assert one.published.p50_s < 120
        assert one.published.bound_s > 500


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


def all_of(made: World, request_id: str) -> list[Recorded]:
    """Return every forecast of a request, the first of them first."""
    with made.store.reading() as uow:
        found = (*uow.forecasts.open(), *uow.forecasts.last(1000))
    return sorted((one for one in found if one.request_id == request_id), key=lambda o: o.made_at)


def test_who_waits_on_is_forecast_again_and_each_forecast_is_held_against_the_start() -> None:
    """The server that runs is deleted early: what was said before was too late."""
    with forecasting(refresh_s=100) as made:
        (first,) = made.create("large")
        made.run(60)
        (waits,) = made.create("large", project="A")
        made.run(400)
        made.nova.delete_server_as_user(first)
        made.run(60)
        began = made.get(waits).held_from
        assert began is not None
        made.run(40)
        rows = all_of(made, waits)
        assert len(rows) >= 3
        for one, after in pairwise(rows):
            assert (after.made_at - one.made_at).total_seconds() >= 100
        for one in rows:
            assert one.wait_s == pytest.approx((began - one.made_at).total_seconds())
        assert score(made)["resolved"] == len(rows)
        assert score(made)["waiting"] == 0


def test_a_forecast_names_the_round_it_was_made_after() -> None:
    with forecasting(refresh_s=100) as made:
        made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        made.run(300)
        rounds = [str(one.round_id) for one in all_of(made, waits)]
        assert len(set(rounds)) == len(rounds) > 1
        assert rounds == sorted(rounds)
        latest = made.command("scheduler", "status")["round_id"]
        assert all(one <= latest for one in rounds)


def test_what_is_shown_is_what_was_said_last() -> None:
    """Of two that wait the first is cancelled: the other starts a lifetime sooner than was said."""
    with forecasting(refresh_s=100) as made:
        made.create("large")
        made.run(60)
        (first,) = made.create("large")
        made.run(40)
        resolved(made, 50)
        (waits,) = made.create("large")
        made.run(40)
        before = datetime.fromisoformat(shown(made, waits)[0]["forecast_p90_at"])
        made.command("queue", "cancel", request_id=first)
        made.run(200)
        last = all_of(made, waits)[-1]
        after = datetime.fromisoformat(shown(made, waits)[0]["forecast_p90_at"])
        assert (after - last.made_at).total_seconds() == pytest.approx(last.published.p90_s, abs=1)
        assert (before - after).total_seconds() == pytest.approx(600, abs=30)


def test_one_that_is_held_counts_for_nothing_and_is_forecast_anew_once_it_waits_again() -> None:
    with forecasting() as made:
        made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        made.run(40)
        (before,) = all_of(made, waits)
        made.command("queue", "hold", request_id=waits)
        made.run(40)
        assert all_of(made, waits) == []
        made.command("queue", "release", request_id=waits)
        made.run(40)
        (after,) = all_of(made, waits)
        assert after.made_at > before.made_at
        made.run(700)
        assert score(made)["resolved"] == 1


def test_one_whose_build_fails_is_forecast_again_while_it_waits() -> None:
    """Its first forecast came true when it got quota; there is room for another one."""
    with forecasting() as made:
        made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        made.run(40)
        with made.store.reading() as uow:
            (one,) = uow.forecasts.open()
        with made.store.writing() as uow:
            uow.forecasts.settle([(one.forecast_id or 0, made.engine.clock.now(), 30.0)])
            uow.commit()
        made.run(40)
        assert [row.wait_s for row in all_of(made, waits)] == [30.0, None]


@contextmanager
def apart() -> Iterator[tuple[World, ProcessDrawer]]:
    drawer = ProcessDrawer(grace_s=8.0)  # in which a process starts on a busy machine
    settings = {"forecast": {"rate_s": 5.0, "debounce_s": 0.0, "samples": 5, "budget_s": 1.0}}
    try:
        with world(
            settings=settings,
            plugins=Plugins(managers=(ForecastManager,), needs={"drawer": drawer}),
        ) as made:
            made.engine.tolerant = True
            made.add("A", default_quota="shared", ttl_s=36_000)
            made.run(1)
            yield made, drawer
    finally:
        drawer.close()


def going_on(made: World, condition: Callable[[], bool]) -> None:
    """Let the world go on until something is so: the process that draws has a time of its own."""

    def is_so() -> bool:
        made.run(0.1)
        return condition()

    until(is_so, patience_s=60.0)


def test_rounds_go_on_while_the_process_that_draws_hangs(caplog: pytest.LogCaptureFixture) -> None:
    """It is told once in the log, shown in metrics, and over once another process draws."""
    with apart() as (made, drawer):
        (first,) = made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        going_on(made, lambda: waits in recorded(made))
        manager = made.engine.supervisors["forecast"]
        assert manager.report.status is Status.RUNNING
        before = manager.report.failures
        os.kill(drawer.pid or 0, signal.SIGSTOP)
        (behind,) = made.create("large")
        (fits,) = made.create("medium")
        with caplog.at_level(logging.ERROR):
            going_on(made, lambda: manager.report.status is Status.DEGRADED)
            assert made.get(fits).state is State.ACTIVE
            assert "not drawn in 9 s" in manager.report.last_error
            assert measured(made, "synergy_manager_failures")["forecast"] == before + 1
            made.nova.delete_server_as_user(first)
            made.run(30)
            assert made.get(waits).state is State.ACTIVE
            going_on(made, lambda: behind in recorded(made))
        assert manager.report.status is Status.RUNNING
        (line,) = (one for one in caplog.records if one.name.startswith("synergy"))
        assert line.getMessage() == "manager forecast failed and will be tried again"


def test_another_process_draws_after_one_was_killed(caplog: pytest.LogCaptureFixture) -> None:
    with apart() as (made, drawer):
        made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        going_on(made, lambda: waits in recorded(made))
        os.kill(drawer.pid or 0, signal.SIGKILL)
        (behind,) = made.create("large")
        going_on(made, lambda: behind in recorded(made))
        assert [one for one in caplog.messages if "ended by signal 9" in one]


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
                spec(), {"forecast": {"rate_s": 30.0, "samples": 5, "refresh_s": 86_400.0}}, store=made.store, seed=7,
                clock=made.engine.clock, cloud=(made.nova, made.engine.identity),
                plugins=Plugins(managers=(ForecastManager,)),
            )
        )  # fmt: skip
        again.run(40)
        manager = again.engine.managers["forecast"]
        assert isinstance(manager, ForecastManager)
        assert manager._correction.resolved == 3
        assert manager._lifetimes.learned >= 3
        assert recorded(again) == before


def resolved(made: World, count: int) -> None:
    """Store forecasts of requests that started, as the manager does."""
    with made.store.reading() as uow:
        (like,) = uow.forecasts.open()
    ids = [rid(9000 + number) for number in range(count)]
    with made.store.writing() as uow:
        uow.forecasts.add([replace(like, request_id=one) for one in ids])
        made_now = [one for one in uow.forecasts.open() if one.request_id in ids]
        now = made.engine.clock.now()
        uow.forecasts.settle([(one.forecast_id or 0, now, 60.0) for one in made_now])
        uow.commit()


def shown(made: World, request_id: str) -> list[dict[str, Any]]:
    """Return a request as everything that shows one does."""
    api = Api(made).as_admin()
    listed = {one["id"]: one for one in api.get("/v1/requests")["requests"]}
    return [
        {name: found[name] for name in ("forecast_p50_at", "forecast_p90_at", "forecast_text")}
        for found in (
            listed[request_id],
            api.get(f"/v1/requests/{request_id}")["request"],
            api.get(f"/v1/requests/{request_id}/explain")["explanation"],
        )
    ]


def test_a_start_interval_is_shown_once_enough_were_resolved() -> None:
    with forecasting() as made:
        (runs,) = made.create("large")
        made.run(60)
        (waits,) = made.create("large")
        made.run(40)
        published = recorded(made)[waits]
        resolved(made, 49)
        nothing = {"forecast_p50_at": None, "forecast_p90_at": None}
        too_few = {**nothing, "forecast_text": "no forecast yet: 49 of 50 needed"}
        assert shown(made, waits) == [too_few] * 3
        with made.store.writing() as uow:
            uow.forecasts.add([replace(published, request_id=rid(9999))])
            (new,) = (one for one in uow.forecasts.open() if one.request_id == rid(9999))
            uow.forecasts.settle([(new.forecast_id or 0, made.engine.clock.now(), 60.0)])
            uow.commit()
        first, *others = shown(made, waits)
        assert others == [first] * 2
        for name, wait_s in (
            ("p50", published.published.p50_s),
            ("p90", published.published.p90_s),
        ):
            at = datetime.fromisoformat(first[f"forecast_{name}_at"])
            assert (at - published.made_at).total_seconds() == pytest.approx(wait_s, abs=1)
        assert first["forecast_p50_at"] in first["forecast_text"]
        assert shown(made, runs) == [{**nothing, "forecast_text": ""}] * 3
        made.command("queue", "hold", request_id=waits)
        assert (
            shown(made, waits) == [{**nothing, "forecast_text": "no forecast yet: it is held"}] * 3
        )
        freed = made.command("queue", "release", request_id=waits)
        assert freed["forecast_p90_at"] == first["forecast_p90_at"]
        (newest,) = made.create("large")
        made.run(1)
        assert {one["forecast_text"] for one in shown(made, newest)} == {
            "no forecast yet: the queue was not run forward since it came"
        }


def test_a_project_reads_the_start_intervals_of_its_own_requests() -> None:
    with forecasting() as made:
        made.create("large")
        made.run(60)
        (own,) = made.create("large", project="A")
        made.run(40)
        resolved(made, 50)
        made.create("large", project="B")
        made.run(40)
        api = Api(made).as_("reader", project="project-A", user="ua")
        found = [one for one in api.get("/v1/requests")["requests"] if one["forecast_p90_at"]]
        assert [one["id"] for one in found] == [own]


def test_no_more_are_run_forward_than_the_operator_allows() -> None:
    with forecasting(max_requests=2) as made:
        made.create("large")
        made.run(60)
        made.create("large", count=5)
        made.run(100)
        assert score(made)["waiting"] == 2


def test_forecasts_that_were_resolved_long_ago_are_dropped() -> None:
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
