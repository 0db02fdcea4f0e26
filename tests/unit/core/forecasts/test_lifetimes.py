"""How long servers live, learned and drawn."""

from math import inf

import numpy as np
import pytest

from synergy.core.forecasts.lifetimes import Lifetimes, draws
from tests.builders import kind

EVENLY = (np.arange(100) + 0.5) / 100


def learned(*helds_s: float, association: int = 1, ttl_s: int = 1000) -> Lifetimes:
    found = Lifetimes()
    for held_s in helds_s:
        found.learn(kind(1, association=association, ttl_s=ttl_s), "p", held_s)
    return found


def test_of_what_nothing_is_known_uses_its_limit() -> None:
    one = Lifetimes()
    assert one.drawn_s(kind(1, ttl_s=50), "p", EVENLY).tolist() == [50.0] * 100
    assert one.drawn_s(kind(1), "p", EVENLY).tolist() == [inf] * 100


def test_lifetimes_are_drawn_as_they_were_seen() -> None:
    drawn = learned(*range(10, 110, 10)).drawn_s(kind(1, ttl_s=1000), "p", EVENLY)
    assert sorted(set(drawn.round(6).tolist())) == [float(one) for one in range(10, 110, 10)]
    assert np.median(drawn) == pytest.approx(55, abs=5)


def test_what_lived_for_a_while_is_drawn_from_those_that_lived_longer() -> None:
    one = learned(*range(10, 110, 10))
    assert one.drawn_s(kind(1, ttl_s=1000), "p", EVENLY, age_s=75.0).min() == pytest.approx(80)
    assert set(one.drawn_s(kind(1, ttl_s=1000), "p", EVENLY, age_s=200.0)) == {1000.0}


def test_a_user_who_is_known_too_little_is_like_his_project() -> None:
    one = learned(*[100.0] * 20, association=1)
    assert set(one.drawn_s(kind(1, association=2, ttl_s=1000), "p", EVENLY)) == {100.0}
    for _ in range(10):
        one.learn(kind(1, association=2, ttl_s=1000), "p", 700.0)
    assert set(one.drawn_s(kind(1, association=2, ttl_s=1000), "p", EVENLY)) == {700.0}


def test_a_limited_lifetime_scales_with_its_limit_and_ends_there() -> None:
    one = learned(*[500.0] * 20)
    assert set(one.drawn_s(kind(8, ttl_s=600), "p", EVENLY)) == {300.0}
    over = learned(*[2000.0] * 20)  # put off by an operator
    assert set(over.drawn_s(kind(1, ttl_s=1000), "p", EVENLY)) == {1000.0}


def test_endless_and_limited_servers_teach_nothing_about_each_other() -> None:
    one = learned(*[500.0] * 20)
    assert set(one.drawn_s(kind(1), "p", EVENLY)) == {inf}


def test_what_was_long_ago_is_forgotten() -> None:
    one = learned(*[100.0] * 300, *[900.0] * 200)
    assert set(one.drawn_s(kind(1, ttl_s=1000), "p", EVENLY)) == {900.0}


def test_draws_are_the_same_for_a_request_and_differ_between_requests() -> None:
    many = np.array([draws(key, 31, 1) for key in range(2000)])
    assert (many == np.array([draws(key, 31, 1) for key in range(2000)])).all()
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=0.01)
    assert len(np.unique(many)) == many.size
    assert abs(np.corrcoef(many[:-1, 0], many[1:, 0])[0, 1]) < 0.1
    assert not (draws(7, 31, 1) == draws(7, 31, 2)).any()


def test_more_samples_begin_with_the_same_ones() -> None:
    assert (draws(2**127 + 5, 31, 3)[:7] == draws(2**127 + 5, 7, 3)).all()
