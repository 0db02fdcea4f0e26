"""When an end is announced, and who ends first where only need ends servers."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.errors import ExtensionRefused, IllegalTransition, InvalidInput
from synergy.core.expiry import lead_due, needed_first
from synergy.core.extension import LONGEST_TTL_S, check_rule, extended, seconds_of
from synergy.core.model import ExtendPolicy, Project, Request, Resources, State
from tests.builders import NOON, kind, request

DAY_S, HOUR_S = 86_400, 3600


def ending(
    left_s: int, *, ttl_s: int = 30 * HOUR_S, **more: datetime | int | State | None
) -> Request:
    expires_at = NOON + timedelta(seconds=left_s)
    values: dict[str, Any] = {
        "state": State.ACTIVE, "ttl_s": ttl_s, "active_at": NOON, "expires_at": expires_at,
    }  # fmt: skip
    return request(**values | more)


@pytest.mark.parametrize(
    ("left_s", "warned_s", "expected"),
    [
        (DAY_S + 1, None, None),
        (DAY_S, None, DAY_S),
        (DAY_S - 1, DAY_S, None),
        (HOUR_S, DAY_S, HOUR_S),
        (HOUR_S, None, HOUR_S),
        (1, HOUR_S, None),
        (-5, None, HOUR_S),
    ],
)
def test_each_lead_is_due_once_and_of_several_only_the_shortest(
    left_s: int, warned_s: int | None, expected: int | None
) -> None:
    assert lead_due([DAY_S, HOUR_S], ending(left_s, warned_s=warned_s), NOON) == expected


def test_a_lead_as_long_as_the_lifetime_announces_nothing() -> None:
    assert lead_due([HOUR_S], ending(HOUR_S, ttl_s=HOUR_S), NOON) is None
    assert lead_due([HOUR_S], request(state=State.ACTIVE), NOON) is None


@given(st.lists(st.integers(1, DAY_S), max_size=5), st.lists(st.integers(0, 60), max_size=60))
def test_nothing_is_announced_twice(leads_s: list[int], steps: list[int]) -> None:
    one, now, told = ending(2 * HOUR_S, ttl_s=3 * HOUR_S), NOON, []
    for step in steps:
        now += timedelta(minutes=step)
        lead_s = lead_due(leads_s, one, now)
        if lead_s is not None:
            told.append(lead_s)
            one = replace(one, warned_s=lead_s)
    assert told == sorted(set(told), reverse=True)


def overdue(number: int, hours: float, *, vcpus: int = 2, association: int = 1) -> Request:
    at = NOON - timedelta(hours=hours)
    of_kind = kind(vcpus, association=association)
    return request(number, state=State.ACTIVE, expires_at=at, request_class=of_kind)


def first(
    servers: list[Request],
    waiting: list[tuple[int, int]],
    *,
    ending: Sequence[int] = (),
    factors: dict[int, float] | None = None,
) -> list[int]:
    found = needed_first(
        servers, [(Resources.of(VCPU=vcpus), count) for vcpus, count in waiting],
        [Resources.of(VCPU=vcpus) for vcpus in ending], now=NOON,
        fairshare_of=lambda association: (factors or {}).get(association, 0.5),
    )  # fmt: skip
    return [int(one.request_id[-2:], 16) for one in found]


def test_the_longest_overdue_ends_first_and_no_more_than_are_needed() -> None:
    servers = [overdue(1, 1), overdue(2, 5), overdue(3, 3)]
    assert first(servers, []) == []
    assert first(servers, [(1, 1)]) == [2]
    assert first(servers, [(1, 3)]) == [2, 3]
    assert first(servers, [(1, 3)], ending=[2]) == [2]
    assert first(servers, [(8, 9)]) == [2, 3, 1]


def test_of_servers_that_are_as_long_overdue_the_least_deserving_ends_first() -> None:
    servers = [overdue(1, 2.1, association=1), overdue(2, 2.9, association=2), overdue(3, 2.5)]
    assert first(servers, [(6, 1)], factors={1: 0.2, 2: 0.9}) == [3, 1, 2]
    assert first(servers, [(2, 1)], factors={1: 0.9, 2: 0.1}) == [2]


def test_a_server_without_what_is_wanted_goes_on() -> None:
    gpu = replace(overdue(1, 9), request_class=replace(kind(), demand=Resources.of(VGPU=1)))
    assert first([gpu, overdue(2, 1)], [(1, 1)]) == [2]


# --- extensions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "1e3", " 5", "٣", "9" * 30, "2147483648"])
def test_seconds_that_are_none_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(InvalidInput, match="must be a whole number from 1 to 2147483647"):
        seconds_of(text)


def test_seconds_are_read() -> None:
    assert seconds_of("86400") == DAY_S
    assert seconds_of(str(LONGEST_TTL_S)) == LONGEST_TTL_S


def project(**settings: Any) -> Project:
    values: dict[str, Any] = {"extend_policy": ExtendPolicy.ALWAYS, "max_extensions": None}
    return Project(project_id="p", name="p", domain_id="d", **values | settings)


@pytest.mark.parametrize(
    ("settings", "extensions", "idle", "reason"),
    [
        ({}, 100, False, ""),
        ({"extend_policy": ExtendPolicy.NEVER}, 0, True, "extension_not_allowed"),
        ({"extend_policy": ExtendPolicy.WHEN_IDLE}, 0, True, ""),
        ({"extend_policy": ExtendPolicy.WHEN_IDLE}, 0, False, "extension_not_idle"),
        ({"max_extensions": 2}, 1, True, ""),
        ({"max_extensions": 2}, 2, True, "extensions_used_up"),
        ({"max_extensions": 0}, 0, True, "extensions_used_up"),
        ({"max_ttl_s": 2 * HOUR_S}, 0, True, ""),
        ({"max_ttl_s": 2 * HOUR_S - 1}, 0, True, "extension_too_long"),
    ],
)
def test_the_rule_of_a_project(
    settings: dict[str, int | ExtendPolicy], extensions: int, idle: bool, reason: str
) -> None:
    one = ending(60, ttl_s=HOUR_S, extensions=extensions)
    if not reason:
        check_rule(project(**settings), one, HOUR_S, NOON, idle=idle)
        return
    with pytest.raises(ExtensionRefused, match=f"^{reason}: ") as raised:
        check_rule(project(**settings), one, HOUR_S, NOON, idle=idle)
    assert raised.value.reason == reason


def test_an_overdue_server_is_extended_from_now_on_and_that_counts() -> None:
    one = ending(-600, ttl_s=HOUR_S)
    move = extended(one, 60, NOON, by_user=True)
    assert move.request.expires_at == NOON + timedelta(seconds=60)
    assert move.request.ttl_s == HOUR_S + 660
    with pytest.raises(ExtensionRefused, match="extension_too_long"):
        check_rule(project(max_ttl_s=HOUR_S + 659), one, 60, NOON, idle=True)


def test_an_extension_counts_only_for_users_and_begins_anew_with_announcements() -> None:
    one = ending(60, warned_s=HOUR_S, not_before_at=NOON)
    by_user = extended(one, 60, NOON, by_user=True).request
    assert (by_user.extensions, by_user.warned_s, by_user.not_before_at) == (1, None, None)
    assert extended(one, 60, NOON, by_user=False).request.extensions == 0


def test_without_an_end_there_is_nothing_to_extend() -> None:
    with pytest.raises(IllegalTransition, match="no end to extend"):
        extended(request(state=State.ACTIVE), 60, NOON, by_user=True)
    with pytest.raises(IllegalTransition, match="no end to extend"):
        extended(ending(60, state=State.EXPIRING), 60, NOON, by_user=True)
