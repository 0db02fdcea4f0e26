"""A service that does not do its work says so: stopped, stalled, dead threads, a database away."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from oslo_config import cfg

from synergy.core.errors import StoreUnavailable
from synergy.db import engine as database
from synergy.db.key_file import new_key
from synergy.db.leadership import Leadership
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.drivers.clock import SystemClock
from synergy.managers.base import Manager, Status, register_options
from synergy.managers.supervision.health import health_of
from synergy.managers.supervision.supervisor import Supervisor
from synergy.service.host import Host
from synergy.service.watchdog import Watchdog
from tests.builders import world
from tests.patience import until
from tests.served import Api
from tests.unit.db.test_store import conf_for
from tests.workers import workers


class Scripted(Manager):
    """Does what a test tells it to in its next run."""

    name = "scripted"
    needed = True
    stopped_means = "nothing is scripted"

    def __init__(self) -> None:
        self.act: Callable[[], object] = lambda: None
        self.done = 0

    def task(self) -> None:
        self.act()
        self.done += 1


@pytest.fixture
def worker_of() -> Iterator[Callable[..., Any]]:
    with workers(rate_s=0.01) as make:
        yield make


def ready(supervisor: Supervisor) -> bool:
    return health_of([supervisor.report])["ready"]


def test_a_run_that_hangs_is_stalled_while_it_hangs_and_not_after(
    worker_of: Callable[..., Any],
) -> None:
    manager, goes_on = Scripted(), threading.Event()
    manager.act = lambda: goes_on.wait(30)
    supervisor = worker_of(manager, stall_s=0.5).supervisor
    until(lambda: (supervisor.report.running_s or 0.0) > 0.5)
    assert supervisor.report.status is Status.STALLED
    assert not ready(supervisor)
    assert "its run has not ended for" in health_of([supervisor.report])["why"][0]
    goes_on.set()
    until(lambda: supervisor.report.status is Status.RUNNING and ready(supervisor))


def test_a_run_that_never_comes_is_late_and_stalled() -> None:
    conf: Any = SimpleNamespace(rate_s=60.0, debounce_s=0.0, stall_s=0.05)
    supervisor = Supervisor(Scripted(), conf, SystemClock())
    supervisor.setup(autostart=True)  # and nobody ever runs it
    until(lambda: supervisor.report.lag_s > 0.05)
    assert supervisor.report.status is Status.STALLED


def test_a_thread_that_dies_is_told_with_its_traceback_and_another_one_takes_over(
    worker_of: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    manager = Scripted()

    def die() -> None:
        manager.act = lambda: None
        raise SystemExit("a library called exit")

    manager.act = die
    worker = worker_of(manager)
    supervisor = worker.supervisor
    until(lambda: supervisor.report.status is Status.STALLED)
    assert not ready(supervisor)
    assert "the thread of manager scripted died" in caplog.text
    assert "in die" in caplog.text  # the traceback
    worker.revive()
    until(lambda: manager.done)
    assert supervisor.report.status is Status.RUNNING
    assert supervisor.report.failures == 1


def test_a_stopped_scheduler_is_stopped_for_everybody_who_asks() -> None:
    with world() as made:
        made.add(default_quota="shared")
        made.run(1)
        made.create("large", count=2)
        (waiting,) = made.create("large")
        made.run(30)
        api = Api(made).as_admin()
        assert api.get("/healthcheck/ready")["why"] == []
        stopped = made.engine.supervisors["scheduler"]
        stopped.stop()
        assert api.get("/v1/managers/scheduler")["manager"]["status"] == "STOPPED"
        assert 'status="STOPPED"} 1.0' in api.raw_text("/metrics")
        for path in ("/healthcheck", "/healthcheck/ready"):
            status, found, _ = api.ask("GET", path)
            assert (status, found["ready"], found["healthy"]) == (503, False, False)
            assert found["why"] == ["manager scheduler is STOPPED: no waiting request starts"]
        assert api.get("/healthcheck/live") == {"live": True}
        told = made.command("scheduler", "explain", request_id=waiting)["text"]
        assert told.startswith("Scheduling is stopped: ")
        asked = {"project_id": "project-A", "flavor": "small"}
        assert made.command("scheduler", "simulate", **asked)["starts_now"] == 0
        stopped.start()
        made.run(1)
        assert api.get("/healthcheck")["healthy"]
        assert "stopped" not in made.command("scheduler", "explain", request_id=waiting)["text"]


def test_whoever_is_told_to_start_stopped_is_well_and_what_was_stopped_by_hand_is_not() -> None:
    for autostart in (True, False):
        with world(settings={"expiry": {"autostart": autostart}}) as made:
            made.run(1)
            made.engine.supervisors["expiry"].stop()
            status, found, _ = Api(made).ask("GET", "/healthcheck")
            assert (status == 200, found["ready"]) == (not autostart, True)


def test_a_scheduler_that_cannot_decide_makes_the_service_not_ready_after_its_time() -> None:
    with world() as made:
        made.engine.tolerant = True
        made.nova.faults.api_down = True  # before anybody knows the capacity
        made.run(50)
        api = Api(made)
        assert api.get("/healthcheck/ready")["ready"]
        made.run(90)
        status, found, _ = api.ask("GET", "/healthcheck/ready")
        assert status == 503
        assert any("manager scheduler was unable to work" in said for said in found["why"])
        assert any("the capacity of the cloud is not known" in said for said in found["why"])
        made.nova.faults.api_down = False
        made.run(30)
        assert api.get("/healthcheck/ready")["ready"]


# --- the database ---------------------------------------------------------------------------------


class Writing(Scripted):
    """Writes in each run."""

    name = "writing"

    def __init__(self, store: SqlStore) -> None:
        super().__init__()
        self._store = store

    def task(self) -> None:
        with self._store.writing() as uow:
            uow.projects.domains()
            uow.commit()
        self.done += 1


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A host with one manager that writes, its leadership, and its watch."""
    settings = conf_for(tmp_path / "db", sqlite_busy_s=0.05)
    engine = database.open_engine(settings, create=True)
    database.upgrade(engine)
    leadership = Leadership(engine, SystemClock(), role="synergy-service")
    leadership.take()
    store = SqlStore(engine, Vault([new_key()]), check=leadership.check)
    conf = cfg.ConfigOpts()
    conf([], project="synergy", default_config_files=[], default_config_dirs=[])
    register_options(conf, "writing", Writing)
    conf.set_override("rate_s", 0.05, group="writing")
    host = Host(conf, {"writing": Writing}, clock=SystemClock(), store=store, needs={})
    deposed = []
    watchdog = Watchdog(host, leadership, Vault([new_key()]), lambda: deposed.append(True))
    host.watched_by(watchdog.problems)
    host.start()
    yield SimpleNamespace(
        host=host, watchdog=watchdog, path=tmp_path / "db", leadership=leadership, store=store,
        engine=engine, deposed=deposed,
    )  # fmt: skip
    host.stop()
    store.close()


