"""The cache of classes holds what is committed, in whatever order numbers were given and kept."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert

from synergy.db.models import ClassRow
from synergy.db.store import SqlStore
from synergy.sim.engine import temporary_store
from tests.builders import kind, kinds_that_differ, rid
from tests.unit.db.test_store import put


class RolledBack(Exception):
    pass


def write(store: SqlStore, number: int, vcpus: int, *, commits: bool) -> None:
    with suppress(RolledBack):
        if commits:
            put(store, number, request_class=kind(vcpus))
            return
        with store.writing() as uow:
            class_id = uow.requests.class_id(kind(vcpus))
            assert uow.requests._classes.get(class_id) == kind(vcpus)
            list(uow.requests.lines())
            raise RolledBack


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.integers(0, 1)), max_size=12))
def test_no_class_is_mixed_up_however_transactions_of_two_writers_end(
    history: list[tuple[int, bool, int]],
) -> None:
    with temporary_store() as first:
        with first.writing() as uow:
            uow.projects.association("p", "u", "alice")
            uow.commit()
        stores = (first, SqlStore(first._engine, first._vault))
        wanted = {}
        for number, (vcpus, commits, which) in enumerate(history, start=1):
            write(stores[which], number, vcpus, commits=commits)
            if commits:
                wanted[rid(number)] = vcpus
            for store in stores:
                with store.reading() as uow:
                    found = uow.requests.search()
                    lines = [line.request_class for line in uow.requests.lines()]
                assert {r.request_id: r.demand["VCPU"] for r in found} == wanted
                assert {one.demand["VCPU"] for one in lines} == set(wanted.values())


def test_a_class_with_a_smaller_number_may_be_committed_later() -> None:
    with temporary_store() as store:
        with store.writing() as uow:
            uow.projects.association("p", "u", "alice")
            uow.commit()
        late = SqlStore(store._engine, store._vault)
        for class_id in (50, 7):  # the other writer took 7 first, and committed last
            with late.writing() as uow:
                values: dict[str, Any] = {
                    name: getattr(kind(class_id), name)
                    for name in ("association_id", "demand", "quota", "on_private_full", "qos", "nice")
                }  # fmt: skip
                uow._connection.execute(
                    insert(ClassRow).values(
                        class_id=class_id, digest=str(class_id), constraints=[], **values
                    )
                )
                uow.commit()
            with store.reading() as uow:
                uow.requests._classes.load()
                assert uow.requests._classes.get(class_id) == kind(class_id)


@pytest.mark.parametrize("classes", [2, 40])
def test_a_list_asks_once_for_the_classes_of_its_rows_that_it_does_not_know(classes: int) -> None:
    with temporary_store() as store:
        with store.writing() as uow:
            uow.projects.association("p", "u", "alice")
            uow.commit()
        for number in range(1, classes + 1):
            put(store, number, request_class=kind(number))
        fresh, asked = SqlStore(store._engine, store._vault), []
        event.listen(store._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        with fresh.reading() as uow:
            found = uow.requests.search()
    assert [one.demand["VCPU"] for one in found] == list(range(1, classes + 1))
    assert sum("FROM request_classes" in statement for statement in asked) == 1


def test_every_field_of_a_class_is_stored_and_tells_it_from_others() -> None:
    with temporary_store() as store:
        with store.writing() as uow:
            for user in ("alice", "bob"):
                uow.projects.association("p", user, user)
            uow.commit()
        for number, one in enumerate(kinds_that_differ(), start=1):
            put(store, number, request_class=one)
        with SqlStore(store._engine, store._vault).reading() as uow:
            found = uow.requests.search()
            lines = [line.request_class for line in uow.requests.lines()]
    assert [one.request_class for one in found] == kinds_that_differ()
    assert set(lines) == set(kinds_that_differ())
