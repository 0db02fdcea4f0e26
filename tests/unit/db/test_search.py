"""Every page of requests and of the ledger is right, and read by an index."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from sqlite3 import Cursor
from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy import event as listening
from sqlalchemy.dialects.sqlite.base import SQLiteExecutionContext

from synergy.core.declared.filters import REQUEST_FILTERS
from synergy.core.lifecycle import Event
from synergy.core.model import QuotaKind, Request, State
from synergy.db.search import SORTED_BY, Filters, Page, RequestPages
from synergy.db.store import SqlReading, SqlStore
from synergy.managers.fairshare import rollups
from synergy.sim.engine import temporary_store
from tests.builders import NOON
from tests.unit.db.histories import Histories
from tests.unit.managers.fairshare.test_rollups import TARIFF

FILTERS: dict[str, Any] = {
    "states": (State.QUEUED, State.DELETED),
    "project_id": "p",
    "user_id": "ua",
    "quota": QuotaKind.SHARED,
    "flavor": "f1",
    "name": "s3",
    "batch_id": "b2",
}
assert set(FILTERS) == {one.argument for one in REQUEST_FILTERS}
FIELD_OF = {"received": None, "name": "server_name"}


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[SqlStore, list[Request]]]:
    with temporary_store() as store:
        histories = Histories(store, 1)
        for _ in range(40):
            histories.live(NOON, NOON + timedelta(days=3))
            histories.wait(at=NOON + timedelta(days=3))
        with store.reading() as uow:
            yield store, uow.requests.search()


def wanted(
    everything: list[Request],
    filters: dict[str, Any],
    sort_key: str,
    descending: bool,
) -> list[str]:
    """Return the ids that a search is to find, by going through all of them."""
    found = [
        (number, one) for number, one in enumerate(everything)
        if one.state in filters.get("states", State)
        and filters.get("quota") in (None, one.quota)
        and filters.get("name") in (None, one.server_name)
        and all(filters.get(n) in (None, getattr(one, n))
                for n in ("project_id", "user_id", "flavor", "batch_id"))
    ]  # fmt: skip
    name = FIELD_OF.get(sort_key, sort_key)
    found.sort(
        key=lambda pair: (getattr(pair[1], name) if name else 0, pair[0]), reverse=descending
    )
    return [one.request_id for _, one in found]


@contextmanager
def statements_of(store: SqlStore) -> Iterator[list[Any]]:
    """Collect what is asked of the database, with its parameters."""
    seen = []

    def note(
        connection: Connection,
        cursor: Cursor,
        statement: str,
        parameters: tuple[int | str, ...],
        context: SQLiteExecutionContext,
        executemany: bool,
    ) -> None:
        seen.append((statement, parameters))

    listening.listen(store._engine, "before_cursor_execute", note)
    yield seen
    listening.remove(store._engine, "before_cursor_execute", note)


def plan_of(store: SqlStore, statement: str, parameters: tuple[int | str, ...]) -> list[str]:
    with store._engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    return [row[3] for row in rows]


def pages(store: SqlStore, page: Page) -> list[str]:
    """Walk all pages, and return the ids."""
    from synergy.db.models import RequestRow

    found: list[str] = []
    with store.reading() as uow:
        reader = RequestPages(uow._connection, [RequestRow.request_id])
        while rows := reader.read(page):
            found += [row[0] for row in rows]
            page = replace(page, place=reader.place_of(found[-1], SORTED_BY[page.sort_key]))
    return found


@pytest.mark.parametrize("max_sorted", [0, 5, 10_000])
def test_every_filter_and_sort_key_finds_what_a_look_at_everything_finds(
    filled: tuple[SqlStore, list[Request]], max_sorted: int
) -> None:
    store, everything = filled
    rng = random.Random(max_sorted)
    chosen = [pair for size in (0, 1, 2) for pair in combinations(FILTERS, size)]
    chosen += rng.sample(list(combinations(FILTERS, 3)), 5)
    for names in chosen:
        filters = {name: FILTERS[name] for name in names}
        for sort_key in SORTED_BY:
            descending = rng.random() < 0.5
            page = Page(filters=Filters(**filters), sort_key=sort_key, descending=descending, limit=7,
                        max_sorted=max_sorted)  # fmt: skip
            expected = wanted(everything, filters, sort_key, descending)
            assert pages(store, page) == expected, (names, sort_key, descending)


@pytest.mark.parametrize("sort_key", SORTED_BY)
@pytest.mark.parametrize("names", [(), *((n,) for n in FILTERS), ("project_id", "states"),
                                   ("project_id", "flavor")])  # fmt: skip
def test_no_page_sorts_or_reads_more_than_it_is_bounded_to(
    filled: tuple[SqlStore, list[Request]], names: tuple[str, ...], sort_key: str
) -> None:
    """With `max_sorted` 0 every filter finds too many rows to sort: no sort is left but that of
    the first rows of each state, and each table is entered by an index or in its own order."""
    store, _ = filled
    filters = Filters(**{name: FILTERS[name] for name in names})
    for descending in (False, True):
        page = Page(filters=filters, sort_key=sort_key, descending=descending, limit=5,
                    max_sorted=0)  # fmt: skip
        with statements_of(store) as seen:
            pages(store, page)
        for statement, parameters in seen:
            if not statement.lstrip().startswith("SELECT"):
                continue
            told = plan_of(store, statement, parameters)
            if "UNION ALL" not in statement and "association" not in statement.split("FROM")[1]:
                assert not any("TEMP B-TREE" in line for line in told), (statement, told)
            scans = [line for line in told if line.startswith("SCAN requests")]
            in_order = "ORDER BY requests.seq" in statement
            assert all("USING" in line or in_order for line in scans), (statement, told)


def test_the_ledger_is_read_by_an_index_and_never_joined(
    filled: tuple[SqlStore, list[Request]],
) -> None:
    store, _ = filled
    rollups.advance(store, TARIFF, NOON + timedelta(days=3))
    rollups.advance(store, TARIFF, NOON + timedelta(days=3))
    with store.reading() as uow:
        everything = uow.requests.events(limit=10_000)
    assert len(everything) > 200
    some = everything[120]
    given: dict[str, Any] = {
        "project_id": "p", "request_id": some.step.request_id, "event": Event.REMOVED,
        "since": NOON + timedelta(days=1, minutes=30),
    }  # fmt: skip
    for size in range(5):
        for names in combinations(given, size):
            asked = {name: given[name] for name in names}
            expected = [
                one.number for one in everything
                if asked.get("project_id") in (None, one.project_id)
                and asked.get("request_id") in (None, one.step.request_id)
                and asked.get("event") in (None, one.step.event)
                and ("since" not in asked or one.step.at >= asked["since"])
            ]  # fmt: skip
            found: list[int] = []
            with statements_of(store) as seen, store.reading() as uow:
                while page := uow.requests.events(
                    **asked, limit=9, after=found[-1] if found else 0
                ):
                    found += [one.number for one in page]
            assert found == expected, asked
            for statement, parameters in seen:
                if statement.lstrip().startswith("SELECT") and " ledger" in statement:
                    told = plan_of(store, statement, parameters)
                    assert "JOIN" not in statement
                    assert not any("TEMP B-TREE" in line for line in told), told
                    assert not any(line.startswith("SCAN ledger") for line in told), told


def test_an_instant_leads_to_the_ledger_near_it(filled: tuple[SqlStore, list[Request]]) -> None:
    """Instants are not in the order of the numbers, yet an old ledger is not read through."""
    store, _ = filled
    rollups.advance(store, TARIFF, NOON + timedelta(days=3))
    rollups.advance(store, TARIFF, NOON + timedelta(days=3))
    since = NOON + timedelta(days=2, hours=20)
    with statements_of(store) as seen, store.reading() as uow:
        found = uow.requests.events(since=since)
    assert found
    assert all(one.step.at >= since for one in found)
    after = next(params for text, params in seen if "ledger.seq >" in text)[1]
    assert after > 0


def steps_of(uow: SqlReading, question: Callable[..., Any]) -> int:
    """Return how many steps SQLite's machine makes to answer a question."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    connection = uow._connection.connection.dbapi_connection
    assert connection is not None
    connection.set_progress_handler(count, 1)
    try:
        question()
    finally:
        connection.set_progress_handler(None, 1)
    return steps


@pytest.mark.parametrize("days", [0, 400])
def test_usage_at_either_end_costs_the_same_however_many_spans_lie_between(days: int) -> None:
    taken = []
    for lives in (5, 300):
        with temporary_store() as store:
            histories = Histories(store, 1)
            for _ in range(lives):
                histories.live(NOON, NOON + timedelta(days=3), open_ratio=0)
            begin = NOON - timedelta(days=1) + timedelta(days=days)

            def ask(uow: SqlReading, begin: datetime = begin) -> None:
                assert uow.rollups.consumption(begin, begin + timedelta(hours=1)) == []

            with store.reading() as uow:
                taken.append(steps_of(uow, lambda uow=uow, ask=ask: ask(uow)))
    assert taken[1] < taken[0] + 200
