"""What is archived is either here or there, whole, and reports do not change."""

import logging
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from synergy.core.errors import Conflict, NotFound
from synergy.core.lifecycle import TERMINAL, Event
from synergy.db.archive import pack, unpack
from synergy.db.key_file import new_key, write_keys
from synergy.db.models import ArchiveRow
from synergy.db.store import SqlStore
from synergy.managers.archive import ArchiveManager
from synergy.managers.fairshare import rollups
from synergy.ports import Hold
from synergy.service.manage import run as run_manage
from synergy.sim.clock import VirtualClock
from synergy.sim.engine import temporary_store
from tests.builders import NOON, kind
from tests.patience import until
from tests.unit.db.histories import Histories
from tests.unit.managers.fairshare.test_rollups import GROUPS, agree, catch_up, exact, report
from tests.write_lock import WriteLock

LATER = NOON + timedelta(days=500)
END = NOON + timedelta(days=3)


@pytest.fixture
def store() -> Iterator[SqlStore]:
    with temporary_store() as made:
        yield made


class Settings:
    keep_days, quarantine_max, rate_s = 400, 2, 3600.0


def manager_of(store: SqlStore, now: datetime = LATER, **changes: Any) -> ArchiveManager:
    settings: Any = type("Changed", (Settings,), changes)
    return ArchiveManager(settings, VirtualClock(now), store, settings)


def run(manager: ArchiveManager) -> None:
    """Run a manager until nothing is left."""
    for _ in range(1000):
        if manager.task() is None:
            return
    raise AssertionError("the manager never comes to an end")


def everything(store: SqlStore) -> tuple[set[str], set[str], int, int]:
    """Return (ids of requests, ids in the archive, entries of the ledger here, there)."""
    with store._engine.connect() as connection:
        here = {row[0] for row in connection.exec_driver_sql("SELECT request_id FROM requests")}
        rows = connection.exec_driver_sql("SELECT key, record FROM archive").all()
        ledger = connection.exec_driver_sql("SELECT COUNT(*) FROM ledger").scalar_one()
    moved = sum(len(unpack(record)["ledger"]) for _, record in rows)
    return here, {key for key, _ in rows}, ledger, moved


def charged(holds: list[Hold]) -> float:
    """Return the VCPU-seconds of holds."""
    return sum(
        h.demand["VCPU"] * h.count * ((h.released_at or LATER) - h.held_from).total_seconds()
        for h in holds
    )


def test_reports_charges_and_counts_stay_when_requests_are_archived(store: SqlStore) -> None:
    histories = Histories(store, 1)
    for _ in range(20):
        histories.live(NOON, END)
    catch_up(store, END)
    catch_up(store, LATER - timedelta(days=490))
    begin, end = NOON + timedelta(hours=3, seconds=7), END - timedelta(minutes=13, seconds=1)
    with store.reading() as uow:
        counts, holds = uow.requests.counts(), uow.requests.holds_since(NOON)
    run(manager_of(store))
    here, there, *_ = everything(store)
    assert len(there) > 10
    assert not here & there
    assert len(here) + len(there) == 20
    with store.reading() as uow:
        assert uow.requests.counts() == counts
        left = [one for one in uow.requests.search() if one.state in TERMINAL]
        assert len(left) <= 1  # the newest stays
        after = uow.requests.holds_since(NOON)
    assert charged(after) == pytest.approx(charged(holds))
    agree(report(store, begin, end), exact(histories.claims, begin, end))
    for period in ("hour", "day"):
        hours = sum(values[1] for values in report(store, begin, end, period=period).values())
        whole = sum(values[1] for values in exact(histories.claims, begin, end).values())
        assert hours == pytest.approx(whole, abs=1e-2)


