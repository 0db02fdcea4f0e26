"""Servers that nobody asked for, behind a queue that is run forward."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest

from synergy.core.forecasts.correction import Correction, Interval, Raw
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.outlook import MAX_NOW, Foreseen, foresee
from synergy.core.forecasts.starts import Now, Server, Wanted
from synergy.core.rounds.timeline import LiveState
from tests.builders import kind
from tests.unit.core.forecasts.test_starts import BY_AGE, TREE, known, server, waits


def seen(
    waiting: Sequence[Wanted],
    holding: Sequence[Server],
    lifetimes: Lifetimes,
    *,
    correction: Correction | None = None,
    vcpus: int = 1,
    drawn: list[int] | None = None,
) -> Foreseen:
    now = Now(
        tree=TREE, policy=replace(BY_AGE, round_size=len(waiting) + MAX_NOW),
        state=LiveState(at_s=10.0), waiting=waiting, holding=holding,
    )  # fmt: skip

    def go_on() -> bool:
        if drawn is not None:
            drawn.append(1)
        return drawn is None

    return foresee(
        now, kind(vcpus, ttl_s=100), "p", lifetimes, correction or Correction(),
        size=vcpus / 4, samples=50, go_on=go_on,
    )  # fmt: skip


def bounds(found: Foreseen) -> list[float]:
    return [one.bound_s for one in found.starts]


def test_an_empty_cloud_starts_as_many_as_it_has_room_for() -> None:
    """Four fit; five have started when these four are over, and ten when four more are."""
    found = seen([], [], Lifetimes())
    assert found.starts_now == 4
    assert bounds(found) == [0.0, 100.0, 200.0]
    assert [one.p50_s for one in found.starts] == [0.0, 100.0, 200.0]


def test_early_ends_are_counted_on_by_the_forecast_and_not_by_the_bound() -> None:
    found = seen([], [server(9, 4, began_s=0.0)], known(0.2))
    assert found.starts_now == 0
    first, fifth, tenth = found.starts
    assert (first.p50_s, first.p90_s, first.bound_s) == (10.0, 10.0, 90.0)
    assert (fifth.p50_s, fifth.bound_s) == (30.0, 190.0)
    assert (tenth.p50_s, tenth.bound_s) == (50.0, 290.0)


def test_they_come_behind_everything_that_waits() -> None:
    alone = seen([], [server(9, 4, began_s=0.0)], Lifetimes())
    behind = seen([waits(1, 4)], [server(9, 4, began_s=0.0)], Lifetimes())
    assert bounds(alone)[0] == 90.0
    assert bounds(behind)[0] == 190.0


def test_a_server_that_is_overdue_still_holds_what_it_has() -> None:
    found = seen([], [server(9, 4, began_s=-200.0)], Lifetimes())
    assert found.starts_now == 0
    assert bounds(found)[0] == 1.0


def test_what_no_end_makes_room_for_never_starts() -> None:
    found = seen([], [server(9, 4, began_s=0.0, ttl_s=0)], Lifetimes())
    assert found == Foreseen(
        starts_now=0, starts=(Interval(p50_s=inf, p90_s=inf, bound_s=inf),) * 3
    )


def test_it_is_corrected_by_what_came_true_and_more_servers_are_never_earlier() -> None:
    held = Correction()
    for _ in range(60):
        raw = Raw(p50_s=10.0, p90_s=10.0, bound_s=90.0, size=0.25)
        held.resolve(raw, Interval(p50_s=10.0, p90_s=10.0, bound_s=90.0), 55.0)
    found = seen([], [server(9, 4, began_s=0.0)], known(0.2), correction=held)
    assert found.starts[0].p50_s == pytest.approx(55.0)
    ends = [(one.p50_s, one.p90_s, one.bound_s) for one in found.starts]
    assert ends == sorted(ends)
    assert all(a <= b <= c for a, b, c in ends)


def test_a_sample_is_drawn_however_little_time_there_is() -> None:
    asked: list[int] = []
    found = seen([], [server(9, 4, began_s=0.0)], known(0.2), drawn=asked)
    assert len(asked) == 1
    assert found.starts[0].p50_s == 10.0
