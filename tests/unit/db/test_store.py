"""The store: values go in and come out, compare-and-set, and nothing half-done stays."""

import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from cryptography.fernet import Fernet
from oslo_config import cfg
from sqlalchemy import update

from alembic import command
from synergy.core.errors import ConfigurationInvalid, Conflict, NotFound, SealBroken
from synergy.core.lifecycle import Event, transition
from synergy.core.model import (
    Domain,
    ExpiryAction,
    Handover,
    Project,
    QuotaKind,
    Request,
    Resources,
    State,
)
from synergy.core.reasons import Reason
from synergy.core.usage import DECAYING, Charged, History
from synergy.db import engine as database
from synergy.db.key_file import new_key
from synergy.db.migrations import revisions
from synergy.db.models import Base, BodyRow
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.ports import Trust
from synergy.service import manage
from synergy.sim.engine import temporary_store
from tests.builders import NOON, kind, request, rid

ANNOUNCED = """
import sys
from synergy.service.manage import run
print("begins", flush=True)
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.openstack)])
def store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    opened = temporary_store() if request.param == "sqlite" else in_mariadb(request)
    with opened as made:
        with made.writing() as uow:
            uow.projects.association("p", "u", "alice")
            uow.commit()
        yield made


@contextmanager
def in_mariadb(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """A store in a database of the lab's MariaDB, which is dropped afterwards."""
    lab, name = request.getfixturevalue("lab"), f"store_{uuid4().hex}"
    engine = database.open_engine(conf_for("", connection=lab.add_database(name)))
    database.upgrade(engine)
    yield SqlStore(engine, Vault([new_key()]))
    engine.dispose()
    lab.remove_database(name)


def put(
    store: SqlStore,
    number: int = 1,
    body: bytes = b"body",
    **changes: Any,
) -> Request:
    with store.writing() as uow:
        one = changes.pop("request_class", kind())
        made = request(number, request_class=one, class_id=uow.requests.class_id(one), **changes)
        move = transition(made, Event.ADMITTED, NOON)
        uow.requests.add([(move, body)])
        uow.commit()
    return move.request


def test_a_request_comes_back_as_it_went_in(store: SqlStore) -> None:
    one = put(store, batch_id="b", request_class=kind(3, quota=QuotaKind.PRIVATE, nice=5))
    with store.reading() as uow:
        assert uow.requests.get(one.request_id) == one
        assert uow.requests.bodies([one.request_id]) == {one.request_id: b"body"}
        assert [step.event for step in uow.requests.steps(one.request_id)] == [Event.ADMITTED]


def test_leaving_without_commit_leaves_nothing_behind(store: SqlStore) -> None:
    with store.writing() as uow:
        class_id = uow.requests.class_id(kind(7))
        made = request(9, request_class=kind(7), class_id=class_id)
        uow.requests.add([(transition(made, Event.ADMITTED, NOON), b"x")])
    with store.reading() as uow:
        assert uow.requests.search() == []
        with pytest.raises(NotFound):
            uow.requests.get(rid(9))
    assert put(store, 9, request_class=kind(7)).request_class == kind(7)


def test_the_second_of_two_writers_is_told_and_writes_nothing(store: SqlStore) -> None:
    one = put(store)
    held = transition(one, Event.HELD, NOON)
    other = transition(one, Event.SELECTED, NOON)
    with store.writing() as uow:
        uow.requests.save([held])
        uow.commit()
    with store.writing() as uow, pytest.raises(Conflict, match=one.request_id):
        uow.requests.save([other])
    with store.reading() as uow:
        assert uow.requests.get(one.request_id).state is State.HELD
        assert len(uow.requests.steps(one.request_id)) == 2


def test_one_conflict_in_a_batch_undoes_the_batch(store: SqlStore) -> None:
    first, second = put(store, 1), put(store, 2)
    with store.writing() as uow:
        uow.requests.save([transition(second, Event.HELD, NOON)])
        uow.commit()
    with store.writing() as uow, pytest.raises(Conflict):
        uow.requests.save([transition(one, Event.SELECTED, NOON) for one in (first, second)])
    with store.reading() as uow:
        assert uow.requests.get(first.request_id).state is State.QUEUED


