"""One service acts on a database, wherever it was started; a second is told who it is."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from sqlalchemy.engine.row import RowMapping

from synergy.core.errors import Conflict, Deposed, StoreUnavailable
from synergy.db import engine as database
from synergy.db.key_file import new_key
from synergy.db.leadership import LAPSE_S, Leadership, holder_of
from synergy.db.store import SqlStore
from synergy.db.vault import Vault, fingerprint
from synergy.service import manage
from synergy.service.watchdog import Watchdog
from synergy.sim.clock import VirtualClock
from tests.unit.db.test_store import conf_for


@pytest.fixture(params=["sqlite", pytest.param("mariadb", marks=pytest.mark.openstack)])
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Open as many engines on one database as a test wants."""
    engines = []
    if request.param == "sqlite":
        connection = f"sqlite:///{tmp_path}/db"
    else:
        lab = request.getfixturevalue("lab")
        connection = lab.add_database(f"leadership_{uuid4().hex}")

    def open_one(path: Path | None = None) -> Engine:
        named = connection if path is None else f"sqlite:///{path}"
        engines.append(database.open_engine(conf_for("", connection=named), create=True))
        return engines[-1]

    database.upgrade(open_one())
    yield SimpleNamespace(open=open_one, folder=tmp_path, kind=request.param)
    for engine in engines:
        engine.dispose()


def leader(engine: Engine, clock: VirtualClock | None = None) -> Leadership:
    return Leadership(engine, clock or VirtualClock(), role="synergy-service", watch_s=0.01)


def alter(engine: Engine, **values: Any) -> None:
    """Let the row look as another machine, or a dead process, would have left it."""
    said = ", ".join(f"{name} = '{value}'" for name, value in values.items())
    with engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE leadership SET {said}")


def row_of(engine: Engine) -> RowMapping:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT * FROM leadership").mappings().one()


def test_a_second_service_is_told_who_holds_the_database_and_since_when(
    databases: SimpleNamespace,
) -> None:
    clock = VirtualClock()
    first = leader(databases.open(), clock)
    assert first.take() == 1
    paths = [None]
    if databases.kind == "sqlite":
        (databases.folder / "below").mkdir()
        (databases.folder / "link").symlink_to(databases.folder / "db")
        paths += [databases.folder / "link", databases.folder / "below" / ".." / "db"]
    for path in paths:
        clock.move_to(clock.now() + timedelta(hours=1))  # a process that lives is never stale
        with pytest.raises(Conflict) as caught:
            leader(databases.open(path), clock).take()
        assert f"process {os.getpid()}, since 20" in str(caught.value)
        assert "stop that one first" in str(caught.value)
    first.leave()
    assert leader(databases.open(), clock).take() == 2


def test_a_file_of_sqlite_with_a_second_name_is_opened_by_neither(tmp_path: Path) -> None:
    """Each name has a log of its own, so the lock of one service is not seen by the other."""
    settings = conf_for(tmp_path / "db")
    first = database.open_engine(settings, create=True)
    database.upgrade(first)
    (tmp_path / "other").hardlink_to(tmp_path / "db")
    for name in ("other", "db"):
        second = database.open_engine(conf_for(tmp_path / name))
        with pytest.raises(StoreUnavailable, match="has 2 names"):
            leader(second).take()
        second.dispose()
    (tmp_path / "other").unlink()
    assert leader(database.open_engine(settings)).take() == 1
    first.dispose()


def test_whose_process_is_gone_is_followed_at_once(databases: SimpleNamespace) -> None:
    engine = databases.open()
    leader(engine).take()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alter(engine, pid=gone.pid)
    assert leader(databases.open()).take() == 2


def test_whose_process_number_was_given_to_another_is_followed_at_once(
    databases: SimpleNamespace,
) -> None:
    engine = databases.open()
    leader(engine).take()
    alter(engine, started=row_of(engine)["started"] - 1)
    assert leader(databases.open()).take() == 2


def test_a_holder_on_another_host_is_followed_only_after_a_lapse(
    databases: SimpleNamespace,
) -> None:
    engine, clock = databases.open(), VirtualClock()
    first = leader(engine, clock)
    first.take()
    alter(engine, machine="elsewhere", host="other")
    with pytest.raises(Conflict, match="on host other, process"):
        leader(databases.open(), clock).take()
    clock.move_to(clock.now() + timedelta(seconds=LAPSE_S + 1))
    first.beat()
    with pytest.raises(Conflict, match="last sign of life 0 s ago"):
        leader(databases.open(), clock).take()
    clock.move_to(clock.now() + timedelta(seconds=LAPSE_S + 1))
    assert leader(databases.open(), clock).take() == 2


