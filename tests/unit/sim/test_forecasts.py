"""Forecasts on a log, at each submission."""

import csv
import json
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synergy.sim import forecasts, swf
from synergy.sim.swf import Job, Workload
from tests.unit.sim.test_simulate import EXCERPT, command, job


def forecast(jobs: Sequence[Job], **options: Any) -> forecasts.Forecasts:
    values: dict[str, Any] = {"vcpus": 8, "discipline": "easy", "order": "submit"}
    values |= {"samples": 3} | options
    return forecasts.run(Workload(tuple(jobs), {}), **values)


# 8 VCPU for 100 s, of which it uses 40; another waits for all of it, and a third behind that one.
ROWS = [job(1, 0, 40, 8, 100), job(2, 10, 30, 8, 50), job(3, 20, 5, 8, 60)]


def test_whatever_waits_is_forecast_at_its_submission_and_comes_true_when_it_starts() -> None:
    found = forecast(ROWS)
    assert found.started_at_once == 1
    assert [(one.job, one.made_s, one.start_s) for one in found.made] == [
        (2, 10.0, 40.0),
        (3, 20.0, 70.0),
    ]
    assert [one.bound_s for one in found.made] == [100.0, 150.0]
    assert [one.p50_s for one in found.made] == [100.0, 150.0], "nothing has ended: limits count"


def test_only_what_had_ended_by_then_is_known() -> None:
    """Twelve that used a tenth of their time teach what the thirteenth does; the first did not."""
    rows = [job(n, 200 * n, 10, 8, 100) for n in range(12)]
    rows += [job(20, 3000, 80, 8, 100), job(21, 3001, 10, 8, 100), job(22, 3015, 10, 8, 100)]
    made = forecast(rows).made
    assert [one.job for one in made] == [21, 22]
    assert made[0].p50_s == 3010.0
    assert made[1].p50_s > 3090.0, "it has lived longer than any: nothing but its limit is known"


def test_a_log_of_which_nothing_waits_has_no_forecast(tmp_path: Path) -> None:
    found = forecast([job(1, 0, 5, 1)])
    assert (found.made, found.scores) == ((), {})
    found.write(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().split() == ["job,made_s,p50_s,p90_s,bound_s,start_s"]


def test_what_is_refused_is_not_forecast() -> None:
    found = forecast([job(1, 0, 5, 9), *ROWS])
    assert [one.job for one in found.made] == [2, 3]


@pytest.mark.parametrize("order", ["submit", "multifactor"])
@pytest.mark.parametrize("discipline", ["fifo", "easy", "conservative"])
def test_every_policy_and_order_is_forecast(discipline: str, order: str) -> None:
    rows = [job(n, n, 20 + n % 7, 1 + n % 8, 60, group=f"g{n % 3}") for n in range(60)]
    found = forecast(rows, discipline=discipline, order=order)
    assert len(found.made) + found.started_at_once == 60
    for one in found.made:
        assert one.made_s <= one.p50_s <= one.p90_s <= one.bound_s < inf
        assert one.start_s is not None


def test_more_processes_find_the_same() -> None:
    log = swf.read(EXCERPT)
    options: dict[str, Any] = {"vcpus": 60, "discipline": "easy", "order": "submit", "samples": 2}
    one, two = (forecasts.run(log, **options, jobs=jobs) for jobs in (1, 2))
    assert len(one.made) > 30
    assert one.made == two.made
    assert one.scores == two.scores


def test_the_command_writes_what_anybody_can_score(tmp_path: Path) -> None:
    out = tmp_path / "forecasts.csv"
    found = command(
        "forecast", "replay", EXCERPT, "--vcpus", 60, "--order", "submit", "--samples", 3,
        "--jobs", 1, "-f", "json", "--out", out,
    )  # fmt: skip
    told = json.loads(found.stdout)
    with out.open() as file:
        rows = [{name: float(cell) for name, cell in row.items()} for row in csv.DictReader(file)]
    assert told["forecasts"] == told["resolved"] == len(rows)
    assert told["refused"] > 0
    assert told["requests"] == told["refused"] + told["started_at_once"] + len(rows)
    mine = told["scores"]["all"]["forecast"]
    start_s, p90_s = (np.array([row[name] for row in rows]) for name in ("start_s", "p90_s"))
    assert mine["coverage_90"] == pytest.approx((start_s <= p90_s + 1e-6).mean())
    late_s = start_s - p90_s
    pinball_s = np.where(late_s >= 0, 0.9 * late_s, -0.1 * late_s).mean()
    assert mine["pinball_90_s"] == pytest.approx(pinball_s, rel=1e-3)
    assert "forecasts drawn" in found.stderr


def test_an_output_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    out = tmp_path / "none" / "x.csv"
    found = command("forecast", "replay", EXCERPT, "--vcpus", 60, "--out", out, ok=False)
    assert "--out" in found.stderr
    assert "No such file" in found.stderr
    assert "ended" not in found.stderr