def test_classes_are_one_row_each_and_lines_are_oldest_first(store: SqlStore) -> None:
    late = put(store, 1, queued_at=NOON.replace(hour=14))
    early = put(store, 3)
    tie = put(store, 2)
    other = put(store, 4, request_class=kind(5))
    with store.reading() as uow:
        lines = {line.class_id: line for line in uow.requests.lines()}
    assert set(lines) == {late.class_id, other.class_id}
    ids = [rid(int.from_bytes(lines[late.class_id].ids[n : n + 16])) for n in (0, 16, 32)]
    assert ids == [tie.request_id, early.request_id, late.request_id]
    assert lines[late.class_id].queued_at_s[0] == NOON.timestamp()


def test_pages_follow_each_other_in_the_order_of_reception(store: SqlStore) -> None:
    ids = [put(store, number).request_id for number in (5, 3, 9, 1)]
    with store.reading() as uow:
        first = uow.requests.search(limit=2)
        second = uow.requests.search(limit=2, after=first[-1].request_id)
        assert [r.request_id for r in [*first, *second]] == ids
        with pytest.raises(NotFound, match="marker"):
            uow.requests.search(after=rid(77))


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
def test_a_body_is_unreadable_on_disk_and_forgotten_when_done(
    store: SqlStore, tmp_path: Path
) -> None:
    secret = b"token-and-password" * 9
    one = put(store, body=secret)
    path = store._engine.url.database
    stored = b"".join(Path(f"{path}{end}").read_bytes() for end in ("", "-wal"))
    assert b"token" not in stored
    assert one.request_id.encode() in stored
    with store.writing() as uow:
        uow.requests.forget_bodies([one.request_id])
        uow.commit()
        assert uow.requests.bodies([one.request_id]) == {}


def test_projects_domains_users_and_trusts_come_back_as_they_went_in(store: SqlStore) -> None:
    domain = Domain(domain_id="d", name="D", borrow_limit=Resources.of(VCPU=4))
    project = Project(
        project_id="p", name="P", domain_id="d", private=Resources.of(VCPU=2, VGPU=1),
        borrow_limit=None, lend_limit=Resources.of(VCPU=1), nova_quota={"VCPU": None, "DISK_GB": 3},
        expiry_action=ExpiryAction.SHELVE, handover=Handover.HELD,
    )  # fmt: skip
    with store.writing() as uow:
        uow.projects.save_domain(domain)
        uow.projects.add(project)
        uow.trusts.add(Trust(project_id="p", user_id="u", trust_id="t"))
        uow.commit()
    with store.writing() as uow:
        assert uow.projects.domains() == [domain]
        assert uow.projects.get("p") == project
        assert [trust.trust_id for trust in uow.trusts.all()] == ["t"]
        with pytest.raises(Conflict, match="managed already"):
            uow.projects.add(project)
        uow.projects.save(replace(project, name="Q"))
        with pytest.raises(Conflict, match="changed since"):
            uow.projects.save(replace(project, name="R"))


def test_the_migrations_make_exactly_the_models_tables() -> None:
    with temporary_store() as store, store._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def conf_for(path: Path | str, **changes: Any) -> cfg.ConfigOpts.GroupAttr:
    conf = cfg.ConfigOpts()
    conf.register_opts(database.DATABASE_OPTIONS, group="database")
    conf(args=[], project="synergy", default_config_files=[], default_config_dirs=[])
    for name, value in ({"connection": f"sqlite:///{path}"} | changes).items():
        conf.set_override(name, value, group="database")
    group: cfg.ConfigOpts.GroupAttr = conf.database
    return group


def test_the_revisions_are_those_that_alembic_finds_in_its_order(tmp_path: Path) -> None:
    engine = database.open_engine(conf_for(tmp_path / "db"), create=True)
    script = ScriptDirectory.from_config(database._alembic(engine))
    assert revisions() == [one.revision for one in script.walk_revisions()][::-1]
    assert database.upgrade(engine) == script.get_current_head()
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    assert database.revision(engine) == found
    engine.dispose()


