from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from synergy.core import priority
from synergy.core.model import DEFAULT_PARTITION, RequestClass
from synergy.core.priority import Scales, Terms, Weights
from tests.builders import kind, plan_of

PLAIN = Weights(age=0, fairshare=0)


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        (Terms(fairshare=10.9, age=0.05), 10),
        (Terms(fairshare=10.9, age=0.05, site=5.0, nice=3.0), 12),
        (Terms(nice=50.0), 1),
        (Terms(site=1e12), 2**32 - 1),
        (Terms(qos=3.0, tres={"cpu": 1.5, "mem": 0.5}), 5),
    ],
    ids=["cut off, not rounded", "site and nice", "never below 1", "never above 32 bits", "tres"],
)
def test_a_priority_is_slurms_integer_in_columns_and_alone(terms: Terms, expected: int) -> None:
    assert priority.total(terms) == expected
    column = Terms(**{name: np.array([getattr(terms, name)] * 2) for name in
                      ("age", "fairshare", "site", "nice", "qos")},
                   tres={name: np.array([one] * 2) for name, one in terms.tres.items()})  # fmt: skip
    assert list(np.asarray(priority.total(column))) == [expected, expected]
    assert priority.total(column.at(1, float(terms.age))) == expected


def test_the_age_factor_counts_whole_seconds_up_to_its_maximum() -> None:
    ages_s = [-5.0, 0.0, 2.5, 5.9, 10.0, 99.0]
    assert priority.age_factor(np.array(ages_s), 10).tolist() == [0, 0, 0.2, 0.5, 1, 1]
    assert [priority.age_factor(age_s, 10) for age_s in ages_s] == [0, 0, 0.2, 0.5, 1, 1]
    assert priority.age_factor(3.0, 0) == 1
    assert priority.age_factor(np.array([3.0]), 0).tolist() == [1]


@pytest.mark.parametrize(
    ("asked", "whole", "favor_small", "expected"),
    [
        ([[1, 64]], [10, 640], False, [0.1]),
        ([[1, 64]], [10, 640], True, [0.9]),
        ([[5, 0]], [10, 640], False, [0.25]),
        ([[5, 7]], [10, 0], False, [0.5]),
        ([[20, 640]], [10, 640], False, [1.0]),
        ([[1]], [0], False, [0.0]),
    ],
)
def test_the_size_factor_is_the_mean_part_of_what_there_is(
    asked: Sequence[Sequence[int]],
    whole: Sequence[int],
    favor_small: bool,
    expected: Sequence[float],
) -> None:
    found = priority.size_factor(np.array(asked), np.array(whole), favor_small=favor_small)
    assert found.tolist() == pytest.approx(expected)


def test_the_size_factor_by_time_divides_by_the_lifetime_in_minutes() -> None:
    # Slurm's SMALL_RELATIVE_TO_TIME: 64 of 640 CPUs for 10 minutes are a hundredth.
    found = priority.size_by_time_factor(np.array([64.0, 64.0]), 640.0, np.array([600, 5]))
    assert found.tolist() == pytest.approx([0.01, 0.1])
    assert priority.size_by_time_factor(64.0, 640.0, 600, favor_small=True) == pytest.approx(0.99)


def test_points_are_divided_by_the_highest_or_stay_raw() -> None:
    assert priority.points_factor([0, 5, 10], 10.0).tolist() == [0, 0.5, 1]
    assert priority.points_factor([0, 5], 0.0).tolist() == [0, 0]
    assert priority.points_factor([0, 5], None).tolist() == [0, 5]
    assert priority.named_points(("a", "b"), {"a": 2, "c": 8}, raw=False).tolist() == [0.25, 0]


@pytest.mark.parametrize(
    ("better", "worse", "options"),
    [
        (kind(qos="urgent"), kind(), {
            "weights": Weights(age=0, fairshare=0, qos=10),
            "scales": Scales(qos_points={"normal": 1, "urgent": 9})}),
        (kind(constraints=(("availability_zone", "az1"),)), kind(), {
            "weights": Weights(age=0, fairshare=0, partition=10),
            "scales": Scales(partition_points={DEFAULT_PARTITION: 1, "az1": 3})}),
        (kind(constraints=(("availability_zone", "az1"), ("partition", "gpu"))),
         kind(constraints=(("availability_zone", "az1"),)), {
            "weights": Weights(age=0, fairshare=0, partition=10),
            "scales": Scales(partition_points={"az1": 1, "gpu": 3})}),
        (kind(association=2), kind(association=1), {
            "weights": Weights(age=0, fairshare=0, association=10), "points": {1: 1, 2: 7}}),
        (kind(4), kind(2), {"weights": Weights(age=0, fairshare=0, tres={"VCPU": 100.0})}),
        (kind(2), kind(4), {"weights": Weights(age=0, fairshare=0, size=100),
                            "scales": Scales(favor_small=True)}),
        (kind(ttl_s=60), kind(ttl_s=6000), {"weights": Weights(age=0, fairshare=0, size=10_000),
                                            "scales": Scales(size_by_time=True)}),
        (kind(nice=1), kind(nice=9), {"weights": Weights(age=0, fairshare=99), "fairshare": {1: 1}}),
    ],
    ids=["qos", "zone", "partition over zone", "association", "tres", "small", "short", "nice"],
)  # fmt: skip
def test_a_factor_with_weight_decides_who_goes_first(
    better: RequestClass, worse: RequestClass, options: Mapping[str, Any]
) -> None:
    plan, _ = plan_of([(1, worse, 9), (2, better, 9)], vcpus=8, **options)
    assert [decision.class_row for decision in plan.decisions] == [1, 0]
    assert plan.priority[1] > plan.priority[0]


def test_a_factor_without_weight_leaves_the_order_to_age() -> None:
    plan, _ = plan_of(
        [(1, kind(qos="urgent"), 1), (2, kind(), 9)], vcpus=8, weights=PLAIN,
        scales=Scales(qos_points={"urgent": 9}),
    )  # fmt: skip
    assert plan.priority.tolist() == [1, 1]
    assert plan.decisions[0].class_row == 1


def test_points_of_the_site_are_added_class_by_class() -> None:
    plan, _ = plan_of([(1, kind(), 9), (2, kind(nice=1), 9)], vcpus=8, weights=PLAIN, site=[5, 90])
    assert plan.priority.tolist() == [5, 89]


def test_factors_that_stay_raw_are_not_divided() -> None:
    plan, _ = plan_of(
        [(1, kind(2, qos="urgent", association=3), 0)], vcpus=8, points={3: 40},
        weights=Weights(age=0, fairshare=0, association=2, qos=3, tres={"VCPU": 5.0}),
        scales=Scales(qos_points={"urgent": 7}, raw=frozenset({"association", "qos", "tres"})),
    )  # fmt: skip
    assert plan.priority.tolist() == [2 * 40 + 3 * 7 + 5 * 2]
    shown = plan.terms.at(0, 0.0).as_dict()
    assert (shown["association"], shown["qos"], shown["tres"]) == (80, 21, {"VCPU": 10})
    assert shown["priority"] == 111
