"""Every route asked by everybody, compared with the table in the documentation."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from synergy.api.app import ROUTES, VISIBILITY
from synergy.api.routing import Route
from synergy.core.declared.answers.parts import FOREIGN_TEXT, OPERATORS_ONLY
from synergy.managers.forecast import ForecastManager
from synergy.sim.engine import Plugins
from tests.builders import World, world
from tests.served import Api

TABLE = Path(__file__).parents[2] / "doc" / "source" / "access.csv"
OWN = "project-A"
WHO: dict[str, Any] = {
    "admin": lambda api: api.as_("admin", "manager", "member", "reader", project="admin"),
    "service": lambda api: api.as_("service", project="service"),
    "manager": lambda api: api.as_("manager", "member", "reader", project=OWN, user="boss"),
    "member, own": lambda api: api.as_("member", "reader", project=OWN, user="ua"),
    "member, other's": lambda api: api.as_("member", "reader", project=OWN, user="ub"),
    "reader": lambda api: api.as_("reader", project=OWN, user="ua"),
    "other project": lambda api: api.as_("manager", "member", "reader", project="project-B"),
    "no token": lambda api: api.as_nobody(),
}
FIELDS: dict[str, Any] = {"fields for admin and service only": OPERATORS_ONLY,
          "fields reworded for a project": FOREIGN_TEXT}  # fmt: skip
BODIES: dict[str, Any] = {
    "add_project": {"project": "C"},
    "set_project": {"raw_shares": 2},
    "set_user": {"raw_shares": 2},
    "extend_request": {"by_s": 60},
    "simulate": {"project": "A", "flavor": "small"},
    "what_if": {"policy": {"discipline": "fifo"}},
}


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    with world(plugins=Plugins(managers=(ForecastManager,))) as found:
        found.add(default_quota="shared", extend_policy="always", max_extensions=None)
        found.add("B", default_quota="shared")
        found.run(1)
        yield found


def prepared(made: World, route: Route) -> str:
    """Make the things that a call of the route is about, and return its path."""
    managed = {one["name"] for one in made.command("project", "list")}
    if route.name == "add_project" and "C" in managed:
        made.command("project", "remove", project="C")
    manager = "queue" if "{command}" in route.path else "expiry"
    path = route.path.replace("{manager}", manager).replace("{command}", "counts")
    path = path.replace("{user}", "alice")
    if route.name == "remove_project":
        if "C" not in managed:
            made.command("project", "add", project="C")
        return path.replace("{project}", "C")
    if route.name == "outlook":
        path += "?project_id=project-A"
    if "{request}" in path:
        for one in made.command("queue", "list", state=["QUEUED", "HELD"]):
            made.command("queue", "cancel", request_id=one["id"])
        for one in made.command("queue", "list", state=["ACTIVE", "BUILDING"]):
            made.nova.delete_server_as_user(one["id"])
        made.command("project", "set", project="A", suspended=route.name != "extend_request")
        (server,) = made.create()
        made.run(10)
        if route.name == "release_request":
            made.command("queue", "hold", request_id=server, by="user")
        path = path.replace("{request}", server)
    return path.replace("{project}", "A")


def read_table() -> dict[str, dict[str, str]]:
    with TABLE.open(newline="") as file:
        return {row.pop("route"): row for row in csv.DictReader(file)}


def test_the_table_has_every_route_and_everybody() -> None:
    assert list(read_table()) == [f"{route.method} {route.path}" for route in ROUTES]
    assert all(list(row) == [*WHO, *FIELDS] for row in read_table().values())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_the_table_names_the_fields_that_a_project_does_not_see(route: Route) -> None:
    marked = list(VISIBILITY.fields(route.answer)) if route.rule is not None else []
    row = read_table()[f"{route.method} {route.path}"]
    for column, mark in FIELDS.items():
        expected = " ".join(place for place, found in marked if found == mark)
        assert row[column] == expected


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_everybody_gets_what_the_table_says(made: World, route: Route) -> None:
    api = Api(made)
    found = {}
    for who, become in WHO.items():
        path = prepared(made, route)
        status, _ = become(api).raw(route.method, path, json=BODIES.get(route.name))
        found[who] = str(status)
    row = read_table()[f"{route.method} {route.path}"]
    assert found == {who: row[who] for who in WHO}