def test_a_database_without_tables_and_one_from_the_future_are_told_apart(tmp_path: Path) -> None:
    engine = database.open_engine(conf_for(tmp_path / "db"), create=True)
    with pytest.raises(
        ConfigurationInvalid, match="revision 'none'.*run synergy-manage db upgrade"
    ):
        database.check(engine)
    assert database.upgrade(engine) == database.check(engine) != ""
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for attempt in (database.check, database.upgrade):
        with pytest.raises(ConfigurationInvalid, match="'9999', which is newer"):
            attempt(engine)
    engine.dispose()


def test_an_upgrade_keeps_usage_and_everything_else(tmp_path: Path) -> None:
    engine = database.open_engine(conf_for(tmp_path / "db"), create=True)
    command.upgrade(database._alembic(engine), "0001")
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO associations VALUES (3, 'p', 'u', 'ulla', 7)",
            "INSERT INTO usage VALUES (3, 0.30000000000000004)",
            "INSERT INTO marks VALUES ('usage_charged', 1767268800000000)",
        ):
            connection.exec_driver_sql(statement)
    database.upgrade(engine)
    with SqlStore(engine, Vault([new_key()])).reading() as uow:
        history = uow.usage.load()
        (association,) = uow.projects.associations()
    assert history.buckets[DECAYING].tolist() == [0, 0, 0, 0.1 + 0.2]
    assert (history.left, history.charged_at, history.reset_at) == (1.0, NOON, None)
    assert (association.raw_shares, association.priority, association.active) == (7, None, True)
    engine.dispose()


# Rows as version 0008 has them: state, what it kept as prose, and the reason that this tells of.
OLD_ROWS = [
    ("HELD", "held_by_user", Reason.HELD_BY_USER),
    ("HELD", "held_by_admin", Reason.HELD_BY_ADMIN),
    ("REJECTED", "never_fits: asks for VCPU=64", Reason.NEVER_FITS),
    ("REJECTED", "neverXfits: no such reason", None),
    ("REJECTED", "no_free_quota: the private quota cannot hold it now", Reason.NO_FREE_QUOTA),
    ("REJECTED", "user_limit: 2 requests of this user wait already", None),  # another limit
    ("QUEUED", "broker_down: no route", Reason.BROKER_DOWN),
    ("QUARANTINED", "broker_down: no route", Reason.BROKER_DOWN),
    ("BUILDING", "lost: Nova's conductor has not started the build, and silent", Reason.LOST),
    ("BUILDING", "lost: Nova builds it on host h, and silent for 600 s", Reason.LOST),
    ("BUILDING", "lost: the image cannot be copied", None),  # a build broke on a host of this name
    ("ERROR", "lost: Nova's conductor has not built it: create the server again", Reason.LOST),
    ("DELETED", "lost: Nova's conductor has not built it: create the server again", Reason.LOST),
    ("ACTIVE", "no_free_quota: to resize it needs VCPU=2 more of the shared quota", None),
    ("QUEUED", "", None),
]


