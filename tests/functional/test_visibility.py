"""Nothing of the cloud or of another project is in any answer that a project gets."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from werkzeug.test import Client

from synergy.api.app import ROUTES, VISIBILITY
from synergy.api.routing import Route
from synergy.api.visibility import public_why
from synergy.core.declared.answers.parts import FOREIGN_TEXT, OPERATORS_ONLY
from synergy.core.errors import Conflict, UpstreamUnavailable
from synergy.core.lifecycle import Event
from synergy.core.model import Resources, State
from synergy.drivers.embedded.spec import HostSpec
from tests.builders import World, project_spec, rid, spec, world
from tests.functional.test_access import BODIES
from tests.served import Api

SQL = "SELECT secret_column FROM secret_table"
SECRETS = (
    "secret-host", "secretproject", "secret-project-id", "secretuser", "secret-user-id",
    "secretdomain", "secret_column", "secret_table", "/secret/path", "SELECT ",
)  # fmt: skip
OWN = "project-A"


@pytest.fixture
def made() -> Iterator[World]:
    hosts = tuple(
        HostSpec(name=f"secret-host-{n}", inventory=Resources.of(VCPU=8, MEMORY_MB=8192))
        for n in (1, 2)
    )
    projects = (
        project_spec("A", users={"ua": "alice"}),
        project_spec(
            "secretproject", project_id="secret-project-id", users={"secret-user-id": "secretuser"},
            domain_id="secretdomain-id", domain_name="secretdomain",
        ),
        project_spec("A", project_id="secret-project-id-2", users={"u3": "secretuser3"},
                     domain_id="secretdomain-id", domain_name="secretdomain"),
    )  # fmt: skip
    with world(spec(hosts=hosts, projects=projects)) as found:
        found.engine.tolerant = True
        for project in ("project-A", "secret-project-id", "secret-project-id-2"):
            found.add(project, default_quota="shared", ttl_s=600)
        found.run(1)
        yield found


def lived(made: World) -> tuple[list[str], list[str]]:
    """Let requests of both projects fail, run, wait and end; return ids of ours and of theirs."""
    made.nova.faults.reschedule = 1
    made.nova.faults.hand_over = 1
    ours = made.create("medium", project=OWN, user="alice", count=3)
    theirs = made.create("medium", project="secret-project-id", user="secretuser", count=4)
    made.run(30)
    made.nova.faults.build_error = 2
    ours += made.create("medium", project=OWN, user="alice", count=4)
    made.run(400)
    ours += made.create("large", project=OWN, user="alice", count=2)
    made.run(10)
    return ours, theirs


def paths(route: Route, ours: list[str]) -> list[str]:
    """Return every path of a route that a reader of our project may think of."""
    path = route.path.replace("{manager}", "queue").replace("{command}", "counts")
    found = [path.replace("{project}", name).replace("{user}", "alice")
             for name in ("A", OWN, "secret-project-id", "secretproject")]  # fmt: skip
    return sorted({p.replace("{request}", one) for p in found for one in ours})


def told(api: Api, method: str, path: str, body: dict[str, int | str] | None = None) -> str:
    """Return an answer's headers and body, without what the caller said himself."""
    answer = api.app.test_client().open(path, method=method, json=body, headers=api.headers)
    text = f"{answer.headers}\n{answer.get_data(as_text=True)}"
    for mine in ("secret-project-id", "secretproject"):
        if mine in path:
            text = text.replace(f"'{mine}'", "")
    return text


@pytest.mark.parametrize("roles", [("reader",), ("member", "reader"), ("manager", "reader")])
def test_no_secret_is_in_any_answer_to_a_project(made: World, roles: tuple[str, ...]) -> None:
    ours, theirs = lived(made)
    admin = Api(made).as_admin()
    whole = json.dumps(
        [admin.get(p) for p in ("/v1/events?limit=1000", "/v1/requests", "/v1/quotas")]
    )
    assert all(secret in whole for secret in ("secret-host", "secret-project-id"))  # they are there
    api = Api(made).as_(*roles, project=OWN, user="ua")
    for route in ROUTES:
        for path in paths(route, ours + theirs[:1]):
            text = told(api, route.method, path, BODIES.get(route.name))
            for secret in SECRETS:
                assert secret not in text, (route.name, path, secret)


def test_a_reader_is_told_why_in_our_words(made: World) -> None:
    ours, _ = lived(made)
    api, admin = Api(made).as_("reader", project=OWN, user="ua"), Api(made).as_admin()
    seen, whole = (
        {one["number"]: one for one in who.get(f"/v1/events?project_id={OWN}&limit=1000")["events"]}
        for who in (api, admin)
    )
    assert list(seen) == list(whole)
    events = {one["event"]: one["why"] for one in seen.values()}
    assert events["ATTEMPT_FAILED"] == "the build failed on a host"
    assert events["BUILD_FAILED"] == "Nova gave the build up: the server's fault says why"
    assert events["HAND_OVER_FAILED"] == "it could not be handed over, and will be tried again"
    assert any("secret-host" in one["why"] for one in whole.values())
    failed = next(one for one in ours if made.states([one]) == ["ERROR"])
    shown = api.get(f"/v1/requests/{failed}/explain")["explanation"]["text"]
    assert shown == (
        "It does not wait, it is ERROR: Nova gave the build up: the server's fault says why."
    )