def test_a_record_keeps_all_that_was_known_of_a_request(store: SqlStore) -> None:
    histories = Histories(store, 2)
    one = histories.live(NOON, END, open_ratio=0)
    histories.wait()
    catch_up(store, END)
    catch_up(store, END)
    with store.reading() as uow:
        steps = uow.requests.steps(one.request_id)
    run(manager_of(store))
    with store.reading() as uow:
        record = uow.archive.record("request", one.request_id)
        assert uow.requests.steps(one.request_id) == []
        with pytest.raises(NotFound, match="not in the archive"):
            uow.archive.record("request", "other")
    assert record["request"]["server_name"] == one.server_name
    assert record["class"]["demand"] == dict(one.demand)
    assert [step["event"] for step in record["ledger"]] == [step.event.value for step in steps]
    assert unpack(pack(record)) == record
    assert len(pack(record)) < 700


def test_an_old_record_is_read_with_the_events_of_today(store: SqlStore) -> None:
    histories = Histories(store, 2)
    one = histories.live(NOON, END, open_ratio=0)
    histories.wait()
    catch_up(store, END)
    catch_up(store, END)
    run(manager_of(store))
    with store.reading() as uow:
        record = uow.archive.record("request", one.request_id)
    record["ledger"][0]["event"], record["ledger"][1]["event"] = "PARKED", "PAUSED"
    with store._engine.begin() as connection:
        connection.execute(
            update(ArchiveRow).where(ArchiveRow.key == one.request_id).values(record=pack(record))
        )
    with store.reading() as uow:
        _, entries = uow.archive.request(one.request_id)
    assert [entry.step.event for entry in entries][:2] == [Event.SHELVED, Event.HELD]


def test_what_waits_runs_is_young_or_has_a_body_stays(store: SqlStore) -> None:
    histories = Histories(store, 3)
    running = histories.live(NOON, END, open_ratio=1)
    waiting = histories.wait()
    done = histories.live(NOON, END, open_ratio=0)
    histories.wait()
    for now, left in ((END + timedelta(days=399), True), (LATER, False)):
        catch_up(store, END)
        run(manager_of(store, now))
        here, *_ = everything(store)
        assert {running.request_id, waiting.request_id} <= here
        assert (done.request_id in here) is left
    run(manager_of(store, keep_days=0))


def test_numbers_are_never_given_twice(store: SqlStore) -> None:
    histories = Histories(store, 4)
    for _ in range(3):
        histories.live(NOON, END, open_ratio=0)
    catch_up(store, END)
    catch_up(store, END)
    with store._engine.connect() as connection:
        highest = [connection.exec_driver_sql(f"SELECT MAX({key}) FROM {table}").scalar_one()
                   for table, key in (("requests", "seq"), ("ledger", "seq"),
                                      ("request_classes", "class_id"))]  # fmt: skip
    run(manager_of(store))
    fresh = histories._arrive(histories.owners[0], kind(7, association=1), NOON)
    with store._engine.connect() as connection:
        seq = connection.exec_driver_sql(
            f"SELECT seq FROM requests WHERE request_id = '{fresh.request_id}'"
        ).scalar_one()
        step = connection.exec_driver_sql("SELECT MAX(seq) FROM ledger").scalar_one()
    assert seq > highest[0]
    assert step > highest[1]
    assert fresh.class_id > highest[2]


def test_classes_go_with_their_last_request_and_come_back_under_another_number(
    store: SqlStore,
) -> None:
    histories = Histories(store, 5)
    done = histories.live(NOON, END, open_ratio=0)
    used = histories.wait()
    with store.writing() as uow:
        idle = uow.requests.class_id(kind(31, association=1))
        newest = uow.requests.class_id(kind(32, association=1))
        uow.commit()
    catch_up(store, END)
    catch_up(store, END)
    run(manager_of(store))
    with store._engine.connect() as connection:
        left = {
            row[0] for row in connection.exec_driver_sql("SELECT class_id FROM request_classes")
        }
    assert {used.class_id, newest} == left
    assert done.class_id not in left
    with store.writing() as uow:
        again = uow.requests.class_id(kind(31, association=1))
        assert again > newest > idle
        uow.commit()
    with store.reading() as uow:
        assert uow.requests.get(used.request_id).request_class == used.request_class