def test_an_upgrade_reads_the_reasons_of_old_rows_from_their_prose(tmp_path: Path) -> None:
    engine = database.open_engine(conf_for(tmp_path / "db"), create=True)
    command.upgrade(database._alembic(engine), "0008")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO associations (association_id, project_id, user_id, user_name, raw_shares)"
            " VALUES (1, 'p', 'u', 'ulla', 1)"
        )
        connection.exec_driver_sql(
            "INSERT INTO request_classes (class_id, digest, association_id, demand, quota, "
            "on_private_full, qos, nice, constraints) "
            "VALUES (1, 'd', 1, '{\"VCPU\": 1}', 'shared', 'queue', 'normal', 0, '[]')"
        )
        for number, (state, why, _) in enumerate(OLD_ROWS):
            connection.exec_driver_sql(
                "INSERT INTO requests (request_id, class_id, project_id, user_id, server_name, "
                "flavor, state, queued_at, changed_at, ttl_s, attempts, why, generation) "
                "VALUES (?, 1, 'p', 'u', 's', 'small', ?, 0, 0, 60, 0, ?, 1)",
                (rid(number), state, why),
            )
    command.upgrade(database._alembic(engine), "0009")
    with engine.begin() as connection:  # as on a database that commits each step: once more
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0008'")
        connection.exec_driver_sql("ALTER TABLE requests DROP COLUMN reason")
    database.upgrade(engine)
    with SqlStore(engine, Vault([new_key()])).reading() as uow:
        found = {one.request_id: one for one in uow.requests.search()}
    assert [
        (found[rid(n)].state, found[rid(n)].why, found[rid(n)].reason) for n in range(len(OLD_ROWS))
    ] == OLD_ROWS
    engine.dispose()


def test_the_reason_of_a_request_is_that_of_its_last_event(store: SqlStore) -> None:
    one = put(store)
    held = transition(one, Event.HELD, NOON, why="as it asked", reason=Reason.HELD_BY_USER)
    with store.writing() as uow:
        uow.requests.save([held])
        uow.commit()
    with store.writing() as uow:
        found = uow.requests.get(one.request_id)
        assert (found.reason, found.why) == (Reason.HELD_BY_USER, "as it asked")
        uow.requests.save([transition(found, Event.RELEASED, NOON)])
        uow.commit()
    with store.reading() as uow:
        assert uow.requests.get(one.request_id).reason is None


def test_usage_is_written_as_it_changed_and_read_as_it_was(store: SqlStore) -> None:
    nobody = Charged(history=History(buckets={}), changed={})
    with store.writing() as uow:
        assert uow.usage.load().charged_at is None
        made = [uow.projects.association("p", f"u{n}", "n").association_id for n in range(3)]
        column = np.zeros(made[-1] + 1)
        column[made] = [0.1 + 0.2, 5e-324, 1e300]
        history = History(buckets={DECAYING: column, 100: column * 2}, left=1 / 3, charged_at=NOON,
                          reset_at=NOON)  # fmt: skip
        ids = np.array(made)
        uow.usage.save(Charged(history=history, changed={DECAYING: ids, 100: ids[:1]}))
        uow.commit()
    with store.writing() as uow:
        found = uow.usage.load()
        assert found.buckets[DECAYING].tolist() == column.tolist()
        assert found.buckets[100].tolist() == [*column.tolist()[: made[0]], 2 * (0.1 + 0.2)]
        assert (found.left, found.charged_at, found.reset_at) == (1 / 3, NOON, NOON)
        again = replace(history, buckets={DECAYING: column + 1})
        uow.usage.save(
            Charged(history=again, changed={DECAYING: ids[:1]}, dropped=frozenset({100}))
        )
        uow.commit()
    with store.writing() as uow:
        found = uow.usage.load()
        assert set(found.buckets) == {DECAYING}
        assert found.buckets[DECAYING][made].tolist() == [1 + 0.1 + 0.2, 5e-324, 1e300]
        uow.usage.save(replace(nobody, dropped=frozenset({DECAYING})))
        assert uow.usage.load().buckets == {}


@pytest.mark.parametrize(
    ("connection", "told"),
    [
        ("nonsense", "is not a database URL"),
        ("sqlite:////no/such/folder/db", "the folder of /no/such/folder/db does not exist"),
        ("nosuchdb://host/x", "cannot be used"),
        ("sqlite://", "names no file"),
        ("sqlite:////tmp", "is a folder"),
        ("mysql+mysqldb://host/x", "needs the Python package 'MySQLdb', which is not installed"),
    ],
)
def test_a_connection_that_cannot_be_used_is_told_by_name(connection: str, told: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=told):
        database.open_engine(conf_for("x", connection=connection))


