"""One bad item stops no other: whatever message, row or body cannot be handled is set aside, and
the others start."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from synergy.core.errors import Conflict, InvalidInput, UpstreamUnavailable
from synergy.core.lifecycle import IN_NOVA
from synergy.core.model import Resources, ServerStatus, State
from synergy.db.models import Base
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.nova import EmbeddedNova
from synergy.managers.scheduler import SchedulerManager
from synergy.ports import ChangeKind, ServerView
from synergy.sim.clock import VirtualClock
from synergy.sim.engine import temporary_store
from tests import messages
from tests.builders import Fragile, World, rid, spec, world
from tests.messages import ODD_VALUES, enveloped, paths, replaced, without
from tests.started import Started

SHARED: dict[str, Any] = {"default_quota": "shared", "ttl_s": 36_000}


def all_run(w: World) -> bool:
    return {
        name: supervisor.report.last_error
        for name, supervisor in w.engine.supervisors.items()
        if supervisor.report.status.value != "RUNNING"
    } == {}


def damage(w: World, statement: str, **values: Any) -> None:
    """Spoil the store as a hand or a disk would, whatever its constraints say."""
    with w.store._engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.execute(text(statement), values)
        connection.commit()
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    w.store._cache.forget()
    for supervisor in w.engine.supervisors.values():
        supervisor.manager.resync()


# --- messages -------------------------------------------------------------------------------------


def test_no_odd_message_stops_intake_or_a_round() -> None:
    build = messages.build_message()
    odd = [
        *(replaced(build, path, value) for path, value in product(paths(build), ODD_VALUES)),
        *(without(build, path) for path in paths(build)),
    ]
    with world() as w:
        w.add("A", **SHARED)
        w.add("B", **SHARED)
        w.run(1)
        for number, message in enumerate(odd):
            w.nova.publish(f"odd-{number}", enveloped(message))
        for number, raw in enumerate(
            (b"", b"\0\xff", b"[" * 100_000, b"null", b'{"oslo.message": 5}')
        ):
            w.nova.publish(f"raw-{number}" * 30, raw)
        ids = [*w.create("small", project="A"), *w.create("small", project="B")]
        w.run(30)
        assert w.states(ids) == ["ACTIVE", "ACTIVE"]
        assert all_run(w)
        assert len(w.command("queue", "quarantine")) > 300


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("Placement: Invalid query-string parameters"),
        UpstreamUnavailable("Placement answers 500"),
        Conflict("Placement: it changed"),
        RuntimeError("a defect"),
    ],
    ids=str,
)
def test_what_placement_refuses_for_one_demand_keeps_no_other_from_starting(
    error: Exception,
) -> None:
    with temporary_store() as store:
        w = Started(store, {})
        w.add("A", **SHARED)
        w.add("B", **SHARED)
        w.run(1)

        def as_placement(real: Any, demand: Resources, *more: Any) -> Any:
            if demand.get("VCPU") == 2:
                raise error
            return real(demand, *more)

        w.nova.answer("room_for", as_placement)
        bad, others = w.create("medium"), w.create(project="B", count=2)
        w.run(30)
        assert w.states(others) == ["ACTIVE"] * 2
        assert w.states(bad) == ["QUEUED"]
        w.nova.mend()
        w.run(300)
        assert w.states(bad) == ["ACTIVE"]


@pytest.mark.parametrize("method", ["gone", "token_from_trust"])
def test_a_user_about_whom_keystone_fails_keeps_nobody_elses_server_from_starting(
    method: str,
) -> None:
    clock, rng = VirtualClock(), Random(7)
    fragile = Fragile(EmbeddedIdentity(spec(), clock, rng))
    nova = EmbeddedNova(spec(), clock, fragile.cloud, rng)
    with world(clock=clock, cloud=(nova, fragile)) as w:
        w.engine.tolerant = True
        for project in ("A", "B"):
            w.add(project, **SHARED, suspended=True)
        w.run(1)
        ids = [*w.create(count=2), *w.create(project="B", count=2)]
        w.run(200)
        with w.store.reading() as uow:
            trusts = {one.user_id: one.trust_id for one in uow.trusts.all()}

        def as_keystone(real: Any, asked: Any) -> Any:
            if asked == trusts["ua"] or ("project-A", "ua") in tuple(asked):
                raise UpstreamUnavailable("Keystone answers 500: the directory of a domain is away")
            return real(asked)

        fragile.answer(method, as_keystone)
        w.run(120)  # longer than an answer of Keystone is good enough
        for project in ("A", "B"):
            w.command("project", "set", project=project, suspended=False)
        w.run(60)
        assert w.states(ids) == ["QUEUED"] * 2 + ["ACTIVE"] * 2
        assert "the directory of a domain is away" in w.get(ids[0]).why
        w.run(3600)
        assert w.states(ids[:2]) == ["QUEUED"] * 2  # ever so long: nobody has to release them
        fragile.mend()
        w.run(200)
        assert w.states(ids) == ["ACTIVE"] * 4


def test_the_only_demand_of_a_round_that_placement_cannot_answer_is_passed_over() -> None:
    """In a full cloud a round asks about the head of the queue alone."""
    with temporary_store() as store:
        w = Started(store, {})
        w.add("A", **SHARED)
        w.add("B", **SHARED)
        w.run(1)
        full = [*w.create("large", project="B"), *w.create("medium", project="B")]
        w.run(60)
        assert w.states(full) == ["ACTIVE"] * 2

        def as_placement(real: Any, demand: Resources, *more: Any) -> Any:
            if demand.get("VCPU") == 2:
                raise UpstreamUnavailable("Placement answers 500")
            return real(demand, *more)

        w.nova.answer("room_for", as_placement)
        bad = w.create("medium")
        w.run(5)
        others = w.create("small", project="B")
        w.run(600)
        assert w.states(bad + others) == ["QUEUED", "ACTIVE"]


def test_the_only_user_of_a_round_about_whom_keystone_fails_is_passed_over() -> None:
    clock, rng = VirtualClock(), Random(7)
    fragile = Fragile(EmbeddedIdentity(spec(), clock, rng))
    nova = EmbeddedNova(spec(), clock, fragile.cloud, rng)
    with world(clock=clock, cloud=(nova, fragile)) as w:
        for project in ("A", "B"):
            w.add(project, **SHARED)
        w.run(1)
        full = [*w.create("large", project="B"), *w.create("medium", project="B")]
        w.run(60)
        assert w.states(full) == ["ACTIVE"] * 2

        def as_keystone(real: Any, asked: Any) -> Any:
            if ("project-A", "ua") in tuple(asked):
                raise UpstreamUnavailable("the directory of a domain is away")
            return real(asked)

        fragile.answer("gone", as_keystone)
        w.run(120)  # longer than an answer of Keystone is good enough
        bad = w.create("medium")
        w.run(5)
        others = w.create("medium", project="B")
        w.run(600)
        assert w.states(bad + others) == ["QUEUED", "ACTIVE"]


def test_what_nova_cannot_show_is_not_built_a_second_time() -> None:
    """An old database was restored, and the cell of a server that was built since is down."""
    with temporary_store() as store:
        w = Started(store, {})
        w.add("A", **SHARED, suspended=True)
        w.run(1)
        built, other = w.create(count=2)
        w.run(30)
        view = w.nova.show_server(built)
        w.nova.fleet.put(replace(view, status=ServerStatus.ACTIVE, host="node1"))

        def as_nova(real: Any, asked: Any) -> Any:
            found = real(asked)
            return found | {one: ServerView.unknown(one) for one in found if one == built}

        w.nova.answer("servers", as_nova)
        w.nova.answer("servers_of", lambda real, *what, **more: [
            one if one.server_id != built else ServerView.unknown(built, project_id=one.project_id)
            for one in real(*what, **more)
        ])  # fmt: skip
        w.command("project", "set", project="A", suspended=False)
        w.run(600)
        assert w.nova.orphans == []
        assert w.states([built, other]) == ["QUEUED", "ACTIVE"]
        assert "may have built it already" in w.get(built).why
        w.nova.mend()
        w.run(600)
        assert w.nova.orphans == []
        assert w.states([built]) == ["ACTIVE"]


@pytest.mark.parametrize("spell", [str.upper, lambda one: one.replace("-", ""), "{{{}}}".format])
def test_a_uuid_in_another_spelling_is_the_same_request(
    spell: Callable[[str], str],
) -> None:
    server = str(UUID(int=0xABCDEF0123456789ABCDEF0123456789))
    with world() as w:
        w.add("A", **SHARED)
        w.command("project", "set", project="A", suspended=True)
        w.run(1)
        w.nova.publish("m1", enveloped(messages.build_message([spell(server)])))
        w.nova.publish("m2", enveloped(messages.build_message([server])))
        w.run(1)
        (shown,) = w.command("queue", "list")
        assert shown["id"] == server
        assert w.command("queue", "show", request_id=spell(server))["id"] == server
        assert w.command("queue", "list", marker=spell(server)) == []
        assert len(w.command("queue", "events", request_id=spell(server))) == 1


def test_what_a_database_refuses_is_set_aside_with_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    spec = ("args", "request_specs", 0, "nova_object.data", "flavor", "nova_object.data")
    many = {f"resources:CUSTOM_{'X' * 200}_{n:03d}": "1" for n in range(60)}
    with world() as w:
        w.add("A", **SHARED)
        w.run(1)
        long = replaced(messages.build_message(), (*spec, "extra_specs"), many)
        w.nova.publish("long", enveloped(long))
        w.nova.publish("bad" * 100, b"nonsense")
        ids = w.create("small")
        w.run(10)
        assert w.states(ids) == ["ACTIVE"]
        told = [r.getMessage() for r in caplog.records if "QUARANTINED" in r.getMessage()]
        assert len(told) == 1
        assert "not an envelope of oslo.messaging" in told[0]


# --- changes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "kind"), list(product(State, ChangeKind)))
def test_a_change_in_any_state_is_refused_or_passed_on_and_stops_nobody(
    state: State, kind: ChangeKind
) -> None:
    with world() as w:
        for project in ("A", "B"):
            w.add(project, **SHARED)
        w.run(2)
        (one,) = w.create("small", project="A")
        w.run(10)
        damage(w, "UPDATE requests SET state = :state WHERE request_id = :id",
               state=state.value, id=one)  # fmt: skip
        if kind is ChangeKind.RESIZE:
            w.nova.resize_server(one, "medium")
        else:
            w.nova.unshelve_server(one)
        ids = w.create("small", project="B", count=3)
        w.run(3)
        scheduler = w.engine.supervisors["scheduler"].manager
        assert isinstance(scheduler, SchedulerManager)
        counts = scheduler.counts
        assert counts["changes_passed"] + counts["changes_refused"] == 1
        assert counts["changes_set_aside"] == 0
        w.run(30)
        assert w.states(ids) == ["ACTIVE"] * 3
        assert all_run(w)


def test_a_resize_of_a_server_that_is_said_to_be_shelved_is_accounted() -> None:
    with world() as w:
        w.add("A", **SHARED)
        w.run(2)
        (one,) = w.create("small")
        w.run(10)
        damage(
            w,
            "UPDATE requests SET state = 'PARKED', released_at = changed_at WHERE request_id = :id",
            id=one,
        )
        w.nova.resize_server(one, "medium")
        w.run(1)
        found = w.get(one)
        assert (found.state, found.demand["VCPU"]) == (State.ACTIVE, 2)
        assert State.PARKED in IN_NOVA


# --- bodies ---------------------------------------------------------------------------------------


def test_the_cancellation_of_a_request_whose_body_no_key_opens_stops_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with world() as w:
        w.add("A", **SHARED)
        w.add("B", **SHARED)
        w.run(1)
        w.command("project", "set", project="A", suspended=True)
        one, other = w.create("small", count=2)
        w.run(5)
        damage(w, "UPDATE request_bodies SET sealed = X'00' WHERE request_id = :id", id=one)
        for request_id in (one, other):
            w.command("queue", "cancel", request_id=request_id)
        ids = w.create("small", project="B", count=3)
        w.run(30)
        assert w.states(ids) == ["ACTIVE"] * 3
        assert w.nova.show_server(other).status.value == "ERROR"
        assert all_run(w)
    assert sum("request_bodies is damaged" in r.getMessage() for r in caplog.records) == 1


def test_a_request_whose_body_no_key_opens_is_quarantined_when_its_turn_comes() -> None:
    with world() as w:
        w.add("A", **SHARED)
        w.run(1)
        w.command("project", "set", project="A", suspended=True)
        one, other = w.create("small", count=2)
        w.run(5)
        damage(w, "UPDATE request_bodies SET sealed = X'00' WHERE request_id = :id", id=one)
        w.command("project", "set", project="A", suspended=False)
        w.run(30)
        assert w.states([one, other]) == ["QUARANTINED", "ACTIVE"]


# --- rows -----------------------------------------------------------------------------------------

LARGEST = "9223372036854775807"
WRONG = (
    "'XX'", "X'FF00'", "NULL", "-5", LARGEST, "'{'", "''", "'[1]'", "1.5",
    "'{\"VCPU\": \"x\"}'", "'{\"VCPU\": -1}'",
)  # fmt: skip
COLUMNS = [
    (table.name, column.name) for table in Base.metadata.sorted_tables for column in table.columns
]
OFTEN = [
    ("requests", "state"), ("requests", "request_id"), ("requests", "class_id"),
    ("requests", "queued_at"), ("request_classes", "demand"), ("request_classes", "constraints"),
    ("projects", "default_quota"), ("projects", "private"), ("associations", "project_id"),
    ("ledger", "event"), ("usage_days", "held_us"), ("usage_series", "quota"),
]  # fmt: skip
VICTIMS = {  # which rows are spoilt: never those of project B, whose servers have to start
    "domains": "domain_id <> 'd2'",
    "projects": "name <> 'B'",
    "associations": "project_id <> 'project-B'",
    "request_classes": "association_id NOT IN "
    "(SELECT association_id FROM associations WHERE project_id = 'project-B')",
    "usage_amounts": "association_id NOT IN "
    "(SELECT association_id FROM associations WHERE project_id = 'project-B')",
}


LATE_IN_THE_DAY = datetime(2026, 1, 1, 23, 59, 30, tzinfo=UTC)  # soon the day is summed up


def spoil_and_watch(table: str, column: str) -> None:
    clock = VirtualClock(LATE_IN_THE_DAY)
    with world(settings={"fairshare": {"rate_s": 5}}, clock=clock) as w:
        for project in ("A", "B"):
            w.add(project, **SHARED)
        w.run(1)
        w.create("small", project="A", count=2)
        w.run(10)
        w.command("project", "set", project="A", suspended=True)
        for nice in range(1, 4):
            w.create("small", project="A", synergy__nice=str(nice))
        w.run(90)
        spoilt = 0
        names = [one.name for one in Base.metadata.tables[table].primary_key]
        counted, key = names == [column], ", ".join(names)
        for turn, value in enumerate(WRONG):
            if counted and value == LARGEST:
                continue  # after which SQLite gives numbers at random
            rows = f"FROM {table} WHERE {VICTIMS.get(table, '1')}"
            try:  # a different row for each value, as far as there are as many
                damage(
                    w, f"UPDATE {table} SET {column} = {value} WHERE ({key}) = (SELECT {key} {rows}"
                    f" ORDER BY {key} LIMIT 1 OFFSET {turn} % max(1, (SELECT count(*) {rows})))",
                )  # fmt: skip
            except Exception:
                continue  # this database does not take the value
            spoilt += 1
        assert spoilt
        ids = w.create("small", project="B", count=2)
        w.run(400)
        assert w.states(ids) == ["ACTIVE"] * 2
        assert all_run(w)
        lists_are_served(w)


def lists_are_served(w: World) -> None:
    for manager, name in (
        ("queue", "list"), ("queue", "events"), ("queue", "counts"), ("queue", "quarantine"),
        ("project", "list"), ("fairshare", "shares"), ("scheduler", "priorities"),
        ("scheduler", "status"), ("quota", "show"), ("keystone", "trusts"), ("expiry", "show"),
    ):  # fmt: skip
        w.command(manager, name)
    for period in ("none", "hour", "day", "month"):
        for grouped in (["project", "quota"], ["user", "project"], ["quota"]):
            w.command("fairshare", "usage", period=period, group_by=grouped,
                      begin="2025-12-31T00:00:00Z")  # fmt: skip


@pytest.mark.parametrize(("table", "column"), OFTEN)
def test_a_damaged_row_is_set_aside_and_the_others_are_served(table: str, column: str) -> None:
    spoil_and_watch(table, column)


@pytest.mark.slow
@pytest.mark.parametrize(("table", "column"), [one for one in COLUMNS if one not in OFTEN])
def test_a_damaged_row_of_any_table_is_set_aside_and_the_others_are_served(
    table: str, column: str
) -> None:
    spoil_and_watch(table, column)


def test_a_server_of_a_project_whose_row_is_damaged_is_kept_and_not_let_past_its_quota() -> None:
    with world() as w:
        w.add("A", **SHARED)
        w.run(1)
        damage(w, "UPDATE projects SET default_quota = 'zz' WHERE name = 'A'")
        (one,) = w.create("small", project="A")
        w.run(30)
        assert w.nova.show_server(one).status.value == "SCHEDULING"
        (kept,) = w.command("queue", "quarantine")
        assert "default_quota is 'zz'" in kept["why"]
        assert rid(1) != one
