"""Every change through the API leaves a row and a line, made or refused, and nothing else does."""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest

from synergy.api.app import ROUTES
from synergy.api.routing import Route
from synergy.core.errors import UpstreamUnavailable
from tests.builders import World, world
from tests.functional.test_access import BODIES, prepared
from tests.served import Api

OWN = "project-A"


@pytest.fixture
def made() -> Iterator[World]:
    with world() as found:
        found.add(default_quota="shared")
        found.add("B", default_quota="shared")
        found.run(1)
        yield found


@pytest.fixture
def api(made: World) -> Api:
    return Api(made).as_("admin", "reader", project="admin", user="op")


def trail(api: Api, **filters: Any) -> Any:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    before = dict(api.headers)
    found = api.as_admin().get(f"/v1/audit?limit=1000&{query}")["audit"]
    api.headers = before
    return found


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(one.getMessage()) for one in caplog.records if one.name == "synergy.audit"]


def test_a_change_says_who_what_before_and_after(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    api.headers |= {"X-User-Name": "Olga\x1b[31m"}
    with caplog.at_level(logging.INFO, "synergy.audit"):
        api.ask("PATCH", "/v1/projects/A", {"raw_shares": 5, "suspended": False})
    (entry,) = trail(api)
    assert entry["operation"] == "set_project"
    assert (entry["user_id"], entry["project_id"]) == ("op", "admin")
    assert entry["roles"] == ["admin", "reader"]
    assert entry["address"] == "127.0.0.1"
    assert entry["target"] == "/v1/projects/A"
    assert entry["asked"] == {"raw_shares": 5, "suspended": False}
    assert (entry["before"], entry["after"]) == ({"raw_shares": 1}, {"raw_shares": 5})
    assert (entry["outcome"], entry["status"], entry["why"]) == ("done", 200, "")
    (line,) = lines(caplog)
    assert not {"\n", "\x1b"} & set(caplog.records[-1].getMessage())
    for name in ("user_id", "operation", "asked", "before", "after", "outcome", "status"):
        assert line[name] == entry[name]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_route_that_changes_something_is_in_the_audit_and_no_other(
    made: World, api: Api, route: Route, caplog: pytest.LogCaptureFixture
) -> None:
    path = prepared(made, route)
    if route.name == "execute_command":
        path = path.replace("counts", "cancel")
        (server,) = made.create()
        made.command("project", "set", project="A", suspended=True)
        made.run(1)
        body: Any = {"request_id": server}
    else:
        body = BODIES.get(route.name)
    seen = len(trail(api))
    with caplog.at_level(logging.INFO, "synergy.audit"):
        status, _ = api.raw(route.method, path, json=body)
    new = trail(api)[seen:]
    changes = route.method != "GET" and route.name not in ("simulate", "what_if")
    assert [one["operation"] for one in new] == ([route.name] if changes else [])
    assert [one["operation"] for one in lines(caplog)] == ([route.name] if changes else [])
    if changes:
        assert (new[0]["outcome"], new[0]["status"]) in (("done", status), ("refused", status))


def test_a_command_that_only_reads_is_no_change(api: Api) -> None:
    assert api.ask("POST", "/v1/managers/queue/commands/counts", {})[0] == 200
    assert trail(api) == []


@pytest.mark.parametrize(
    ("become", "method", "path", "body", "status"),
    [
        pytest.param(None, "PATCH", "/v1/projects/A", {"raw_shares": "x"}, 400, id="nonsense"),
        pytest.param(None, "PATCH", "/v1/projects/nosuch", {"raw_shares": 1}, 404, id="nothing"),
        pytest.param(None, "POST", "/v1/projects", {"project": "nosuch"}, 404, id="no project"),
        pytest.param("reader", "PATCH", "/v1/projects/A", {"raw_shares": 9}, 403, id="not allowed"),
        pytest.param("reader", "POST", "/v1/managers/queue/stop", None, 403, id="not an operator"),
        pytest.param(
            "reader", "POST", "/v1/managers/queue/commands/cancel", {"request_id": "x"}, 403,
            id="a forced command",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_there_too(
    api: Api,
    become: str | None,
    method: str,
    path: str,
    body: dict[str, int | str] | None,
    status: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if become:
        api.as_(become, project=OWN, user="ua")
    with caplog.at_level(logging.INFO, "synergy.audit"):
        assert api.ask(method, path, body)[0] == status
    (entry,) = trail(api)
    assert (entry["outcome"], entry["status"]) == ("refused", status)
    assert entry["why"]
    assert (entry["before"] or {}, entry["after"] or {}) == ({}, {})
    assert lines(caplog)[0]["outcome"] == "refused"


def test_whoever_has_no_token_leaves_nothing(api: Api) -> None:
    api.as_nobody()
    assert api.ask("PATCH", "/v1/projects/A", {"raw_shares": 9})[0] == 401
    assert trail(api) == []


def test_one_who_is_refused_again_and_again_does_not_fill_it(made: World) -> None:
    api = Api(made, monotonic_s=lambda: 0.0).as_("reader", project=OWN, user="ua")
    for _ in range(80):
        assert api.ask("POST", "/v1/managers/queue/stop")[0] == 403
    assert len(trail(api)) == 60


def test_what_cannot_be_written_down_is_not_done(
    made: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_entry: Mapping[str, Any]) -> None:
        raise UpstreamUnavailable("database: it is away")

    monkeypatch.setattr(api.services, "begin_change", away)
    assert api.ask("PATCH", "/v1/projects/A", {"raw_shares": 9})[0] == 503
    assert made.command("project", "show", project="A")["raw_shares"] == 1


def test_a_change_that_is_cut_short_stays_begun(
    made: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after kill -9: the change was begun, and nobody can say that it was made."""

    real = api.services.execute

    def dies(name: str, command: str, arguments: Mapping[str, Any]) -> Any:
        if command == "set":
            raise KeyboardInterrupt
        return real(name, command, arguments)

    monkeypatch.setattr(api.services, "execute", dies)
    with pytest.raises(KeyboardInterrupt):
        api.ask("PATCH", "/v1/projects/A", {"raw_shares": 9})
    (entry,) = trail(api)
    assert (entry["outcome"], entry["status"]) == ("begun", None)
    assert entry["asked"] == {"raw_shares": 9}


def test_an_error_on_the_way_is_failed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    real = api.services.execute

    def broken(name: str, command: str, arguments: Mapping[str, Any]) -> Any:
        if command == "set":
            raise RuntimeError("SELECT secret")
        return real(name, command, arguments)

    monkeypatch.setattr(api.services, "execute", broken)
    assert api.ask("PATCH", "/v1/projects/A", {"raw_shares": 9})[0] == 500
    (entry,) = trail(api)
    assert (entry["outcome"], entry["status"], entry["why"]) == ("failed", 500, "RuntimeError")


def test_managers_and_requests_and_users_are_followed(made: World, api: Api) -> None:
    made.command("project", "set", project="A", suspended=True)
    (server,) = made.create()
    made.run(1)
    api.ask("POST", "/v1/managers/expiry/stop")
    api.ask("POST", f"/v1/requests/{server}/hold")
    api.ask("PATCH", "/v1/projects/A/users/alice", {"raw_shares": 4})
    api.ask("POST", "/v1/projects", {"project": "C"})
    api.ask("DELETE", "/v1/projects/C")
    stop, hold, user, add, remove = trail(api)
    assert stop["before"]["status"] == "RUNNING"
    assert stop["after"]["status"] != "RUNNING"
    assert (hold["before"]["state"], hold["after"]["state"]) == ("QUEUED", "HELD")
    assert (user["before"], user["after"]) == ({"raw_shares": 1}, {"raw_shares": 4})
    assert (add["before"], add["after"]["name"]) == ({}, "C")
    assert (remove["before"]["name"], remove["status"]) == ("C", 204)


def test_the_audit_is_filtered_and_walked_page_by_page(made: World, api: Api) -> None:
    for shares in (2, 3, 4):
        api.ask("PATCH", "/v1/projects/A", {"raw_shares": shares})
    api.as_("reader", project=OWN, user="ua").ask("DELETE", "/v1/projects/A")
    assert [one["user_id"] for one in trail(api, outcome="refused")] == ["ua"]
    assert len(trail(api, user_id="op", operation="set_project")) == 3
    assert len(trail(api, project_id=OWN)) == 1
    assert trail(api, since="2100-01-01T00:00:00Z") == []
    api.as_admin()
    first = api.get("/v1/audit?limit=3")
    second = api.get(first["next"])
    numbers = [one["number"] for one in first["audit"] + second["audit"]]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 4
    assert api.ask("GET", "/v1/audit?since=yesterday")[0] == 400
    assert api.ask("GET", "/v1/audit?outcome=odd")[0] == 400


def test_a_long_body_is_left_out(made: World, api: Api) -> None:
    settings = {f"CUSTOM_{'X' * 200}_{n}": n for n in range(90)}
    api.ask("PATCH", "/v1/projects/A", {"borrow_limit": settings})
    (entry,) = trail(api)
    assert entry["asked"] == {"left_out": "longer than 16000 characters"}


def test_what_is_old_goes_to_the_archive_whole(made: World, api: Api) -> None:
    for shares in (2, 3, 4):
        api.ask("PATCH", "/v1/projects/A", {"raw_shares": shares})
    later = made.engine.clock.now() + timedelta(days=1)
    with made.store.writing() as uow:
        keys = uow.archive.due("audit", later, 100)
        assert uow.archive.move("audit", keys) == 2  # the newest stays: its number must not repeat
        uow.commit()
    assert [one["after"] for one in trail(api)] == [{"raw_shares": 4}]
    with made.store.reading() as uow:
        kept = uow.archive.record("audit", keys[0])["audit"]
    assert (kept["user_id"], kept["after"]) == ("op", {"raw_shares": 2})
