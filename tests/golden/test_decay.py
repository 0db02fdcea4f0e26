"""Usage over recorded passes: decay, charges of running jobs, and resets."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synergy.calc import document, fairshare, slurm_text
from synergy.core import usage
from synergy.core.shares import Floats
from synergy.core.usage import DECAYING, HalfLife, History, ResetPeriod, Spans
from tests.golden.recordings import name_of, read, recordings

FALLOW = [p for p in recordings("decay") if "__hl" in p.name]
RUNNING = recordings("decay", "*running*")
QOS = {"normal": 1.0, "mid": 2.5, "low": 0.3}
NOBODY = Spans(association=np.zeros(0, int), begin_ago_s=np.zeros(0), end_ago_s=np.zeros(0),
               rate=np.zeros(0))  # fmt: skip


def at(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


def fading_of(recorded: dict[str, Any]) -> HalfLife:
    half_life = slurm_text.seconds(recorded["config"]["PriorityDecayHalfLife"], "half life")
    return HalfLife(half_life_s=half_life, slice_s=86_400.0)


def history_of(recorded: dict[str, Any]) -> History:
    """Usage of users and left on accounts, by association id."""
    own = np.zeros(1 + max(entry["id"] for entry in recorded["tree"]))
    for entry in recorded["tree"]:
        kept = entry["raw_usage"] if entry["user"] else entry.get("own_usage", 0)
        own[entry["id"]] = float(kept)
    return History(buckets={DECAYING: own})


def tree_with(recorded: dict[str, Any], amounts: Floats) -> list[dict[str, Any]]:
    """The recorded tree with other usage, for the calculator."""
    return [
        {**entry, "raw_usage": str(amounts[entry["id"]]) if entry["user"] else None,
         "own_usage": None if entry["user"] else str(amounts[entry["id"]])}
        for entry in recorded["tree"]
    ]  # fmt: skip


def same_raw_usage(found: float, recorded_integer: int) -> bool:
    """Recorded integers are cut off, and were computed with 64 bits of mantissa, ours with 53."""
    return -1 - 4e-16 * found <= found - recorded_integer - 0.5 <= 1 + 4e-16 * found


@pytest.mark.parametrize("path", FALLOW, ids=name_of)
def test_usage_fades_pass_by_pass_as_in_slurm(path: Path) -> None:
    recorded = read(path)
    history, fading = history_of(recorded), fading_of(recorded)
    last, first = recorded["last_pass_before_start"], recorded["samples"][0]["pass_time"]
    method = document.method_of(
        {k: v for k, v in recorded["config"].items() if k.startswith("Priority")}, ties="slurm"
    )
    for sample in recorded["samples"]:
        now = sample["pass_time"]
        elapsed_s = 0.0 if last is None else float(now - last)
        history = usage.charge(history, NOBODY, fading, now=at(now), elapsed_s=elapsed_s).history
        last = now
        amounts = usage.usage_of(history, fading, at(now))
        data = {"tree": tree_with(recorded, amounts)}
        rows: dict[object, dict[str, Any]] = {
            r["id"]: r for r in fairshare.compute(document.accounts_of(data), method).rows()
        }
        for expected in sample["usage"]:
            row = rows[expected["id"]]
            assert same_raw_usage(row["raw_usage"], expected["raw_usage"]), (now, expected["id"])
            for theirs, ours in (("norm_usage", "norm_usage"), ("fairshare", "fairshare"),
                                 ("effectv_usage", "effective_usage")):  # fmt: skip
                if expected[theirs] is not None and row[ours] is not None:  # root has no factor
                    assert math.isclose(row[ours], expected[theirs], rel_tol=1e-12), theirs
    seen = sum(sample["pass_time"] != first for sample in recorded["samples"])
    seen += recorded["last_pass_before_start"] is not None
    for late in recorded["decay_log"][seen:]:  # passes after the last sample
        now += late["seconds"]
        done = usage.charge(history, NOBODY, fading, now=at(now), elapsed_s=late["seconds"])
        history = done.history
    amounts = usage.usage_of(history, fading, at(now))
    for identity, text in recorded["leaf_usage_saved_at_shutdown"].items():
        assert math.isclose(amounts[int(identity)], float(text), rel_tol=1e-14, abs_tol=1e-6)


def billed(job: dict[str, Any], config: dict[str, Any]) -> float:
    tres = slurm_text.tres(job["tres"], "tres")
    if job["partition"] == "main":
        return tres["cpu"]
    costs = [tres["cpu"] * 1.0, tres["mem"] * 0.25 / 1024]
    return max(costs) if "MAX_TRES" in config.get("PriorityFlags", "") else sum(costs)


def held(recorded: dict[str, Any], since: int, now: int, *, ended: bool) -> Spans:
    """Spans of the jobs that run at `now`, or that end then."""
    leaf = {entry["account"]: entry["id"] for entry in recorded["tree"] if entry["user"]}
    rows = [
        (leaf[job["account"]], now - max(job["start_time"], since), 0.0,
         billed(job, recorded["config"]) * QOS[job["qos"]])
        for job in recorded["jobs"].values()
        if job["start_time"] < now and (job["end_time"] == now if ended else job["end_time"] > now)
    ]  # fmt: skip
    table = np.array(rows, dtype=float).reshape(-1, 4)
    return Spans(association=table[:, 0].astype(int), begin_ago_s=table[:, 1],
                 end_ago_s=table[:, 2], rate=table[:, 3])  # fmt: skip


@pytest.mark.parametrize("path", RUNNING, ids=name_of)
def test_running_jobs_are_charged_as_in_slurm(path: Path) -> None:
    recorded = read(path)
    history, fading = history_of(recorded), fading_of(recorded)
    # Slurm charges the rest of a job at its end, and only where limits are enforced.
    enforced = "limits" in recorded["config"]["AccountingStorageEnforce"]
    ends = {job["end_time"] for job in recorded["jobs"].values()} if enforced else set()
    samples = {sample["pass_time"]: sample["usage"] for sample in recorded["samples"]}
    last = recorded["last_pass_before_start"]
    for now in sorted(ends | samples.keys()):
        is_pass = now in samples
        if now in ends:
            spans = held(recorded, last, now, ended=True)
            done = usage.charge(history, spans, fading, now=at(now), elapsed_s=0.0)
            history = done.history
        if is_pass:
            spans = held(recorded, last, now, ended=False)
            done = usage.charge(history, spans, fading, now=at(now), elapsed_s=now - last)
            history, last = done.history, now
            amounts = usage.usage_of(history, fading, at(now))
            for expected in samples[now]:
                if any(e["id"] == expected["id"] and e["user"] for e in recorded["tree"]):
                    assert same_raw_usage(amounts[expected["id"]], expected["raw_usage"]), now
    for identity, text in recorded["leaf_usage_saved_at_shutdown"].items():
        assert abs(amounts[int(identity)] - float(text)) < 2e-6


def test_usage_is_cleared_when_slurm_clears_it() -> None:
    (path,) = recordings("decay", "*usage_reset")
    cases = [case for case in read(path)["cases"] if case["period"] != "NOW"]
    assert len(cases) > 50
    for case in cases:
        period = ResetPeriod(case["period"].lower())
        last, now = at(case["last_reset_before"]), at(case["pass_time"])
        due = usage.latest_reset(period, last, now)
        assert (due is not None) == case["usage_was_reset"], case
        # Slurm makes up longer periods one with each pass; all at once here.
        if period not in (ResetPeriod.DAILY, ResetPeriod.WEEKLY) and due is not None:
            due = usage.next_reset(period, last)
        assert (due or last) == at(case["last_reset_after"]), case
