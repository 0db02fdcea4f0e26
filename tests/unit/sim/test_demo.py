import json
from pathlib import Path
from typing import Any

import pytest

from synergy.core.model import Resources
from synergy.sim import bursts, demo, fixed_quota, padova
from synergy.sim.demo import DemoResult
from synergy.sim.padova import Arrival
from tests.unit.sim.test_simulate import command

HOUR_S = 3600.0


def run(**changes: Any) -> DemoResult:
    values: dict[str, Any] = {
        "seed": 3,
        "algorithm": "fair_tree",
        "user_shares": "equal",
        "virtual_s": HOUR_S,
    }
    return demo.run(progress=lambda *_: None, **(values | changes))


def test_the_scenario_is_padovas() -> None:
    cloud = padova.cloud()
    capacity = {
        name: sum(h.capacity()[name] for h in cloud.hosts) for name in ("VCPU", "MEMORY_MB")
    }
    assert len(cloud.hosts) == 6
    assert capacity == {"VCPU": 144, "MEMORY_MB": 283 * 1024}
    assert padova.SHARED["VCPU"] == 29
    found = list(padova.arrivals(1))
    assert found == list(padova.arrivals(1))
    assert found != list(padova.arrivals(2))
    each = {name: sum(a.project == name for a in found) for name in "AB"}
    assert each["A"] == each["B"]
    for name in "AB":
        wanted = sum(a.vcpus * padova.held_s(a) for a in found if a.project == name)
        assert wanted > padova.SHARED["VCPU"] * padova.VIRTUAL_S  # each robot alone is too much


def test_the_same_seed_gives_the_same_result_and_another_another() -> None:
    first, second, other = (run(seed=seed, virtual_s=HOUR_S / 4) for seed in (3, 3, 4))
    left, right = (result.as_json("r") for result in (first, second))
    left.pop("wall_s")
    right.pop("wall_s")
    assert left == right
    assert other.servers_run != first.servers_run or other.projects != first.projects


# Classic fair-share mixes each user's usage with his account's, so its balance of unequal users is
# not exactly their shares: it is measured with equal ones.
@pytest.mark.parametrize(
    ("algorithm", "user_shares"), [("fair_tree", "different"), ("classic", "equal")]
)
def test_promised_shares_are_delivered_within_hours(algorithm: str, user_shares: str) -> None:
    result = run(algorithm=algorithm, user_shares=user_shares, virtual_s=3 * HOUR_S)
    for project in result.projects:
        assert project.delivered_share == pytest.approx(project.promised_share, abs=0.02)
    assert sum(user.delivered_share for user in result.users) == pytest.approx(1.0)
    assert 0.95 < result.utilisation_synergy <= 1.0
    assert 0.5 < result.utilisation_fixed_quota < result.utilisation_synergy


def test_fixed_quotas_reject_what_does_not_fit() -> None:
    def arrival(at_s: float, vcpus: int) -> Arrival:
        return Arrival(
            at_s=at_s, project="A", user="u", flavor="f", vcpus=vcpus, memory_mb=0, polls=1
        )

    quotas = {"A": Resources.of(VCPU=4)}
    held_s = padova.BOOT_S + padova.ROBOT_S
    found = fixed_quota.utilisation(
        [arrival(0, 3), arrival(1, 3), arrival(held_s, 4)], quotas, vcpus=4, span_s=2 * held_s
    )
    assert found == pytest.approx((3 + 4) / 8)


def test_a_split_loses_nothing_to_rounding() -> None:
    parts = fixed_quota.split(padova.SHARED, {"A": 0.7, "B": 0.3})
    assert parts["A"] + parts["B"] == padova.SHARED
    assert parts["B"]["VCPU"] == 8


def test_the_command_prints_one_object_and_writes_a_report(tmp_path: Path) -> None:
    done = command("demo", "--hours", "0.5", "-f", "json", "--output", tmp_path / "out")
    found = json.loads(done.stdout)
    assert list(found) == [
        "seed", "algorithm", "virtual_s", "wall_s", "servers_run", "projects", "users",
        "utilisation", "report", "bursts",
    ]  # fmt: skip
    assert list(found["projects"][0]) == [
        "name", "promised_share", "delivered_share", "servers_run", "wait_s",
    ]  # fmt: skip
    assert "100%" in done.stderr
    page = (tmp_path / "out" / "report-fair_tree-equal-1.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    assert "Promised and delivered" in page
    assert found["bursts"]["headline"] in page
    assert page.count("data:image/svg+xml;base64,") == 3


def test_fixed_quotas_fail_where_demand_alternates_and_comes_in_bursts() -> None:
    told = []
    found = bursts.run(seed=1, hours=72, progress=lambda part, text: told.append(part))
    synergy, fifo = (policy.measured for policy in found.policies)
    fixed = found.fixed.measured
    assert fixed.whole.refused > 0.25 * fixed.whole.requests
    assert synergy.whole.refused == fifo.whole.refused == 0
    assert fixed.utilisation < 0.5 * synergy.utilisation
    assert synergy.whole.waits.mean < 0.5 * fifo.whole.waits.mean
    assert synergy.share_error < 0.2 * fifo.share_error
    assert told == sorted(told)
    assert f"{100 * fixed.utilisation:.2f} %" in bursts.headline(found)


def test_the_table_names_every_project_and_user(tmp_path: Path) -> None:
    done = command("demo", "--hours", "0.2", "--output", tmp_path)
    for text in ("alice", "bruno", "70.00 %", "with fixed quotas alone", "Report with plots",
                 "fixed quotas reject"):  # fmt: skip
        assert text in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["fair_tree", "classic"])
def test_two_days_deliver_70_30_within_1_percent_to_more_than_20_000_servers(
    algorithm: str,
) -> None:
    result = run(algorithm=algorithm, virtual_s=padova.VIRTUAL_S)
    assert result.servers_run > 20_000
    for project in result.projects:
        assert project.delivered_share == pytest.approx(project.promised_share, abs=0.01)
