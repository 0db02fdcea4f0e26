from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from synergy.core.model import Association
from synergy.core.queue import Waiting, WaitingQueue
from synergy.managers.scheduler.ranking import MAX_POINTS, SitePoints
from tests.builders import kind, rid


class Fixed:
    """A site's factor, which may return what it must not."""

    def __init__(self, points: Any) -> None:
        self.given = points

    def points(self, waiting: Waiting, associations: Mapping[int, Association], at_s: float) -> Any:
        return self.given


def waiting() -> Waiting:
    queue = WaitingQueue()
    for number in (1, 2):
        queue.add(number, kind(number), rid(number), float(number))
    return queue.snapshot()


def added(site: SitePoints) -> list[float]:
    points = site.points(waiting(), 0.0)
    assert isinstance(points, np.ndarray)
    found: list[float] = points.tolist()
    return found


def test_points_of_several_factors_are_summed_within_bounds() -> None:
    site = SitePoints({"one": Fixed([1, 2]), "other": Fixed(np.array([10.0, -1e300]))})
    assert added(site) == [11, 2 - MAX_POINTS]
    assert site.errors == {}


def test_without_factors_nothing_is_added() -> None:
    assert SitePoints({}).points(waiting(), 0.0) == 0.0


@pytest.mark.parametrize(
    "points", [[1], [1, 2, 3], [1, float("nan")], [1, float("inf")], ["a", "b"], None]
)
def test_points_that_make_no_sense_add_nothing(points: list[float | str] | None) -> None:
    wrong = Fixed(points)
    site = SitePoints({"wrong": wrong, "right": Fixed([1, 2])})
    assert added(site) == [1, 2]
    assert "wrong" in site.errors
    wrong.given = [5, 5]
    assert added(site) == [6, 7]
    assert site.errors == {}
