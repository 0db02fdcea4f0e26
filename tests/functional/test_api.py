"""The API over the real managers: what it answers, to whom, and how it refuses."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from openapi_spec_validator import validate

from synergy.api.app import ROUTES
from synergy.api.policies import RULES
from tests.builders import World, rid, world
from tests.served import Api

OTHER = "project-B"
OWN = "project-A"


@pytest.fixture
def made() -> Iterator[World]:
    with world() as found:
        found.add(default_quota="shared", ttl_s=600)
        found.add("B", default_quota="shared", ttl_s=600)
        found.run(1)
        yield found


@pytest.fixture
def api(made: World) -> Api:
    return Api(made).as_admin()


def waiting(made: World, **more: Any) -> tuple[str, str]:
    """One request that runs in the whole shared quota, and one that waits behind it."""
    running, queued = made.create("large", count=2, **more)
    made.run(10)
    assert made.states([running, queued]) == ["ACTIVE", "QUEUED"]
    return running, queued


def end_of(made: World, server: str) -> datetime:
    expires_at = made.get(server).expires_at
    assert expires_at is not None
    return expires_at


def span_of(made: World, server: str) -> tuple[datetime, datetime]:
    """From when to when a server that is gone held its quota."""
    request = made.get(server)
    assert request.held_from is not None
    assert request.released_at is not None
    return request.held_from, request.released_at


def test_versions_and_health_and_the_document_need_no_token(made: World, api: Api) -> None:
    api.as_nobody()
    assert api.get("/")["versions"][0]["id"] == "v1"
    assert api.get("/v1") == api.get("/")
    assert api.get("/healthcheck")["healthy"]
    assert api.get("/healthcheck/live")["live"]
    assert api.get("/healthcheck/ready")["ready"]
    document = api.get("/v1/openapi.json")
    validate(document)
    assert {(m.upper(), p) for p, ops in document["paths"].items() for m in ops} == {
        (route.method, route.path) for route in ROUTES
    }


def test_health_tells_liveness_from_readiness() -> None:
    with world() as made:
        made.engine.tolerant = True
        made.run(1)
        made.nova.faults.api_down = True
        made.run(120)
        api = Api(made)
        status, found, _ = api.ask("GET", "/healthcheck")
        assert (status, found["healthy"], found["ready"]) == (503, False, True)
        assert api.get("/healthcheck/ready")["ready"]


def test_every_rule_guards_a_route_and_every_route_names_its_rule() -> None:
    guarded: dict[str, set[str]] = {}
    for route in ROUTES:
        if route.rule is not None:
            guarded.setdefault(f"synergy:{route.rule}", set()).add(f"{route.method} {route.path}")
    for rule in RULES:
        told = {f"{one['method']} {one['path']}" for one in rule.operations}
        narrower = guarded.pop(rule.name, None) or guarded.get(rule.name.removesuffix("_all"), told)
        assert told == narrower or told <= narrower, rule.name
    assert guarded == {}


def test_a_request_is_explained_with_the_numbers_that_bind_it(made: World, api: Api) -> None:
    running, queued = waiting(made)
    api.as_("reader", project=OWN)
    found = api.get(f"/v1/requests/{queued}/explain")["explanation"]
    assert (found["reason"], found["position"]) == ("no_free_quota", 1)
    assert found["bounds"] == [
        {"scope": "shared_quota", "node": "root", "resource_class": "VCPU",
         "needed": 8, "free": 4, "limit": 12, "used": 8, "own": 8}
    ]  # fmt: skip
    assert found["text"] == (
        "Not enough quota is free. It needs 8 VCPU, and of the shared quota 4 of 12 are "
        "free. It is the first in line."
    )
    ends_at = end_of(made, running).isoformat()
    unblocked = found["unblocked_by"]
    assert unblocked["releases"] == [
        {"at": ends_at, "freed": {"MEMORY_MB": 2048, "VCPU": 8}, "servers": 1}
    ]
    assert (unblocked["enough_at"], unblocked["estimated_start"]) == (ends_at, ends_at)
    # The round decided before the server was built: its lifetime begins 5 s later.
    reserved_at = end_of(made, running) - timedelta(seconds=5)
    assert unblocked["reserved_at"] == reserved_at.isoformat()
    assert [flavor["name"] for flavor in unblocked["smaller_flavors"]] == ["medium", "small"]
    assert found["priority"]["priority"] >= found["priority"]["age"]
    assert found["round_id"] == api.as_admin().get("/v1/rounds/latest")["round"]["round_id"]
    shown = api.get(f"/v1/requests/{queued}")["request"]
    assert shown["reason"] == "no_free_quota"
    made.run(timedelta(minutes=10).total_seconds())
    assert made.states([queued]) == ["ACTIVE"]
    found = api.get(f"/v1/requests/{queued}/explain")["explanation"]
    assert (found["reason"], found["text"]) == (None, "It does not wait, it is ACTIVE.")


def test_a_private_request_is_told_of_no_end_that_does_not_help_it(made: World, api: Api) -> None:
    made.add("C", default_quota="private", on_private_full="queue", ttl_s=600)
    made.create("medium", project="A")
    ids = made.create("medium", project="C", count=3)
    made.run(10)
    assert made.states(ids) == ["ACTIVE", "ACTIVE", "QUEUED"]
    found = api.get(f"/v1/requests/{ids[2]}/explain")["explanation"]
    assert found["bounds"][0]["scope"] == "private_quota"
    assert found["text"].startswith(
        "Not enough quota is free. It needs 512 MEMORY_MB, and of the private quota of "
        "project C 0 of 1,024 are free."
    )
    assert found["unblocked_by"] == {
        "releases": [], "enough_at": None, "reserved_at": None, "estimated_start": None,
        "smaller_flavors": [],
    }  # fmt: skip


def test_where_a_server_runs_is_not_for_its_project_to_know(made: World, api: Api) -> None:
    running, _ = waiting(made)
    assert api.get(f"/v1/requests/{running}")["request"]["host"] in ("node1", "node2")
    assert {one["host"] for one in api.get("/v1/requests")["requests"]} > {None}
    api.as_("manager", "member", "reader", project=OWN)
    assert api.get(f"/v1/requests/{running}")["request"]["host"] is None
    assert {one["host"] for one in api.get("/v1/requests")["requests"]} == {None}


def test_the_forecast_was_right(made: World, api: Api) -> None:
    ids = made.create("large", count=3) + made.create("large", project="B", count=2)
    made.run(10)
    told = {
        one: api.get(f"/v1/requests/{one}/explain")["explanation"]["unblocked_by"]["estimated_start"]
        for one in ids if made.states([one]) == ["QUEUED"]
    }  # fmt: skip
    assert len(told) == 4
    made.run(4 * 700)
    # Usage moves the projects' places meanwhile, so who comes when may change, but not when.
    started = sorted(at for one in told if (at := made.get(one).held_from))
    for at, estimated in zip(started, sorted(told.values()), strict=True):
        assert abs((at.fromisoformat(estimated) - at).total_seconds()) < 30


def test_a_hold_of_an_administrator_is_not_released_by_a_user(made: World, api: Api) -> None:
    _, queued = waiting(made)
    owner = {"project": OWN, "user": "ua"}
    held = api.as_("member", "reader", **owner).ask("POST", f"/v1/requests/{queued}/hold")[1]
    assert (held["request"]["state"], held["request"]["reason"]) == ("HELD", "held_by_user")
    found = api.get(f"/v1/requests/{queued}/explain")["explanation"]
    assert found["text"] == "Its user holds it until it is released."
    assert api.ask("POST", f"/v1/requests/{queued}/release")[0] == 200
    api.as_admin().ask("POST", f"/v1/requests/{queued}/hold")
    status, told, _ = api.as_("member", "reader", **owner).ask(
        "POST", f"/v1/requests/{queued}/release"
    )
    assert (status, told["errors"][0]["code"]) == (409, "illegal_transition")
    assert "only one of them can release it" in told["errors"][0]["detail"]
    released = api.as_admin().ask("POST", f"/v1/requests/{queued}/release")[1]["request"]
    assert (released["state"], released["reason"]) == ("QUEUED", "no_free_quota")


def test_a_refused_request_shows_its_reason_and_one_that_runs_has_none(
    made: World, api: Api
) -> None:
    running, _ = waiting(made)
    (never,) = made.create("giant")
    made.run(10)
    listed = {one["id"]: one["reason"] for one in api.get("/v1/requests")["requests"]}
    assert (listed[never], listed[running]) == ("never_fits", None)
    explained = api.get(f"/v1/requests/{never}/explain")["explanation"]
    assert (explained["reason"], explained["bounds"]) == ("never_fits", [])
    assert explained["text"].startswith("It does not wait, it is REJECTED: never_fits: asks for")


def test_an_end_may_be_put_off(made: World, api: Api) -> None:
    running, queued = waiting(made)
    before = end_of(made, running)
    moved = api.ask("POST", f"/v1/requests/{running}/extend", {"by_s": 300})[1]["request"]
    assert moved["expires_at"] == (before + timedelta(seconds=300)).isoformat()
    made.run(700)
    assert made.states([running]) == ["ACTIVE"]
    made.run(300)
    assert made.states([running, queued]) == ["DELETED", "ACTIVE"]
    assert api.ask("POST", f"/v1/requests/{running}/extend", {"by_s": 1})[0] == 409
    steps = api.get(f"/v1/requests/{running}")["request"]["history"]
    assert "EXTENDED" in [step["event"] for step in steps]


def test_an_end_cannot_be_put_off_beyond_what_a_database_keeps(made: World, api: Api) -> None:
    running, _ = waiting(made)
    year_s = 366 * 86_400
    for _ in range(67):
        assert api.ask("POST", f"/v1/requests/{running}/extend", {"by_s": year_s})[0] == 200
    status, told, _ = api.ask("POST", f"/v1/requests/{running}/extend", {"by_s": year_s})
    assert status == 400
    assert "none may live longer than 2147483647 s" in told["errors"][0]["detail"]
    assert made.get(running).ttl_s < 2**31


@pytest.mark.parametrize("end", ["0001-01-01T00:00:00Z", "0001-01-03T00:00:00Z"])
def test_usage_may_be_asked_up_to_the_first_days_of_all(api: Api, end: str) -> None:
    assert api.raw("GET", f"/v1/usage?end={end}")[0] in (200, 400)
    assert api.raw("GET", f"/v1/usage?begin=0001-01-01&end={end}")[0] in (200, 400)


def test_what_if_tells_what_then_happens(made: World, api: Api) -> None:
    running, queued = waiting(made)
    api.as_("member", "reader", project=OWN, user="ua")
    seen = api.ask("POST", "/v1/simulate", {"flavor": "medium", "count": 3})[1]["simulation"]
    assert (seen["starts_now"], seen["reason"]) == (2, "no_free_quota")
    # The large one goes before the third of them, and then the first two end.
    in_ten_minutes = made.engine.clock.now() + timedelta(seconds=600)
    assert seen["estimated_last_start"] == in_ten_minutes.isoformat()
    assert end_of(made, running) < in_ten_minutes
    one = api.ask("POST", "/v1/simulate", {"flavor": "medium"})[1]["simulation"]
    assert (one["starts_now"], one["text"]) == (1, "It would start now.")
    never = api.ask("POST", "/v1/simulate", {"flavor": "giant"})[1]["simulation"]
    assert (never["starts_now"], never["reason"]) == (0, "never_fits")
    assert never["text"].startswith("It would be refused: it asks for")
    ids = made.create("medium", count=3)
    made.run(1)
    assert sorted(made.states(ids)) == ["BUILDING", "BUILDING", "QUEUED"]
    assert made.states([queued]) == ["QUEUED"]


def test_what_if_follows_a_project_that_overflows_into_the_shared_quota(
    made: World, api: Api
) -> None:
    made.add("C", default_quota="private_then_shared", ttl_s=600)
    made.run(61)
    asked = {"project": "C", "flavor": "small", "count": 17}
    seen = api.ask("POST", "/v1/simulate", asked)[1]["simulation"]
    assert (seen["starts_now"], seen["reason"]) == (16, "no_free_quota")


def test_lists_are_walked_page_by_page_in_any_order(made: World, api: Api) -> None:
    made.command("project", "set", project="A", suspended=True)
    small, medium = made.create(count=3), made.create("medium", count=4)
    made.run(1)
    for key in ("received", "queued_at", "name", "flavor", "state", "user_id", "changed_at"):
        for direction in ("asc", "desc"):
            path = f"/v1/requests?limit=2&sort_key={key}&sort_dir={direction}"
            found, pages = [], 0
            while path:
                page = api.get(path)
                found += page["requests"]
                path, pages = page["next"], pages + 1
            assert sorted(one["id"] for one in found) == sorted(small + medium)
            shown = [one.get(key) for one in found]
            assert shown == sorted(shown, key=str, reverse=direction == "desc")
            assert pages == 4
    only = api.get("/v1/requests?flavor=medium&state=QUEUED&state=HELD&quota=shared")
    assert {one["id"] for one in only["requests"]} == set(medium)
    assert api.get("/v1/requests?quota=private")["requests"] == []
    assert api.get("/v1/requests?user_id=nobody")["requests"] == []
    one = only["requests"][0]
    assert [
        r["id"] for r in api.get(f"/v1/requests?name={one['name']}&flavor=medium")["requests"]
    ] == [one["id"]]
    assert len(api.get(f"/v1/requests?batch_id={one['batch_id']}")["requests"]) == 4
    priorities = api.get("/v1/priorities?limit=5")
    assert len(priorities["priorities"]) == 5
    assert len(api.get(priorities["next"])["priorities"]) == 2


def test_ends_of_servers_are_walked_page_by_page(made: World, api: Api) -> None:
    ids = made.create(count=3)
    made.run(10)
    first = api.get("/v1/expiry/servers?limit=2")
    rest = api.get(first["next"])
    assert {one["id"] for one in first["requests"] + rest["requests"]} == set(ids)
    assert rest["next"] is None
    status, _, _ = api.ask("GET", f"/v1/expiry/servers?marker={rid(99)}")
    assert status == 404


def test_events_are_followed_by_their_numbers(made: World, api: Api) -> None:
    running, _ = waiting(made)
    first = api.get("/v1/events?limit=1")
    rest = api.get(first["next"].replace("limit=1", "limit=100"))
    numbers = [one["number"] for one in first["events"] + rest["events"]]
    assert numbers == sorted(set(numbers))
    mine = api.get(f"/v1/events?request_id={running}&event=BOOTED")["events"]
    assert [one["to"] for one in mine] == ["ACTIVE"]
    late = (made.engine.clock.now() + timedelta(days=1)).isoformat().replace("+", "%2B")
    assert api.get(f"/v1/events?since={late}")["events"] == []


def test_usage_counts_what_was_held_and_compares_with_what_was_promised(
    made: World, api: Api
) -> None:
    made.command("project", "set", project="A", raw_shares=70)
    made.command("project", "set", project="B", raw_shares=30)
    one, two = made.create("medium")[0], made.create("small", project="B")[0]
    made.run(602 * 2)
    made.run(3600)
    assert made.states([one, two]) == ["DELETED", "DELETED"]
    held_from, released_at = span_of(made, one)
    hours = (released_at - held_from).total_seconds() / 3600
    rows = {row["project"]: row for row in api.get("/v1/usage")["usage"]}
    assert rows["A"]["resource_hours"]["VCPU"] == pytest.approx(2 * hours, abs=1e-6)
    assert rows["A"]["billed_hours"] == pytest.approx(2 * hours, abs=1e-6)
    assert (rows["A"]["promised_share"], rows["B"]["promised_share"]) == (0.7, 0.3)
    assert rows["A"]["delivered_share"] == pytest.approx(2 / 3, abs=0.01)
    assert rows["A"]["delivered_share"] + rows["B"]["delivered_share"] == pytest.approx(1)
    by_hour = api.get("/v1/usage?period=hour&group_by=user")["usage"]
    assert {row["user"] for row in by_hour} == {"alice", "bob"}
    total = sum(row["resource_hours"]["VCPU"] for row in by_hour if row["user"] == "alice")
    assert total == pytest.approx(2 * hours, abs=1e-5)
    of_users = api.get("/v1/usage?group_by=project&group_by=user&group_by=quota")["usage"]
    assert {(row["promised_share"], row["delivered_share"]) for row in of_users} == {(None, None)}
    own = api.as_("reader", project=OTHER).get("/v1/usage")["usage"]
    assert [(row["project"], row["promised_share"]) for row in own] == [("B", None)]
    status, told, _ = api.as_admin().ask("GET", "/v1/usage?period=hour&begin=2016-01-01T00:00:00Z")
    assert (status, "more than 400 periods" in told["errors"][0]["detail"]) == (400, True)
    status, told, _ = api.ask("GET", "/v1/usage?begin=yesterday")
    assert "begin is 'yesterday', but must be an instant" in told["errors"][0]["detail"]


def test_a_stale_revision_changes_nothing(made: World, api: Api) -> None:
    status, found, headers = api.ask("GET", "/v1/projects/A")
    tag = headers["ETag"]
    assert tag == f'"{found["project"]["revision"]}"'
    assert api.ask("PATCH", "/v1/projects/A", {"raw_shares": 5}, If_Match=tag)[0] == 200
    status, told, _ = api.ask("PATCH", "/v1/projects/A", {"raw_shares": 9}, If_Match=tag)
    assert (status, told["errors"][0]["code"]) == (412, "precondition_failed")
    assert api.get("/v1/projects/A")["project"]["raw_shares"] == 5
    assert api.ask("PATCH", "/v1/projects/A", {"raw_shares": 6}, If_Match="*")[0] == 200
    assert api.ask("DELETE", "/v1/projects/A", If_Match=tag)[0] == 412
    for odd in ('""', 'W/"", "x"', "nonsense", ""):
        assert api.ask("PATCH", "/v1/projects/A", {"raw_shares": 7}, If_Match=odd)[0] == 412
    user = "/v1/projects/A/users/alice"
    tag = api.ask("GET", user)[2]["ETag"]
    assert api.ask("PATCH", user, {"raw_shares": 2}, If_Match=tag)[0] == 200
    assert api.ask("PATCH", user, {"raw_shares": 3}, If_Match=tag)[0] == 412
    _, queued = waiting(made)
    tag = api.ask("GET", f"/v1/requests/{queued}")[2]["ETag"]
    assert api.ask("POST", f"/v1/requests/{queued}/hold", If_Match=tag)[0] == 200
    assert api.ask("POST", f"/v1/requests/{queued}/release", If_Match=tag)[0] == 412


def test_of_two_administrators_who_change_one_share_at_once_one_is_told(
    made: World, api: Api
) -> None:
    tag = api.ask("GET", "/v1/projects/A")[2]["ETag"]
    both, statuses = threading.Barrier(2), []

    def change(raw_shares: int) -> None:
        both.wait()
        statuses.append(
            api.ask("PATCH", "/v1/projects/A", {"raw_shares": raw_shares}, If_Match=tag)[0]
        )

    threads = [threading.Thread(target=change, args=(shares,)) for shares in (5, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, 412]
    assert api.get("/v1/projects/A")["project"]["raw_shares"] in (5, 9)


def test_a_null_limit_is_no_limit_from_the_start(made: World, api: Api) -> None:
    asked = {"project": "C", "lend_limit": None, "borrow_limit": {"VCPU": 2}}
    status, found, _ = api.ask("POST", "/v1/projects", asked)
    assert (status, found["project"]["lend_limit"]) == (201, None)
    assert found["project"]["borrow_limit"] == {"VCPU": 2}
    nothing = {"borrow_limit": None, "lend_limit": {"VCPU": 0}}
    changed = api.ask("PATCH", "/v1/projects/C", nothing)[1]
    assert changed["project"]["borrow_limit"] is None
    assert changed["project"]["lend_limit"] == {"VCPU": 0}
    changed = api.ask("PATCH", "/v1/projects/C", {"lend_limit": {}})[1]  # names nothing
    assert changed["project"]["lend_limit"] == {"VCPU": 0}


def test_projects_and_users_are_walked_page_by_page(made: World, api: Api) -> None:
    first = api.get("/v1/projects?limit=1")
    assert [p["name"] for p in first["projects"]] == ["A"]
    second = api.get(first["next"])
    assert ([p["name"] for p in second["projects"]], second["next"]) == (["B"], None)
    users = api.get("/v1/projects/A/users?limit=1")
    assert [u["name"] for u in users["users"]] == ["alice"]
    assert [u["name"] for u in api.get(users["next"])["users"]] == ["anna"]
    assert api.get("/v1/projects?name=B")["projects"] == second["projects"]


def test_why_requests_wait_is_in_the_log_by_the_same_code(
    made: World, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "synergy.managers.scheduler"):
        waiting(made)
        made.run(120)
    assert ": waiting no_free_quota=1" in caplog.text


def test_a_project_sees_nothing_of_another(made: World, api: Api) -> None:
    mine, queued = waiting(made)
    theirs = made.create("large", project="B", count=2)
    made.run(10)
    api.as_("manager", "member", "reader", project=OTHER, user="uc")
    seen = [
        api.get(path)
        for path in ("/v1/projects", "/v1/requests", "/v1/shares", "/v1/priorities", "/v1/usage",
                     "/v1/events", "/v1/quotas", f"/v1/requests/{theirs[0]}/explain")
    ]  # fmt: skip
    text = json.dumps(seen)
    for secret in (OWN, "alice", "anna", "ua", mine, queued, '"A"', "domain:default"):
        assert secret not in text, secret
    for path in (f"/v1/requests/{queued}", f"/v1/requests/{queued}/explain", "/v1/projects/A",
                 f"/v1/projects/{OWN}/users", f"/v1/requests?project_id={OWN}",
                 f"/v1/events?project_id={OWN}", f"/v1/quotas?project_id={OWN}"):  # fmt: skip
        status, hidden, _ = api.ask("GET", path)
        absent = path.replace(queued, rid(9)).replace(OWN, "nosuch").replace("/A", "/nosuch")
        _, missing, _ = api.ask("GET", absent)
        assert status == 404
        hidden, missing = json.dumps(hidden), json.dumps(missing)
        assert hidden.replace(queued, "X").replace(OWN, "X").replace("'A'", "'X'") == (
            missing.replace(rid(9), "X").replace("nosuch", "X")
        )


def test_usage_is_cut_at_both_ends_of_the_time_that_is_asked_for(made: World, api: Api) -> None:
    (server,) = made.create("medium")
    made.run(700)
    held_from, released_at = span_of(made, server)
    spans = {
        (100, 200): 100,  # within
        (-50, 100): 100,  # began before it was held
        (500, 900): (released_at - held_from).total_seconds() - 500,
        (650, 690): 0,
    }
    for (begin, end), expected_s in spans.items():
        asked = {
            name: (held_from + timedelta(seconds=offset)).isoformat().replace("+", "%2B")
            for name, offset in (("begin", begin), ("end", end))
        }
        rows = api.get(f"/v1/usage?begin={asked['begin']}&end={asked['end']}")["usage"]
        hours = sum(row["resource_hours"]["VCPU"] for row in rows)
        assert hours * 3600 == pytest.approx(2 * expected_s, abs=0.01)


def test_metrics_count_reasons_and_never_name_a_project(made: World, api: Api) -> None:
    waiting(made)
    text = api.app.test_client().get("/metrics", headers=api.headers).text
    assert 'synergy_waiting{reason="no_free_quota"} 1.0' in text
    assert 'synergy_requests{state="ACTIVE"} 1.0' in text
    assert 'synergy_quota{kind="shared_free",resource_class="VCPU"} 4.0' in text
    assert 'synergy_manager_status{manager="queue",status="RUNNING"} 1.0' in text
    for name in (OWN, "alice", '"A"'):
        assert name not in text


def test_without_keystone_everybody_is_an_administrator(made: World) -> None:
    api = Api(made, strategy="none")
    assert len(api.get("/v1/projects")["projects"]) == 2


def test_one_reads_while_a_manager_is_at_work(made: World, api: Api) -> None:
    """A list does not wait for the turn of the queue's manager, which a writer may hold for long."""
    waiting(made)
    supervisor = made.engine.supervisors["queue"]
    found: list[Any] = []
    reader = threading.Thread(
        target=lambda: found.append(api.ask("GET", "/v1/requests")[1]["requests"])
    )
    with supervisor._turn, made.store.writing() as writer:
        writer.requests.counts()  # from now on it holds the write lock
        reader.start()
        reader.join(10)
    assert len(found) == 1
    assert len(found[0]) == 2