@pytest.mark.parametrize("event", list(Event))
def test_foreign_words_are_never_shown(event: Event) -> None:
    """What a later event is not said to word itself is not shown."""
    whose = public_why("node1 broke", event=event)
    assert whose == "node1 broke" or "node1" not in whose
    if event in (Event.ATTEMPT_FAILED, Event.BUILD_FAILED, Event.UNREADABLE, Event.GAVE_UP):
        assert "node1" not in whose


@pytest.mark.parametrize("state", list(State))
def test_a_state_without_its_event_shows_no_foreign_words(state: State) -> None:
    shown = public_why("node1 broke", state=state)
    assert ("node1" in shown) == (
        state in (State.HELD, State.REJECTED, State.CANCELLED, State.EXPIRING)
    )


def test_a_field_for_operators_is_empty_for_a_project_whatever_the_handler_says(
    made: World,
) -> None:
    """Walk the schema of every answer: what is marked cannot be shown."""
    for route in ROUTES:
        for place, mark in VISIBILITY.fields(route.answer):
            if mark != OPERATORS_ONLY:
                continue
            value: Any = "secret"
            for name in reversed(place.split(".")):
                value = {name.removesuffix("[]"): [value] if name.endswith("[]") else value}
            assert "secret" not in json.dumps(VISIBILITY.to_project(route.answer, value)), place
    marked = {m for route in ROUTES for _, m in VISIBILITY.fields(route.answer)}
    assert {OPERATORS_ONLY, FOREIGN_TEXT} <= marked


def test_a_name_is_looked_up_among_the_projects_that_one_may_see(made: World) -> None:
    """Two projects are named A; who sees one of them is not told of the other."""
    api = Api(made).as_("member", "reader", project=OWN, user="ua")
    assert api.get("/v1/projects/A")["project"]["id"] == OWN
    asked = {"project": "A", "flavor": "small"}
    assert api.ask("POST", "/v1/simulate", asked)[0] in (200, 503)
    status, found, _ = Api(made).as_admin().ask("GET", "/v1/projects/A")
    assert status == 400
    assert "secret-project-id-2" in found["errors"][0]["detail"]
    assert Api(made).as_admin().get(f"/v1/projects/{OWN}")["project"]["name"] == "A"


def test_a_marker_tells_nothing_of_a_request_of_others(made: World) -> None:
    ours, theirs = lived(made)
    api = Api(made).as_("reader", project=OWN, user="ua")
    for noun in ("requests", "priorities"):
        answers = [
            json.dumps(api.ask("GET", f"/v1/{noun}?marker={one}")[:2]).replace(one, "X")
            for one in (theirs[0], rid(9))
        ]
        assert answers[0] == answers[1]
        assert api.ask("GET", f"/v1/{noun}?marker={ours[0]}")[0] == 200


@pytest.mark.parametrize(
    "error",
    [UpstreamUnavailable(f"database: {SQL} at /secret/path"), RuntimeError(SQL), Conflict("mine")],
)
def test_an_error_shows_nothing_of_how_the_service_is_built(
    made: World, error: RuntimeError | Conflict | UpstreamUnavailable
) -> None:
    api = Api(made)
    services: Any = api.services

    def broken(name: str, command: str, arguments: dict[str, str]) -> None:
        raise error

    services.execute = broken
    for become in (api.as_nobody, lambda: api.as_("reader", project=OWN)):
        become()
        for route in ROUTES:
            path = re.sub(r"{\w+}", quote("x"), route.path)
            text = told(api, route.method, path, BODIES.get(route.name))
            for secret in (*SECRETS, "Traceback"):
                assert secret not in text, (route.name, secret)


def test_the_database_says_no_statement() -> None:
    from sqlalchemy import create_engine, text

    from synergy.db.engine import translated

    engine = create_engine("sqlite://")
    with pytest.raises(UpstreamUnavailable) as failed, translated(), engine.connect() as connection:
        connection.execute(text("SELECT secret_column FROM secret_table WHERE a = :b"), {"b": 1})
    assert str(failed.value) == "database: no such table: secret_table"
    engine.dispose()


def test_costly_questions_are_paced_by_caller_and_others_are_not(made: World) -> None:
    lived(made)
    api = Api(made, costly_per_minute=3, monotonic_s=lambda: 0.0).as_(
        "reader", project=OWN, user="ua"
    )
    for _ in range(3):
        api.get("/v1/usage")
    for path in ("/v1/usage", "/v1/events"):
        status, found, headers = api.ask("GET", path)
        assert (status, found["errors"][0]["code"]) == (429, "too_many_requests")
        assert headers["Retry-After"] == "20"
    assert api.get("/v1/requests")["requests"]
    api.as_("reader", project=OWN, user="ub").get("/v1/usage")


def test_a_caller_without_keystone_must_be_this_machine(made: World) -> None:
    api = Api(made, strategy="none")
    client = Client(api.whole())

    def asked(address: str = "127.0.0.1", **headers: Any) -> int:
        environ = {"REMOTE_ADDR": address}
        answer = client.get("/v1/projects", headers=headers, environ_overrides=environ)
        return answer.status_code

    assert asked(Host="localhost") == 200
    assert asked(Host="evil.example") == 403
    assert asked(Host="localhost", Origin="http://evil.example") == 403
    assert asked("10.1.2.3", Host="localhost") == 403
    assert asked("10.1.2.3", Host="localhost", X_Forwarded_For="127.0.0.1") == 403