def test_an_intake_that_meets_the_collection_of_its_class_works_the_next_time(
    store: SqlStore,
) -> None:
    histories = Histories(store, 6)
    owner, one = histories.owners[0], kind(31, association=histories.associations[("p", "ua")])
    with store.writing() as uow:
        stale = uow.requests.class_id(one)
        uow.requests.class_id(kind(32, association=1))
        uow.commit()
    with store._engine.begin() as connection:  # another process, of whose work nobody is told
        connection.exec_driver_sql(f"DELETE FROM request_classes WHERE class_id = {stale}")
    with pytest.raises(Conflict):
        histories._arrive(owner, one, NOON)
    assert histories._arrive(owner, one, NOON).class_id > stale


def test_what_is_kept_aside_is_bounded_and_nothing_of_it_is_lost_silently(
    store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    with store.writing() as uow:
        for number in range(5):
            uow.requests.quarantine(
                f"m{number}", b"token", "odd", NOON + timedelta(days=450 + number)
            )
        uow.commit()
    caplog.set_level(logging.ERROR)
    manager = manager_of(store)
    run(manager)
    told = manager.execute("status")
    assert (told["quarantined"], told["quarantine_max"], told["archived"]) == (
        2, 2, {"quarantine": 3},
    )  # fmt: skip
    with store.reading() as uow:
        assert [key for key, *_ in uow.requests.quarantined()] == ["m3", "m4"]
        record = uow.archive.record("quarantine", "m0")
    assert record["quarantine"]["why"] == "odd"
    assert "sealed" not in record["quarantine"]
    assert sum("is removed from the quarantine" in one.message for one in caplog.records) == 3


def test_what_is_purged_stays_in_reports_by_the_day(store: SqlStore) -> None:
    histories = Histories(store, 7)
    for _ in range(10):
        histories.live(NOON, END, open_ratio=0)
    histories.wait()
    catch_up(store, NOON + timedelta(hours=5))
    catch_up(store, NOON + timedelta(hours=5))
    run(manager_of(store))
    before = NOON + timedelta(days=40)
    with store.writing() as uow, pytest.raises(Conflict, match="rebuild-usage"):
        uow.archive.purge(before, 100)
    catch_up(store, before + timedelta(hours=2))
    days = (NOON.replace(hour=0), NOON.replace(hour=0) + timedelta(days=3))
    expected = exact(histories.claims, *days, GROUPS)
    with store.writing() as uow:
        assert uow.archive.purge(before, 10_000) > 10
        uow.commit()
    _, there, *_ = everything(store)
    assert len(there) <= 1
    agree(report(store, *days), expected)
    noons = report(store, NOON, NOON + timedelta(hours=6))
    assert all(hours <= expected.get((days[0].isoformat(), *key[1:]), (0, 1e9))[1] + 1e-6
               for key, (_, hours, _) in noons.items())  # fmt: skip


# --- as a process: kill -9, a full disk, an operator ------------------------------------------------

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with 30 finished requests, and the key of its messages."""
    place = tmp_path_factory.mktemp("filled")
    with temporary_store() as store:
        histories = Histories(store, 9)
        for _ in range(30):
            histories.live(NOON, END, open_ratio=0)
        store.close()  # also empties the write-ahead log into the file
        file = store._engine.url.database
        assert file is not None
        shutil.copy(file, place / "synergy.sqlite")
    write_keys(place / "keys", [new_key()])
    return place


@pytest.fixture
def on_disk(filled: Path, tmp_path: Path) -> tuple[Path, list[str]]:
    """A copy of it, and the words of synergy-manage for it."""
    for name in ("synergy.sqlite", "keys"):
        shutil.copy(filled / name, tmp_path / name)
    path, conf = tmp_path / "synergy.sqlite", tmp_path / "synergy.conf"
    conf.write_text(f"[database]\nconnection = sqlite:///{path}\nkeys_file = {tmp_path}/keys\n")
    return path, [str(BIN / "synergy-manage"), "--config-file", str(conf)]


def on(path: Path) -> tuple[set[str], set[str], int, int]:
    """Return what `everything` says of a file."""
    connection = sqlite3.connect(path)
    here = {row[0] for row in connection.execute("SELECT request_id FROM requests")}
    rows = connection.execute("SELECT key, record FROM archive").fetchall()
    ledger = connection.execute("SELECT COUNT(*) FROM ledger").fetchone()[0]
    spans = connection.execute(
        "SELECT (SELECT COUNT(*) FROM usage_spans) + "
        "(SELECT COUNT(*) FROM requests WHERE held_from < released_at)"
    ).fetchone()[0]
    connection.close()
    moved = sum(len(unpack(record)["ledger"]) for _, record in rows)
    return here, {key for key, _ in rows}, ledger + moved, spans


def test_a_kill_at_any_step_loses_nothing_and_doubles_nothing(
    on_disk: tuple[Path, list[str]],
) -> None:
    path, manage = on_disk
    here, _, entries, spans = on(path)
    script = (  # one record in each transaction, so that a kill meets one of many
        "import sys\nfrom synergy.service.manage import run\n"
        "for _ in range(99): run([*sys.argv[1:], '--max-rows', '1'])"
    )
    words = [*manage[1:], "db", "archive", "--before", "2026-06-01"]
    for wanted in (1, 9, 17):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *words], stdout=subprocess.DEVNULL
        )  # fmt: skip

        def enough(wanted: int = wanted) -> bool:
            return len(on(path)[1]) >= wanted

        until(enough, patience_s=90)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        left, there, *found = on(path)
        assert (left | there, left & there, found) == (here, set(), [entries, spans])
    assert run_manage(words) == 0
    left, there, *found = on(path)
    assert (left | there, left & there, found) == (here, set(), [entries, spans])
    assert len(left) == 1


def test_a_full_disk_is_one_clear_error_and_changes_nothing(
    on_disk: tuple[Path, list[str]],
) -> None:
    path, manage = on_disk
    before = on(path)
    limited = (
        "import resource, sys\nfrom synergy.service.manage import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, -1))\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    words = [*manage[1:], "db", "archive", "--before", "2026-06-01"]
    done = subprocess.run([sys.executable, "-c", limited, *words], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "the disk of the database is full: this change was not made" in done.stderr
    assert on(path) == before
    assert run_manage(words) == 0
    assert len(on(path)[0]) == 1


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["archive", "--before", "soon"], 1, "--before 'soon' is not a date such as"),
        (["archive", "--before", "2999-01-01"], 1, "is in the future"),
        (["archive", "--before", "2026-06-01", "--dry-run"], 0, "would archive.* 29 request"),
        (["archive", "--before", "2026-06-01", "--max-rows", "5"], 0, "5 request"),
        (["archive"], 0, "archived, before .*: 0 audit, 0 quarantine"),
        (["purge"], 2, "required: --before"),
        (["purge", "--before", "2026-06-01", "--dry-run"], 0, "would purge"),
        (["rebuild-usage", "-f", "json"], 0, "hours and days"),
        (["archive", "--max-rows", "-3"], 2, "invalid number of rows from 1 on"),
    ],
)
def test_an_operator_is_told_what_became_of_the_command(
    on_disk: tuple[Path, list[str]],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    told: str,
) -> None:
    _, manage = on_disk
    try:
        found: int | str | None = run_manage([*manage[1:], "db", *words])
    except SystemExit as ended:
        found = ended.code
    text = "".join(capsys.readouterr())
    assert found == code, text
    assert re.search(told, text), text


def steps_of_a_batch(finished: int) -> int:
    """Return what SQLite does to archive 50 of so many."""
    with temporary_store() as store:
        Histories(store).many(finished, NOON)
        for _ in range(2):
            rollups.count_only(store)
        with store.reading() as uow:
            keys = uow.archive.due("request", LATER, 50)
        lock = WriteLock(store)
        with store.writing() as uow:
            assert uow.archive.move("request", keys) == 50
            uow.commit()
    return lock.steps


def test_a_batch_costs_what_it_moves_however_much_is_finished() -> None:
    few, many = steps_of_a_batch(60), steps_of_a_batch(3000)
    assert 0 < many < 1.3 * few
