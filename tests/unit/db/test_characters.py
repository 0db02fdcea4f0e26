"""What a database can keep: every character, ids apart by case, values as long as they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import inspect, text

from alembic import command
from lab.steps import Lab
from synergy.core.errors import InvalidInput, NotFound
from synergy.core.model import Resources
from synergy.db import engine as database
from synergy.db.key_file import new_key
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.sim.engine import temporary_store
from tests.builders import NOON, kind, rid
from tests.unit.db.test_store import conf_for, put

NAME = "漢字 \N{GRINNING FACE} ß"
EVERYWHERE = ["sqlite", pytest.param("mariadb", marks=pytest.mark.openstack)]


@contextmanager
def in_latin1(lab: Lab, *, begin_at: str | None = None) -> Iterator[Any]:
    """A store in a database that was made with the character set of a careless server."""
    name = f"latin_{uuid4().hex}"
    url = lab.add_database(name)
    lab.sql(f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_swedish_ci")
    engine = database.open_engine(conf_for("", connection=url))
    if begin_at:
        # As an earlier version did it, which left the default of the database alone.
        command.upgrade(database._alembic(engine), begin_at)
        lab.sql(
            f"ALTER DATABASE {name} CHARACTER SET latin1 COLLATE latin1_swedish_ci; "
            f"ALTER TABLE {name}.projects DROP FOREIGN KEY fk_projects_domain_id"
        )
        for table in inspect(engine).get_table_names():
            lab.sql(f"ALTER TABLE {name}.{table} CONVERT TO CHARACTER SET latin1")
        lab.sql(
            f"ALTER TABLE {name}.projects ADD CONSTRAINT fk_projects_domain_id FOREIGN KEY "
            f"(domain_id) REFERENCES {name}.domains (domain_id)"
        )
    database.upgrade(engine)
    yield SqlStore(engine, Vault([new_key()]))
    engine.dispose()
    lab.remove_database(name)


@pytest.fixture(params=EVERYWHERE)
def store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    opened = (
        temporary_store()
        if request.param == "sqlite"
        else in_latin1(request.getfixturevalue("lab"))
    )
    with opened as made:
        with made.writing() as uow:
            uow.projects.association("p", "u", NAME)
            uow.commit()
        yield made


def test_every_character_comes_back(store: SqlStore) -> None:
    one = put(store, server_name=NAME)
    with store.reading() as uow:
        assert uow.requests.get(one.request_id).server_name == NAME
        assert uow.requests.search(name=NAME) == [one]
        assert uow.projects.associations()[0].user_name == NAME


def test_ids_that_differ_in_case_only_are_different(store: SqlStore) -> None:
    with store.writing() as uow:
        lower = uow.projects.association("p", "u3", "a").association_id
        upper = uow.projects.association("p", "U3", "b").association_id
        umlaut = uow.projects.association("p", "ü3", "c").association_id
        uow.commit()
    assert len({lower, upper, umlaut}) == 3
    with store.reading() as uow:
        assert {a.user_id for a in uow.projects.associations()} == {"u", "u3", "U3", "ü3"}


def test_a_vector_of_many_classes_is_kept(store: SqlStore) -> None:
    demand = Resources.of(
        {f"CUSTOM_PCI_VENDOR_{n:02d}_ACCELERATOR_MODEL_NAME": 1 for n in range(100)}
    )
    one = put(store, request_class=replace(kind(), demand=demand))
    store._cache.forget()
    with store.reading() as uow:
        assert uow.requests.get(one.request_id).demand == demand


def test_a_display_name_is_cut_and_an_id_is_refused_on_every_database_alike(
    store: SqlStore,
) -> None:
    one = put(store, server_name="n" * 300 + "\0")
    with store.reading() as uow:
        assert uow.requests.get(one.request_id).server_name == "n" * 255
    refused: list[dict[str, Any]] = [
        {"user_id": "u" * 65}, {"flavor": "f" * 256}, {"batch_id": "b\0"},
    ]  # fmt: skip
    for changes in refused:
        with pytest.raises(InvalidInput, match="cannot be stored"):
            put(store, 2, **changes)
    with store.reading() as uow:
        assert uow.requests.known([rid(2)]) == set()


@pytest.mark.parametrize("odd", ["d" * 70, "a\0b", "\ud800", "req-" + str(UUID(int=1))])
def test_what_no_row_can_hold_is_looked_for_and_not_found(store: SqlStore, odd: str) -> None:
    put(store, 1)
    with store.reading() as uow:
        assert uow.requests.known([odd]) == set()
        assert uow.requests.find([odd, rid(1)]).keys() == {rid(1)}
        assert uow.requests.search(project_id=odd, limit=10) == []
        assert uow.requests.search(batch_id=odd, limit=10) == []
        with pytest.raises(NotFound, match="does not exist"):
            uow.requests.get(odd)


def test_a_reason_of_any_kind_is_kept_as_far_as_it_fits(store: SqlStore) -> None:
    with store.writing() as uow:
        assert uow.requests.quarantine("m" * 500, b"x", "\ud800\0" + "w" * 100_000, NOON)
        assert not uow.requests.quarantine("m" * 500, b"x", "again", NOON)
        uow.commit()
    with store.reading() as uow:
        ((message_id, _, why),) = uow.requests.quarantined()
    assert len(message_id) == 64
    assert why.startswith("\ufffd\ufffdwww")


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("INSERT INTO trusts VALUES ('t', NULL, 'u')", "project_id"),
        ("UPDATE associations SET user_id = NULL", "user_id"),
    ],
)
def test_what_a_column_refuses_names_the_column_and_is_no_outage(
    store: SqlStore, statement: str, column: str
) -> None:
    with pytest.raises(InvalidInput, match=column), store.writing() as uow:
        uow._connection.execute(text(statement))


@pytest.mark.openstack
def test_a_value_too_long_for_mariadb_is_the_fault_of_the_value(
    request: pytest.FixtureRequest,
) -> None:
    with in_latin1(request.getfixturevalue("lab")) as store:
        for value in ("'" + "p" * 65 + "'", "NULL"):
            with pytest.raises(InvalidInput, match="project_id"), store.writing() as uow:
                uow._connection.execute(text(f"INSERT INTO trusts VALUES ('t', {value}, 'u')"))


@pytest.mark.openstack
def test_an_upgrade_converts_the_tables_that_an_earlier_version_made(
    request: pytest.FixtureRequest,
) -> None:
    with in_latin1(request.getfixturevalue("lab"), begin_at="0003") as store:
        with store.reading() as uow:
            found = uow._connection.execute(text(
                "SELECT DISTINCT table_collation FROM information_schema.tables "
                "WHERE table_schema = DATABASE()"
            )).all()  # fmt: skip
        assert [row[0] for row in found] == ["utf8mb4_bin"]
        with store.writing() as uow:
            uow.projects.association("p", "u", NAME)
            uow.projects.association("p", "U", NAME)
            uow.commit()
        put(store, server_name=NAME)
