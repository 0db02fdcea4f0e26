"""When servers would start that nobody asked for yet, as the service answers it."""

from datetime import datetime
from typing import Any

import pytest

from synergy.core.forecasts.correction import NEEDED
from tests.builders import World
from tests.functional.test_forecasts import forecasting
from tests.served import Api


def asked(made: World, query: str = "") -> dict[str, Any]:
    api = Api(made).as_("reader", project="project-A", user="ua")
    found: dict[str, Any] = api.get(f"/v1/outlook{query}")["outlook"]
    return found


def of(found: dict[str, Any], flavor: str) -> dict[str, Any]:
    rows: dict[str, dict[str, Any]] = {one["flavor"]: one for one in found["flavors"]}
    return rows[flavor]


def in_s(found: dict[str, Any], name: str, at: str) -> list[float | None]:
    now = datetime.fromisoformat(found["at"])
    ends = [one[at] for one in of(found, name)["starts"]]
    return [(datetime.fromisoformat(one) - now).total_seconds() if one else None for one in ends]


def test_each_flavor_says_how_many_start_now_and_when_more_do() -> None:
    """12 of 16 VCPU are shared, a server lives 600 s; little is known yet."""
    with forecasting() as made:
        found = asked(made)
        assert [one["flavor"] for one in found["flavors"]] == ["giant", "large", "medium", "small"]
        small, giant = of(found, "small"), of(found, "giant")
        pool = made.command("quota", "show")["shared"]["VCPU"]
        assert small["starts_now"] == pool
        assert in_s(found, "small", "latest_at") == [0, 0, 0]
        assert small["text"] == f"no forecast yet: 0 of {NEEDED} needed"
        assert {one["p50_at"] for one in small["starts"]} == {None}
        assert giant["starts_now"] == 0
        assert giant["text"].startswith("It would be refused: it ")
        assert {one["latest_at"] for one in giant["starts"]} == {None}
        assert (found["left_out"], found["text"]) == ([], "")


def test_it_agrees_with_what_happens_when_the_servers_are_asked_for() -> None:
    with forecasting() as made:
        made.create("large")
        made.run(60)
        made.create("large", project="B")
        made.run(20)
        found = asked(made)
        expected = of(found, "small")["starts_now"]
        waits_s = in_s(found, "small", "latest_at")
        servers = made.create("small", count=10)
        made.run(30)
        running = [one for one in made.states(servers) if one in ("BUILDING", "ACTIVE")]
        assert len(running) == expected == 4
        made.run(2500)
        begun = sorted(
            made.command("queue", "show", request_id=one)["history"][1]["at"] for one in servers
        )
        now = datetime.fromisoformat(found["at"])
        last_s = (datetime.fromisoformat(begun[-1]) - now).total_seconds()
        assert waits_s[-1] is not None
        assert last_s == pytest.approx(waits_s[-1], abs=45)


def test_both_ends_are_said_once_enough_were_resolved() -> None:
    with forecasting() as made:
        made.create("small", count=80)
        made.run(5000)
        made.create("large")
        made.run(60)
        found = asked(made, "?flavor=large")
        (one,) = found["flavors"]
        assert made.command("forecast", "score")["resolved"] >= NEEDED
        assert one["text"] == ""
        for start in one["starts"]:
            assert found["at"] <= start["p50_at"] <= start["p90_at"] <= start["latest_at"]


def test_nothing_is_made_or_counted() -> None:
    with forecasting() as made:
        before = made.command("queue", "counts"), made.command("forecast", "score")
        asked(made)
        made.run(60)
        assert (made.command("queue", "counts"), made.command("forecast", "score")) == before


def test_a_suspended_project_starts_nothing() -> None:
    with forecasting() as made:
        made.command("project", "set", project="A", suspended=True)
        one = of(asked(made), "small")
        assert (one["starts_now"], one["text"][:24]) == (0, "The project is suspended")


def test_what_is_not_looked_at_is_named() -> None:
    with forecasting(outlook_flavors=2) as made:
        found = asked(made)
        assert [one["flavor"] for one in found["flavors"]] == ["giant", "large"]
        assert found["left_out"] == ["medium", "small"]
        assert found["text"].startswith("2 flavors were not looked at")
        assert [one["flavor"] for one in asked(made, "?flavor=small")["flavors"]] == ["small"]


def test_what_is_not_there_or_too_much_is_refused_by_name() -> None:
    with forecasting(max_requests=2) as made:
        api = Api(made).as_("reader", project="project-A", user="ua")
        status, body = api.raw("GET", "/v1/outlook?flavor=huge")
        assert (status, "'huge'" in str(body)) == (404, True)
        status, body = api.raw("GET", "/v1/outlook?project_id=project-B")
        assert (status, "project-B" in str(body)) == (404, True)
        made.create("large", count=5)
        made.run(40)
        status, body = api.raw("GET", "/v1/outlook")
        assert (status, "max_requests (2)" in str(body)) == (409, True)