def test_what_an_old_key_sealed_opens_while_that_key_is_kept() -> None:
    old, new = new_key(), new_key()
    sealed = Vault([old]).seal(b"body")
    both = Vault([new, old])
    assert both.open(sealed) == b"body"
    assert Vault([new]).open(both.reseal(sealed)) == b"body"
    with pytest.raises(SealBroken, match="none of the configured keys"):
        Vault([new]).open(sealed)


def test_a_body_that_no_key_opens_is_told_once_and_the_others_are_read(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = put(store), put(store, 2, body=b"other")
    keys = [new_key()]
    stranger = SqlStore(store._engine, Vault(keys))
    with stranger.writing() as uow:
        uow._connection.execute(update(BodyRow).where(BodyRow.request_id == other.request_id)
                                .values(sealed=Vault(keys).seal(b"other")))  # fmt: skip
        uow.commit()
    for _ in range(3):
        with stranger.reading() as uow:
            ids = [one.request_id, other.request_id, rid(9)]
            assert uow.requests.bodies(ids) == {other.request_id: b"other"}
            broken = uow.requests.broken_bodies([one.request_id, rid(9)])
    assert "none of the configured keys" in broken[one.request_id]
    assert broken[rid(9)] == "its message is not stored"
    told = [r for r in caplog.records if "is damaged and skipped" in r.getMessage()]
    assert len(told) == 1


def test_a_body_that_an_older_version_stored_opens() -> None:
    key = new_key()
    old = Fernet(key).encrypt(zlib.compress(b"hello", 1))
    vault = Vault([key])
    assert vault.open(old) == vault.open(vault.reseal(old)) == b"hello"
    assert vault.open(vault.seal(b"")) == b""


def test_an_upgrade_names_the_events_of_old_rows_with_the_words_of_today(tmp_path: Path) -> None:
    old = ["PAUSED", "RESUMED", "PARKED", "UNPARKED", "KEPT", "REMOVED"]
    engine = database.open_engine(conf_for(tmp_path / "db"), create=True)
    command.upgrade(database._alembic(engine), "0015")
    with engine.begin() as connection:
        for event in old:
            connection.exec_driver_sql(
                "INSERT INTO ledger (request_id, at, from_state, to_state, event, why) "
                "VALUES (?, 0, 'QUEUED', 'QUEUED', ?, '')",
                (rid(1), event),
            )
    database.upgrade(engine)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT event FROM ledger ORDER BY seq").scalars()
        assert list(found) == [
            Event.HELD, Event.RELEASED, Event.SHELVED, Event.UNSHELVED, Event.UNMANAGED,
            Event.REMOVED,
        ]  # fmt: skip
    engine.dispose()


def test_killed_at_any_moment_an_upgrade_can_be_run_again(tmp_path: Path) -> None:
    (tmp_path / "synergy.conf").write_text(f"[database]\nconnection = sqlite:///{tmp_path}/db\n")
    action = ["--config-file", str(tmp_path / "synergy.conf"), "db", "upgrade"]
    kills = 0
    for patience_s in (0.05, 0.15, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-c", ANNOUNCED, *action], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills
    assert manage.run(action) == 0
    engine = database.open_engine(conf_for(tmp_path / "db"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


@pytest.mark.openstack
def test_on_mariadb_an_upgrade_that_was_cut_at_any_step_can_be_run_again(
    request: pytest.FixtureRequest,
) -> None:
    with in_mariadb(request) as made:
        for cut in ("0001", "0002", "0003"):
            with made._engine.begin() as connection:
                connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{cut}'")
            assert database.upgrade(made._engine) == database.check(made._engine)


def test_an_id_that_is_no_text_ends_no_walk_through_the_others() -> None:
    with temporary_store() as store:
        with store.writing() as uow:
            uow.projects.association("p", "u", "ulla")
            uow.commit()
        one, two = put(store), put(store, number=2)
        with store._engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE requests SET request_id = X'ff00' WHERE request_id = ?", (one.request_id,)
            )
        with store.reading() as uow:
            ids = uow.requests.ids_of([State.QUEUED])
            assert list(uow.requests.find(ids)) == [two.request_id]
