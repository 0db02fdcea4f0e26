"""Whoever is refused finds a stable code: in the server's fault, in the ledger and in answers."""

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synergy.core.reasons import Reason
from tests.builders import World, spec, world

ROOT = Path(__file__).parents[2] / "synergy"
SHARED: dict[str, Any] = {"default_quota": "shared"}


def never_fits(one: World) -> list[str]:
    return one.create("giant")


def invalid_request(one: World) -> list[str]:
    return one.create(synergy__ttl_s="soon")


def user_waiting_limit(one: World) -> list[str]:
    one.command("project", "set", project="A", max_waiting_per_user=0)
    return one.create()


def project_waiting_limit(one: World) -> list[str]:
    one.command("project", "set", project="A", max_waiting=0)
    return one.create()


def cancelled(one: World) -> list[str]:
    one.command("project", "set", project="A", suspended=True)
    ids = one.create()
    one.run(1)
    one.command("queue", "cancel", request_id=ids[0], why="no longer needed")
    return ids


def owner_gone(one: World) -> list[str]:
    one.command("project", "set", project="A", suspended=True)
    ids = one.create()
    one.run(1)
    one.engine.identity.remove_user("ua")
    one.run(130)
    return ids


def no_free_quota(one: World) -> list[str]:
    settings: dict[str, Any] = {
        "default_quota": "private",
        "on_private_full": "reject",
        "private": {"VCPU": 1, "MEMORY_MB": 256},
    }
    one.command("project", "set", project="A", **settings)
    one.run(1)
    ids = one.create(count=2)
    return ids[1:]


WAYS = [
    never_fits, invalid_request, user_waiting_limit, project_waiting_limit, cancelled, owner_gone,
    no_free_quota,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_refusal_has_one_code_wherever_it_is_read(way: Callable[[World], list[str]]) -> None:
    with world(spec()) as one:
        one.add(**SHARED)
        one.run(1)
        (server,) = way(one)
        one.run(5)
        code = way.__name__
        assert one.get(server).reason is Reason[code.upper()]
        assert f"{code}: " in one.nova.show_server(server).fault
        shown = one.command("queue", "show", request_id=server)
        assert (shown["reason"], shown["history"][-1]["reason"]) == (code, code)
        assert one.command("scheduler", "explain", request_id=server)["reason"] == code


def test_a_waiting_server_that_its_user_deleted_has_that_reason() -> None:
    with world(settings={"nova": {"sweep_s": 5.0}}) as one:
        one.add(**SHARED, suspended=True)
        one.run(1)
        (server,) = one.create()
        one.run(1)
        one.nova.delete_server_as_user(server)
        one.run(20)
        assert one.get(server).reason is Reason.DELETED_BY_USER


@pytest.mark.parametrize("fault", ["no_valid_host", "build_error"])
def test_a_build_that_nova_gave_up_has_that_reason(fault: str) -> None:
    with world() as one:
        one.add(**SHARED)
        one.run(1)
        setattr(one.nova.faults, fault, 1)
        (server,) = one.create()
        one.run(60)
        assert one.get(server).reason is Reason[fault.upper()]


def test_an_end_of_a_lifetime_has_that_reason() -> None:
    with world() as one:
        one.add(**SHARED, ttl_s=60)
        one.run(1)
        (server,) = one.create()
        one.run(200)
        history = one.command("queue", "show", request_id=server)["history"]
        assert ("TTL_REACHED", "lifetime_over") in [(h["event"], h["reason"]) for h in history]


def without_reason(source: str) -> list[Any]:
    """The numbers of the lines that refuse or cancel a request and give no reason."""
    found: list[Any] = []
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "transition"):
            continue
        event = ast.unparse(node.args[1]) if len(node.args) > 1 else ""
        named = {keyword.arg for keyword in node.keywords}
        if event in ("Event.REFUSED", "Event.CANCELLED") and "reason" not in named:
            found.append(node.lineno)
    return found


def test_nothing_is_refused_without_a_code() -> None:
    lines = {str(path): without_reason(path.read_text()) for path in ROOT.rglob("*.py")}
    assert {path: found for path, found in lines.items() if found} == {}
    assert without_reason("transition(one, Event.REFUSED, now, why=why)") == [1]
