"""Whoever asks for a request is answered wherever it is kept, or told in one error that it is not."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from synergy.core.errors import NotFound
from synergy.core.lifecycle import Step
from synergy.core.model import Request
from synergy.db.models import ProjectRow
from synergy.managers.archive import ArchiveManager
from synergy.managers.fairshare.rollups import count_only
from synergy.managers.supervision.supervisor import Supervisor
from synergy.sim.engine import temporary_store
from tests.builders import world
from tests.served import Api
from tests.started import Started

UNKNOWN = "11111111-2222-4333-8444-555555555555"


class WithServers(Started):
    """A world and the servers that were created in it."""

    ids: list[str]


@pytest.fixture
def made() -> Iterator[WithServers]:
    with temporary_store() as store:
        one = WithServers(store)
        one.ids = one.running(3)
        one.nova.delete_server(one.ids[0])
        one.run(60)
        one.create()  # the newest entry of the ledger is never archived
        one.run(20)
        yield one


def archive(made: WithServers, request_id: str) -> tuple[Request, list[Step]]:
    with made.store.reading() as uow:
        before = uow.requests.get(request_id), uow.requests.steps(request_id)
    count_only(made.store)
    count_only(made.store)
    with made.store.writing() as uow:
        assert uow.archive.move("request", [request_id]) == 1
        uow.commit()
    return before


def test_an_archived_request_is_shown_as_it_was(made: WithServers) -> None:
    request_id = made.ids[0]
    api = Api(made).as_admin()
    shown = api.get(f"/v1/requests/{request_id}")["request"]
    events = api.get(f"/v1/events?request_id={request_id}")["events"]
    explained = api.get(f"/v1/requests/{request_id}/explain")["explanation"]
    assert shown["archived"] is False
    request, steps = archive(made, request_id)
    with made.store.reading() as uow:
        found, entries = uow.archive.request(request_id)
        assert found == request
        assert [entry.step for entry in entries] == steps
        assert uow.requests.known([request_id]) == set()
    assert api.get(f"/v1/requests/{request_id}")["request"] == {**shown, "archived": True}
    assert api.get(f"/v1/events?request_id={request_id}")["events"] == events
    assert len(events) > 4
    marked = f"/v1/events?request_id={request_id}&limit=2&marker={events[0]['number']}"
    assert api.get(marked)["events"] == events[1:3]
    one = api.get(f"/v1/events?request_id={request_id}&event=BOOTED")["events"]
    assert [entry["event"] for entry in one] == ["BOOTED"]
    told = api.get(f"/v1/requests/{request_id}/explain")["explanation"]
    assert (told["state"], told["text"]) == ("DELETED", explained["text"])
    for action in ("hold", "release", "cancel"):
        status, answer, _ = api.ask("POST", f"/v1/requests/{request_id}/{action}")
        assert status == 409
        assert answer["errors"][0]["detail"] == f"request {request_id} is DELETED, and archived"


def test_an_archived_request_is_shown_to_its_project_only(made: WithServers) -> None:
    request_id = made.ids[0]
    archive(made, request_id)
    own = Api(made).as_("reader", project="project-A")
    assert own.get(f"/v1/requests/{request_id}")["request"]["archived"] is True
    assert own.get(f"/v1/events?request_id={request_id}")["events"]
    other = Api(made).as_("reader", project="project-B")
    for path in ("/v1/requests/{}", "/v1/requests/{}/explain", "/v1/events?request_id={}"):
        told = {}
        for asked in (request_id, made.ids[1], UNKNOWN):  # archived, running, never there
            status, answer, _ = other.ask("GET", path.format(asked))
            told[asked] = status, answer["errors"][0]["detail"].replace(asked, "X")
        assert set(told.values()) == {(404, "request 'X' does not exist")}


@pytest.mark.parametrize("asked", [UNKNOWN, "nonsense", "x" * 64])
def test_events_of_a_request_that_nobody_knows_are_an_error_and_no_empty_list(
    made: WithServers, asked: str
) -> None:
    status, answer, _ = Api(made).as_admin().ask("GET", f"/v1/events?request_id={asked}")
    assert (status, answer["errors"][0]["detail"]) == (404, f"request {asked!r} does not exist")
    with pytest.raises(NotFound):
        made.command("queue", "events", request_id=asked)


def test_a_page_behind_the_last_event_of_a_request_is_empty(made: WithServers) -> None:
    found = Api(made).as_admin().get(f"/v1/events?request_id={made.ids[1]}&marker=99999")
    assert found == {"events": [], "next": None}


def test_a_damaged_row_is_counted_by_its_table() -> None:
    with world() as made:
        made.add("A")
        conf: Any = SimpleNamespace(
            quarantine_max=5,
            keep_days=0,
            autostart=True,
            stall_s=300.0,
            rate_s=60.0,
            debounce_s=0.0,
        )
        manager = ArchiveManager(conf, made.engine.clock, made.store, conf)
        archived = Supervisor(manager, conf, made.engine.clock)
        archived.setup(autostart=True)
        api = Api(made).as_admin()
        made.engine.supervisors["archive"] = archived
        assert "synergy_damaged_rows{" not in api.raw_text("/metrics")
        with made.store._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE projects SET ttl_s = 'soon'")
        with made.store.reading() as uow:
            assert uow.projects.all() == []
        table = ProjectRow.__tablename__
        assert f'synergy_damaged_rows{{table="{table}"}} 1.0' in api.raw_text("/metrics")
