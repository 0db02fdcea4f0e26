"""Users are told of the end of a server, may put it off by rule, and are not cut off silently."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from synergy.core.errors import (
    Conflict,
    ExtensionRefused,
    IllegalTransition,
    NotFound,
    UpstreamUnavailable,
)
from synergy.core.model import ServerStatus, State
from synergy.core.reasons import Reason
from synergy.sim.engine import Machine, temporary_store
from tests.builders import World, world
from tests.functional.test_isolation import damage
from tests.started import QUIET, Started

HOUR = 3600
SHOWN = "synergy:expires_at"
WISH, REFUSED, KEEP = "synergy:extend_s", "synergy:extend_refused", "synergy:keep"


SELDOM: dict[str, Any] = QUIET | {
    "expiry": {"rate_s": 600.0, "metadata_check_s": 600.0}
}  # so that days pass quickly


@pytest.fixture
def made() -> Iterator[Started]:
    with temporary_store() as store:
        yield Started(store, SELDOM)


def events(one: World | Started, server: str) -> list[tuple[str, str | None]]:
    history = one.command("queue", "show", request_id=server)["history"]
    return [(step["event"], step["reason"]) for step in history]


def warned(one: World | Started, server: str) -> int:
    return events(one, server).count(("EXPIRY_WARNED", "expires_soon"))


def metadata(one: Started, server: str) -> dict[str, str]:
    return dict(one.nova.show_server(server).metadata)


def end_of(one: Started, server: str) -> str:
    expires_at = one.get(server).expires_at
    assert expires_at is not None
    return expires_at.isoformat(timespec="seconds")


# --- announcements --------------------------------------------------------------------------------


def test_an_end_is_announced_once_at_each_lead_also_over_a_restart(made: Started) -> None:
    (server,) = made.running(1, ttl_s=30 * HOUR)
    made.run(5 * HOUR)
    assert warned(made, server) == 0
    made.run(2 * HOUR)  # 24 h before
    assert warned(made, server) == 1
    made.restart()
    made.run(10 * HOUR)
    assert warned(made, server) == 1
    made.run(12.5 * HOUR)  # 1 h before
    assert warned(made, server) == 2


def test_a_lifetime_no_longer_than_a_lead_is_not_announced_at_its_start(made: Started) -> None:
    (server,) = made.running(1, ttl_s=2 * HOUR)
    made.run(600)
    assert warned(made, server) == 0
    made.run(HOUR)
    assert warned(made, server) == 1


def test_after_a_long_absence_only_the_shortest_lead_that_passed_is_announced(
    made: Started,
) -> None:
    (server,) = made.running(1, ttl_s=30 * HOUR)
    made.engine.clock.move_to(made.engine.clock.now() + timedelta(hours=29.5))
    made.restart(Machine(boot_id="another"))
    made.engine.supervisors["expiry"].execute("resume", {})
    made.run(60)
    assert warned(made, server) == 1
    assert made.get(server).warned_s == HOUR


def test_an_extended_server_is_announced_again(made: Started) -> None:
    (server,) = made.running(1, ttl_s=2 * HOUR)
    made.run(1.5 * HOUR)
    assert warned(made, server) == 1
    made.command("queue", "extend", request_id=server, by_s=2 * HOUR)
    made.run(600)
    assert warned(made, server) == 1
    made.run(2 * HOUR)
    assert warned(made, server) == 2


# --- the end in the metadata ----------------------------------------------------------------------


def test_the_end_is_shown_in_the_servers_metadata_and_follows_an_extension(made: Started) -> None:
    (server,) = made.running(1)
    assert metadata(made, server) == {SHOWN: end_of(made, server)}
    made.command("queue", "extend", request_id=server, by_s=HOUR)
    made.run(5)
    assert metadata(made, server) == {SHOWN: end_of(made, server)}
    assert datetime.fromisoformat(metadata(made, server)[SHOWN]).utcoffset() == timedelta()


def test_a_server_that_is_kept_when_its_project_leaves_shows_no_end(made: Started) -> None:
    (server,) = made.running(1)
    made.command("project", "remove", project="A", servers="keep")
    made.run(700)
    assert metadata(made, server) == {}


def test_a_private_server_shows_nothing(made: Started) -> None:
    made.add("C", default_quota="private")
    made.run(2)
    (server,) = made.create(project="C")
    made.run(60)
    assert made.states([server]) == ["ACTIVE"]
    assert metadata(made, server) == {}


def test_an_end_that_cannot_be_shown_now_is_shown_later_and_stops_no_other(made: Started) -> None:
    refusing = []

    def as_nova(real: Callable[..., Any], server_id: str, changes: dict[str, str]) -> Any:
        if server_id in refusing:
            raise Conflict("Nova: it is in a task")
        return real(server_id, changes)

    made.nova.answer("set_metadata", as_nova)
    made.add("A", default_quota="shared", ttl_s=2 * HOUR)
    made.run(2)
    bad, good = made.create(count=2)
    refusing.append(bad)
    made.run(30)
    assert [SHOWN in metadata(made, one) for one in (bad, good)] == [False, True]
    refusing.clear()
    made.run(1000)
    assert metadata(made, bad) == {SHOWN: end_of(made, bad)}


def test_ends_go_on_while_nova_shows_none(made: Started) -> None:
    def away(real: Callable[..., Any], *args: dict[str, str] | str) -> None:
        raise UpstreamUnavailable("Nova answers 500")

    made.nova.answer("set_metadata", away)
    (server,) = made.running(1, ttl_s=600)
    made.run(700)
    assert made.exist([server]) == [False]


# --- extensions by users --------------------------------------------------------------------------


def extend(one: Started, server: str, by_s: int, by: str = "user") -> Any:
    return one.command("queue", "extend", request_id=server, by_s=by_s, by=by)


def test_users_extend_nothing_by_default_and_operators_always(made: Started) -> None:
    (server,) = made.running(1)
    with pytest.raises(ExtensionRefused, match="^extension_not_allowed: extend_policy of project"):
        extend(made, server, 60)
    assert extend(made, server, 60, by="admin")["ttl_s"] == 7260
    assert made.get(server).extensions == 0


def test_a_user_extends_as_often_and_as_long_as_the_project_lets(made: Started) -> None:
    rule: dict[str, Any] = {"extend_policy": "always", "max_extensions": 2, "max_ttl_s": 3 * HOUR}
    (server,) = made.running(1, **rule)
    with pytest.raises(ExtensionRefused, match=r"^extension_too_long: .* by 3600 s at most"):
        extend(made, server, HOUR + 1)
    extend(made, server, 600)
    extend(made, server, 600)
    with pytest.raises(ExtensionRefused, match="^extensions_used_up: it was extended 2 times"):
        extend(made, server, 600)
    assert made.get(server).extensions == 2


def test_when_idle_means_that_nobody_waits_for_the_shared_quota(made: Started) -> None:
    (server,) = made.running(1, extend_policy="when_idle")
    made.add("B", default_quota="shared")
    made.run(2)
    made.create("giant", project="B")  # rejected: it waits for nothing
    extend(made, server, 60)
    ids = made.create("large", project="B", count=3)
    made.run(30)
    assert "QUEUED" in made.states(ids)
    with pytest.raises(ExtensionRefused, match="^extension_not_idle: "):
        extend(made, server, 60)
    made.command("project", "set", project="B", suspended=True)
    extend(made, server, 60)


@pytest.mark.parametrize("policy", ["within_budget", "sometimes"])
def test_a_policy_that_does_not_exist_is_refused_with_those_that_do(
    made: Started, policy: str
) -> None:
    with pytest.raises(Exception, match="extend_policy.*never, when_idle"):
        made.add("A", extend_policy=policy)


def test_a_private_server_has_no_end_to_extend(made: Started) -> None:
    made.add("C", default_quota="private", extend_policy="always")
    made.run(2)
    (server,) = made.create(project="C")
    made.run(30)
    with pytest.raises(IllegalTransition, match="no end to extend"):
        extend(made, server, 60)


def test_a_user_extends_by_metadata(made: Started) -> None:
    (server,) = made.running(1, extend_policy="always")
    made.nova.set_metadata(server, {WISH: "600"})
    made.run(610)
    assert (made.get(server).ttl_s, made.get(server).extensions) == (7800, 1)
    made.run(10)
    assert metadata(made, server) == {SHOWN: end_of(made, server)}
    made.run(1300)
    assert made.get(server).extensions == 1


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ("soon", "invalid_request"),
        ("-5", "invalid_request"),
        ("1e9", "invalid_request"),
        ("٣", "invalid_request"),
        ("", "invalid_request"),
        ("9" * 200, "invalid_request"),
        ("90000", "extension_too_long"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_once_where_it_was_made(
    made: Started, wish: str, code: str
) -> None:
    server, other = made.running(2, extend_policy="always", max_ttl_s=86_400)
    made.nova.set_metadata(server, {WISH: wish})
    made.nova.set_metadata(other, {WISH: "60"})
    made.run(1300)
    said = metadata(made, server)
    assert WISH not in said
    assert said[REFUSED].startswith(f"{code}: ")
    assert events(made, server).count(("EXTENSION_REFUSED", code)) == 1
    assert made.get(server).ttl_s == 7200
    assert made.get(other).ttl_s == 7260
    made.nova.set_metadata(server, {WISH: "60"})
    made.run(610)
    assert made.get(server).ttl_s == 7260
    assert REFUSED not in metadata(made, server)


def test_a_wish_on_a_private_server_is_not_touched(made: Started) -> None:
    made.add("C", default_quota="private", extend_policy="always")
    made.run(2)
    (server,) = made.create(project="C", synergy__extend_s="60")
    made.run(1300)
    assert metadata(made, server) == {WISH: "60"}


# --- locked, and marked to be kept ----------------------------------------------------------------


def mark(one: Started, server: str, how: str) -> None:
    if how == "locked":
        one.nova.lock_server(server)
    else:
        one.nova.set_metadata(server, {KEEP: "please"})


def unmark(one: Started, server: str, how: str) -> None:
    if how == "locked":
        one.nova.unlock_server(server)
    else:
        one.nova.set_metadata(server, {KEEP: None})


def why_it_ended(one: Started, server: str) -> str:
    history = one.command("queue", "show", request_id=server)["history"]
    (step,) = [step for step in history if step["event"] == "TTL_REACHED"]
    return str(step["why"])


@pytest.mark.parametrize(
    ("how", "told"), [("locked", "it is locked"), ("marked", "it has the metadata synergy:keep")]
)
@pytest.mark.parametrize("action", ["delete", "stop", "shelve"])
def test_by_default_a_locked_server_ends_like_any_other_and_that_is_told(
    made: Started, how: str, told: str, action: str
) -> None:
    server, other = made.running(2, expiry_action=action)
    mark(made, server, how)
    made.run(7300)
    assert made.get(server).state is made.get(other).state is not State.ACTIVE
    why = f"{told}; by its project's rule, on_keep=end, it ends all the same"
    assert (why_it_ended(made, server), why_it_ended(made, other)) == (why, "")


def test_a_locked_server_ends_also_when_nova_cannot_be_asked_whether_it_is(made: Started) -> None:
    (server,) = made.running(1)
    mark(made, server, "locked")
    made.nova.faults.api_down = True
    made.run(7300)
    assert made.states([server]) == ["EXPIRING"]
    made.nova.faults.api_down = False
    made.run(300)
    assert made.exist([server]) == [False]


@pytest.mark.parametrize("how", ["locked", "marked"])
def test_a_project_may_let_a_locked_server_go_on_and_that_is_told_once(
    made: Started, how: str
) -> None:
    server, other = made.running(2, on_keep="keep")
    mark(made, server, how)
    made.run(4 * HOUR)
    assert made.exist([server, other]) == [True, False]
    assert events(made, server).count(("EXPIRY_WAIVED", "kept")) == 1
    assert made.get(server).reason is Reason.KEPT
    unmark(made, server, how)
    made.run(700)
    assert made.exist([server]) == [False]


def test_kept_servers_put_no_brake_on_and_hide_none(caplog: pytest.LogCaptureFixture) -> None:
    settings = QUIET | {"expiry": {"most_per_pass": 4, "warnings_s": []}}
    with world(settings=settings) as one:
        one.add(default_quota="shared", ttl_s=600, on_keep="keep")
        one.run(2)
        ids = one.create(count=4)
        one.run(20)
        for server in ids:
            one.nova.lock_server(server)
        one.run(900)
        assert one.states(ids) == ["ACTIVE"] * 4
        more = one.create(count=4)
        one.run(1200)
        assert one.states(more) == ["DELETED"] * 4
        assert not one.command("expiry", "show")["suspended"]


def test_more_kept_servers_than_a_pass_ends_put_no_brake_on() -> None:
    settings = QUIET | {"expiry": {"most_per_pass": 2, "warnings_s": []}}
    with world(settings=settings) as one:
        one.add(default_quota="shared", ttl_s=600, on_keep="keep")
        one.add("B", default_quota="shared", ttl_s=900)
        one.run(2)
        ids, others = one.create(count=9), one.create(project="B", count=2)
        one.run(20)
        for server in ids:
            one.nova.lock_server(server)
        one.run(1200)
        assert one.states(ids) == ["ACTIVE"] * 9
        assert one.states(others) == ["DELETED"] * 2
        assert not one.command("expiry", "show")["suspended"]
        for server in ids:
            one.nova.unlock_server(server)
        one.run(1200)
        assert one.command("expiry", "show")["suspended"]  # now nine would end, and two may


# --- ending only when somebody waits --------------------------------------------------------------

LAZY: dict[str, Any] = QUIET | {
    "expiry": {"expire_when": "queue_waits", "notice_s": 600.0, "warnings_s": []},
    "scheduler": {"rate_s": 60.0},
}


@pytest.fixture
def lazy() -> Iterator[Started]:
    with temporary_store() as store:
        yield Started(store, LAZY)


def test_an_overdue_server_goes_on_while_nobody_waits(lazy: Started) -> None:
    ids = lazy.running(4, ttl_s=600)
    lazy.run(HOUR)
    assert lazy.states(ids) == ["ACTIVE"] * 4
    assert all(("EXPIRY_WARNED", "queue_waits") not in events(lazy, one) for one in ids)


def test_when_somebody_waits_as_many_end_as_are_needed_after_a_notice(lazy: Started) -> None:
    lazy.add("A", default_quota="shared", ttl_s=600)
    lazy.add("B", default_quota="shared", ttl_s=600)
    lazy.run(2)
    first = lazy.create("large")
    lazy.run(2 * HOUR)
    second = lazy.create("medium", count=2)  # all 12 VCPU that nobody owns
    lazy.run(HOUR)
    assert lazy.states(first + second) == ["ACTIVE"] * 3
    (waiting,) = lazy.create("small", project="B")
    lazy.run(300)
    assert lazy.states(first + second) == ["ACTIVE"] * 3
    assert ("EXPIRY_WARNED", "queue_waits") in events(lazy, first[0])
    assert ("EXPIRY_WARNED", "queue_waits") not in events(lazy, second[0])
    lazy.run(600)
    assert lazy.exist(first + second) == [False, True, True]  # the longest overdue, and no other
    assert lazy.states([waiting]) == ["ACTIVE"]


def test_one_that_had_its_notice_goes_on_when_nobody_waits_any_longer(lazy: Started) -> None:
    lazy.add("A", default_quota="shared", ttl_s=600)
    lazy.add("B", default_quota="shared", ttl_s=600)
    lazy.run(2)
    ids = lazy.create("large") + lazy.create("medium", count=2)
    lazy.run(HOUR)
    (waiting,) = lazy.create("small", project="B")
    lazy.run(300)
    lazy.command("queue", "cancel", request_id=waiting)
    lazy.run(HOUR)
    assert lazy.states(ids) == ["ACTIVE"] * 3


def test_private_servers_end_for_nobody(lazy: Started) -> None:
    lazy.add("C", default_quota="private", ttl_s=600)
    lazy.add("B", default_quota="shared", ttl_s=600)
    lazy.run(2)
    mine = lazy.create(project="C", count=4)
    lazy.run(60)
    lazy.create("large", project="B", count=3)
    lazy.run(HOUR)
    assert lazy.states(mine) == ["ACTIVE"] * 4


# --- chains ---------------------------------------------------------------------------------------


def test_a_server_is_stopped_first_and_deleted_after_the_grace() -> None:
    settings = QUIET | {"expiry": {"grace_s": 2.0 * HOUR, "warnings_s": [600]}}
    with world(settings=settings) as one:
        one.add(default_quota="shared", ttl_s=HOUR, expiry_action="stop_delete")
        one.run(2)
        (server,) = one.create()
        one.run(HOUR + 120)
        assert warned(one, server) == 1
        assert one.nova.show_server(server).status is ServerStatus.STOPPED
        assert one.states([server]) == ["EXPIRING"]
        one.run(1.5 * HOUR)
        assert one.nova.show_server(server).status is ServerStatus.STOPPED
        one.run(HOUR)
        assert one.states([server]) == ["DELETED"]


def test_ends_are_listed_in_their_order_and_those_of_others_are_not(made: Started) -> None:
    made.add("B", default_quota="shared", ttl_s=HOUR)
    first = made.running(1, ttl_s=2 * HOUR)
    others = made.create(project="B")
    made.run(20)
    listed = made.command("expiry", "list")
    assert [one["id"] for one in listed] == [*others, *first]
    assert [one["id"] for one in made.command("expiry", "list", within_s=HOUR)] == others
    mine = made.command("expiry", "list", project_id="project-A")
    assert [one["id"] for one in mine] == first
    assert made.command("expiry", "list", within_s=60) == []


def walked(one: Started, limit: int, **more: Any) -> list[str]:
    """The ids of all pages of a list of ends, in their order."""
    found: list[str] = []
    marker: dict[str, str] = {}
    while page := one.command("expiry", "list", limit=limit, **more, **marker):
        assert len(page) <= limit
        found += [row["id"] for row in page]
        marker = {"marker": found[-1]}
    return found


def test_ends_are_listed_page_by_page(made: Started) -> None:
    made.add("B", default_quota="shared", ttl_s=HOUR)
    made.running(4, ttl_s=2 * HOUR)  # they end in the same moments
    made.create(project="B", count=2)
    made.run(20)
    whole = [one["id"] for one in made.command("expiry", "list")]
    assert len(whole) == 6
    for limit in (1, 2, 5, 6, 1000):
        assert walked(made, limit) == whole
        assert walked(made, limit, project_id="project-A") == whole[2:]
        assert walked(made, limit, within_s=HOUR) == whole[:2]
    with pytest.raises(NotFound, match="marker"):  # whether another project has it is not told
        made.command("expiry", "list", project_id="project-A", marker=whole[0])


def test_a_damaged_row_makes_no_page_the_last(made: Started) -> None:
    ids = made.running(5, ttl_s=2 * HOUR)
    whole = [one["id"] for one in made.command("expiry", "list")]
    damage(made, "UPDATE requests SET class_id = 999999 WHERE request_id = :id", id=whole[1])
    assert walked(made, 2) == [one for one in whole if one != whole[1]]
    assert set(whole) == set(ids)