def test_a_holder_whose_clock_differs_is_seen_to_live(databases: SimpleNamespace) -> None:
    engine, clock = databases.open(), VirtualClock()
    first = leader(engine, clock)
    first.take()
    alter(engine, machine="elsewhere")
    late = VirtualClock()
    late.move_to(clock.now() + timedelta(hours=5))

    class Beating(Leadership):
        """Another host, whose holder beats while it is watched."""

        def read(self) -> Any:
            found = super().read()
            clock.move_to(clock.now() + timedelta(seconds=2))
            first.beat()
            return found

    with pytest.raises(Conflict):
        Beating(databases.open(), late, role="synergy-service", watch_s=0.01).take()


def test_a_deposed_service_changes_nothing_and_ends(
    databases: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    engine, clock = databases.open(), VirtualClock()
    first = leader(engine, clock)
    first.take()
    store = SqlStore(engine, Vault([new_key()]), check=first.check)
    with store.writing() as uow:
        uow.projects.association("p", "u", "alice")
        uow.commit()
    alter(engine, machine="elsewhere")
    clock.move_to(clock.now() + timedelta(seconds=LAPSE_S + 1))
    second = leader(databases.open(), clock)
    second.take()
    with store.writing() as uow:
        uow.projects.association("p", "v", "bob")
        with pytest.raises(Deposed):
            uow.commit()
    with store.reading() as uow:
        assert [one.user_id for one in uow.projects.associations()] == ["u"]
    ended = []
    host: Any = SimpleNamespace(revive=lambda: None, end_rest=lambda kind: None)
    watchdog = Watchdog(host, first, Vault([new_key()]), lambda: ended.append(True))
    watchdog.check()
    assert ended
    assert "took the database over in term 2: this process, of term 1, changes nothing" in (
        caplog.text
    )
    first.leave()  # and takes nothing from the other
    second.beat()


def test_nobody_takes_over_between_the_check_and_the_commit(databases: SimpleNamespace) -> None:
    engine, clock = databases.open(), VirtualClock()
    first = leader(engine, clock)
    first.take()
    alter(engine, machine="elsewhere")
    clock.move_to(clock.now() + timedelta(seconds=LAPSE_S + 1))
    second, took = leader(databases.open(), clock), []
    taker = threading.Thread(target=lambda: took.append(second.take()))
    with engine.begin() as connection:
        first.check(connection)
        taker.start()
        taker.join(0.3)
        assert took == []
        connection.exec_driver_sql("DELETE FROM trusts")
    taker.join(15)
    assert took == [2]


# --- synergy-manage -------------------------------------------------------------------------------


@pytest.fixture
def used(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A database in use by a service, which is this process, and a configuration that names it."""
    path = tmp_path / "synergy.conf"
    path.write_text(
        f"[DEFAULT]\ncloud = embedded\n[database]\nconnection = sqlite:///{tmp_path}/db\n"
        f"keys_file = {tmp_path}/keys\n[api]\nauth_strategy = none\n"
    )

    def command(*action: str) -> int:
        return manage.run(["--config-file", str(path), *action])

    assert command("keys", "create") == command("db", "upgrade") == 0
    engine = database.open_engine(conf_for(tmp_path / "db"))
    vault = Vault.of_file(tmp_path / "keys")
    service = leader(engine)
    service.take(vault.sealing_key)
    yield SimpleNamespace(command=command, engine=engine, service=service, vault=vault)
    engine.dispose()


def test_tables_are_not_changed_beside_a_service(
    used: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert used.command("db", "upgrade") == 1
    assert "in use by synergy-service on host" in capsys.readouterr().err
    assert used.command("db", "check") == 0
    assert "it is in use by synergy-service on host" in capsys.readouterr().out
    used.service.leave()
    assert used.command("db", "upgrade") == 0
    assert holder_of(used.engine, VirtualClock()) is None


def test_no_key_is_pruned_while_a_service_seals_with_it(
    used: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(manage, "KEY_WAIT_S", 0.0)
    assert used.command("keys", "rotate") == 0
    assert "does not use the new key yet" in capsys.readouterr().out
    assert used.command("keys", "prune") == 1
    assert "still seals with an old key: send it SIGHUP" in capsys.readouterr().err
    assert used.vault.refresh()
    used.service.beat(used.vault.sealing_key)
    assert used.command("keys", "prune") == 0
    assert row_of(used.engine)["sealing_key"] == fingerprint(used.vault._keys[0])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda whole: b"no database at all " * 100, "is no SQLite database: correct the path"),
        (lambda whole: whole[:9000], "the SQLite database is damaged"),
        (None, "does not exist: run synergy-manage db upgrade"),
    ],
)
def test_a_database_file_that_is_damaged_or_missing_is_one_sentence(
    used: SimpleNamespace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[..., Any] | None,
    told: str,
) -> None:
    used.service.leave()
    used.engine.dispose()
    file = tmp_path / "db"
    whole = file.read_bytes()
    for one in tmp_path.glob("db*"):
        one.unlink()
    if damage is not None:
        file.write_bytes(damage(whole))
    assert used.command("db", "check") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert "Traceback" not in caplog.text
    assert file.exists() == (damage is not None)  # asking makes no empty file
