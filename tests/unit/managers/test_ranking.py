from typing import Any

import numpy as np
import pytest

from synergy.core.queue import Waiting, WaitingQueue
from synergy.managers.scheduler.ranking import MOST_POINTS, SitePoints
from tests.builders import kind, rid


class Fixed:
    def __init__(self, points: list[float | str] | np.ndarray[Any, Any] | None) -> None:
        self.given = points

    def points(
        self, waiting: Waiting, associations: dict[str, Any], at_s: float
    ) -> list[float | str] | np.ndarray[Any, Any] | None:
        return self.given


def waiting() -> Waiting:
    queue = WaitingQueue()
    for number in (1, 2):
        queue.add(number, kind(number), rid(number), float(number))
    return queue.snapshot()


def test_points_of_several_factors_are_summed_within_bounds() -> None:
    site = SitePoints({"one": Fixed([1, 2]), "other": Fixed(np.array([10.0, -1e300]))})
    assert site.points(waiting(), 0.0).tolist() == [11, 2 - MOST_POINTS]
    assert site.errors == {}


def test_without_factors_nothing_is_added() -> None:
    assert SitePoints({}).points(waiting(), 0.0) == 0.0


@pytest.mark.parametrize(
    "points", [[1], [1, 2, 3], [1, float("nan")], [1, float("inf")], ["a", "b"], None]
)
def test_points_that_make_no_sense_add_nothing(points: list[float | str] | None) -> None:
    site = SitePoints({"wrong": Fixed(points), "right": Fixed([1, 2])})
    assert site.points(waiting(), 0.0).tolist() == [1, 2]
    assert "wrong" in site.errors
    site._factors["wrong"].given = [5, 5]
    assert site.points(waiting(), 0.0).tolist() == [6, 7]
    assert site.errors == {}