def report_of(opened: SimpleNamespace) -> Any:
    return opened.host._workers["writing"].supervisor.report


def test_who_rests_because_the_database_was_locked_runs_again_when_it_is_free(
    opened: SimpleNamespace,
) -> None:
    other = sqlite3.connect(opened.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    supervisor = opened.host._workers["writing"].supervisor
    for _ in range(8):
        supervisor.run()  # as if it had failed for long: it rests for 15 s
    until(lambda: supervisor.report.failures > 7 and supervisor.report.running_s is None)
    opened.watchdog.check()
    health = opened.host.health()
    assert (health["ready"], health["why"]) == (False, ["nothing can be written to the database"])
    done = report_of(opened).runs
    other.execute("ROLLBACK")
    other.close()
    opened.watchdog.check()
    until(lambda: report_of(opened).runs > done and not report_of(opened).last_error, patience_s=8)
    assert opened.host.health()["ready"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_file_that_is_gone_or_another_one_stops_intake_and_readiness(
    opened: SimpleNamespace, replaced: bool
) -> None:
    until(lambda: report_of(opened).runs)
    aside = opened.path.with_name("aside")
    opened.path.rename(aside)
    if replaced:
        opened.path.write_bytes(aside.read_bytes())
    told = "was replaced by another file" if replaced else "is gone"
    for transaction in (opened.store.reading, opened.store.writing):
        with pytest.raises(StoreUnavailable, match=told), transaction() as uow:
            uow.projects.domains()
    until(lambda: told in report_of(opened).last_error)
    opened.watchdog.check()
    assert not opened.host.health()["ready"]
    assert opened.path.exists() == replaced  # nobody made an empty one
    aside.rename(opened.path)
    opened.watchdog.check()
    until(lambda: not report_of(opened).last_error)
    assert opened.host.health()["ready"]


def test_an_older_copy_that_is_put_into_the_same_file_is_noticed(
    opened: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    opened.host.stop()
    older = sqlite3.connect(opened.path.with_name("older"))
    live = sqlite3.connect(opened.path)
    live.backup(older)
    opened.watchdog.check()
    assert opened.host._troubles() == []
    older.backup(live)
    live.close()
    older.close()
    opened.watchdog.check()
    assert opened.host._troubles() == ["nothing can be written to the database"]
    assert "the database was replaced by a copy of itself" in caplog.text
    assert opened.deposed == []


def test_the_database_of_somebody_else_in_the_same_file_is_written_to_by_nobody(
    opened: SimpleNamespace,
) -> None:
    opened.host.stop()
    with opened.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM leadership")
    with opened.store.writing() as uow:
        uow.projects.association("p", "u", "alice")
        with pytest.raises(StoreUnavailable, match="the database was replaced by another one"):
            uow.commit()
    with opened.store.reading() as uow:
        assert uow.projects.associations() == []


def test_keys_that_cannot_be_looked_at_do_not_keep_the_service_from_staying_leader(
    opened: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    class Unreadable(Vault):
        def refresh(self) -> bool:
            raise OSError("Input/output error")

    watchdog = Watchdog(opened.host, opened.leadership, Unreadable([new_key()]), lambda: None)
    with sqlite3.connect(opened.path) as other:
        before = other.execute("SELECT beat_at FROM leadership").fetchone()
        watchdog.check()
        assert other.execute("SELECT beat_at FROM leadership").fetchone() > before
    assert "a check of the watchdog failed" in caplog.text
    assert watchdog.problems() == []


def test_the_watch_takes_a_new_key_over_and_tells_of_a_file_that_is_wrong(
    opened: SimpleNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "keys"
    path.write_text(f"{new_key()}\n")
    path.chmod(0o600)
    vault = Vault.of_file(path)
    watchdog = Watchdog(opened.host, opened.leadership, vault, lambda: None)
    key = new_key()
    path.write_text(f"{key}\n")
    watchdog.check()
    assert vault.sealed_by_newest(Vault([key]).seal(b"x"))
    path.write_text("rubbish\n")
    watchdog.check()
    watchdog.check()
    assert caplog.text.count("the key file is not reloaded") == 1
    assert vault.open(Vault([key]).seal(b"x")) == b"x"


def test_a_damaged_row_is_a_warning_and_takes_nobody_out_of_service() -> None:
    with world() as made:
        made.add()
        made.run(2)
        api = Api(made)
        assert api.get("/healthcheck/ready")["warnings"] == []
        with made.store._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE projects SET default_quota = 'zz'")
        made.run(70)
        for path in ("/healthcheck", "/healthcheck/ready"):
            status, found, _ = api.ask("GET", path)
            assert (status, found["ready"], found["healthy"], found["why"]) == (200, True, True, [])
            assert found["warnings"] == [
                "1 row(s) of table projects cannot be read and are skipped: the log names each"
            ]


def test_the_health_of_the_service_tells_of_damaged_rows(opened: SimpleNamespace) -> None:
    with opened.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO domains (domain_id, name) VALUES ('d', X'00')")
    until(lambda: opened.host.health()["warnings"])
    health = opened.host.health()
    assert health["ready"]
    assert health["warnings"][0].startswith("1 row(s) of table domains")
