"""Keys: the file is for its owner only, and no kill or rotation makes a message unreadable."""

import os
import random
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from synergy.core.errors import ConfigurationInvalid, Conflict, SealBroken
from synergy.db import engine as database
from synergy.db.key_file import create_keys, locked_keys, new_key, read_keys, write_keys
from synergy.db.models import Base
from synergy.db.reseal import SEALED_TABLES, Sealed, count_sealed, opens_any, reseal
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.service import manage
from tests.builders import NOON
from tests.unit.db.test_store import ANNOUNCED, conf_for, put


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A database with bodies and a set-aside message, its key file, and a configuration."""
    path = tmp_path / "synergy.conf"
    path.write_text(
        f"[DEFAULT]\ncloud = embedded\n[database]\nconnection = sqlite:///{tmp_path}/db\n"
        f"keys_file = {tmp_path}/keys\n[api]\nauth_strategy = none\n"
    )
    create_keys(tmp_path / "keys")
    engine = database.open_engine(conf_for(tmp_path / "db"), create=True)
    database.upgrade(engine)
    store = SqlStore(engine, Vault.of_file(tmp_path / "keys"))
    with store.writing() as uow:
        uow.projects.association("p", "u", "alice")
        uow.commit()
    for number in range(1, 4):
        put(store, number)
    with store.writing() as uow:
        uow.requests.quarantine("m", b"junk", "why", NOON)
        uow.commit()
    engine.dispose()
    return tmp_path


def manage_keys(folder: Path, *action: str) -> int:
    return manage.run(["--config-file", str(folder / "synergy.conf"), "keys", *action])


def sealed_in(folder: Path, keys: list[str] | None = None) -> Sealed:
    engine = database.open_engine(conf_for(folder / "db"))
    found = count_sealed(engine, Vault(keys or read_keys(folder / "keys")))
    engine.dispose()
    return found


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [(None, "does not exist"), ("\n", "is empty"), (f"{'x' * 44}\n", "line 1: not")],
)
def test_a_key_file_that_cannot_be_used_is_told_with_how_to_mend_it(
    tmp_path: Path, text: str | None, told: str
) -> None:
    path = tmp_path / "keys"
    if text is not None:
        path.write_text(text)
        path.chmod(0o600)
    with pytest.raises(ConfigurationInvalid, match=told) as caught:
        read_keys(path)
    assert "synergy-manage keys create" in str(caught.value)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666, 0o601])
def test_a_key_file_that_others_may_open_is_refused_with_how_to_mend_it(
    tmp_path: Path, mode: int
) -> None:
    create_keys(tmp_path / "keys")
    (tmp_path / "keys").chmod(mode)
    with pytest.raises(ConfigurationInvalid, match=f"mode {mode:04o}.*run chmod 600"):
        read_keys(tmp_path / "keys")


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    (tmp_path / "link").symlink_to(tmp_path / "keys")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, told in (
        ("link", "symbolic link"),
        ("pipe", "is not a plain file"),
        (".", "plain file"),
    ):
        with pytest.raises(ConfigurationInvalid, match=told):
            read_keys(tmp_path / name)


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    create_keys(folder / "keys")
    folder.chmod(0o777)
    for attempt in (read_keys, lambda path: write_keys(path, [new_key()])):
        with pytest.raises(ConfigurationInvalid, match="written to by everybody: run chmod o-w"):
            attempt(folder / "keys")
    folder.chmod(0o1777)  # where nobody may replace the file of another, as in /tmp
    assert len(read_keys(folder / "keys")) == 1


def test_a_key_file_is_made_for_its_owner_only_and_follows_no_link(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        create_keys(tmp_path / "new" / "keys")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_text("mine")
        (tmp_path / "new" / "keys.new").symlink_to(elsewhere)  # where a draft is written
        write_keys(tmp_path / "new" / "keys", [new_key(), new_key()])
    finally:
        os.umask(mask)
    found = (tmp_path / "new" / "keys").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert len(read_keys(tmp_path / "new" / "keys")) == 2
    assert elsewhere.read_text() == "mine"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict, match="exists"):
        create_keys(dangling)
    assert not (tmp_path / "nowhere").exists()


# --- the vault ------------------------------------------------------------------------------------


def test_what_an_old_key_sealed_opens_while_that_key_is_kept() -> None:
    old, new = new_key(), new_key()
    sealed = Vault([old]).seal(b"body")
    both = Vault([new, old])
    assert both.open(sealed) == b"body"
    assert not both.sealed_by_newest(sealed)
    assert both.sealed_by_newest(both.reseal(sealed))
    with pytest.raises(SealBroken, match="none of the configured keys"):
        Vault([new]).open(sealed)


def test_a_vault_takes_over_the_keys_of_its_file_and_forgets_none(tmp_path: Path) -> None:
    path, first = tmp_path / "keys", new_key()
    write_keys(path, [first])
    vault = Vault.of_file(path)
    early = vault.seal(b"early")
    assert not vault.refresh()
    second = new_key()
    write_keys(path, [second, first])
    late = Vault([second]).seal(b"late")
    assert vault.open(late) == b"late"  # sealed by another process a moment ago
    assert vault.sealed_by_newest(late)
    write_keys(path, [second])
    vault.refresh()
    assert vault.open(early) == b"early"
    path.chmod(0o644)
    with pytest.raises(ConfigurationInvalid, match="chmod 600"):
        vault.refresh()
    assert not vault.refresh()  # told once
    assert vault.open(vault.seal(b"on")) == b"on"


# --- commands -------------------------------------------------------------------------------------


def test_every_table_that_keeps_something_sealed_is_sealed_anew() -> None:
    found = {name for name, table in Base.metadata.tables.items() if "sealed" in table.c}
    assert {table.name for table in SEALED_TABLES} == found >= {"request_bodies", "quarantine"}


def test_a_rotate_seals_everything_anew_and_keeps_the_old_key_until_it_is_pruned(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = read_keys(folder / "keys")
    assert manage_keys(folder, "rotate") == 0
    assert "sealed 4 message(s) with the newest key" in capsys.readouterr().out
    newest, kept = read_keys(folder / "keys")
    assert kept == old
    assert sealed_in(folder) == Sealed(newest=4)
    assert manage_keys(folder, "prune") == 0
    assert read_keys(folder / "keys") == [newest]
    assert sealed_in(folder) == Sealed(newest=4)


def test_no_key_is_pruned_that_something_needs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [new_key(), *read_keys(folder / "keys")]  # as a rotate leaves it that was killed here
    write_keys(folder / "keys", keys)
    assert manage_keys(folder, "prune") == 1
    assert "4 stored message(s) need an old key: run synergy-manage keys reseal" in (
        capsys.readouterr().err
    )
    assert read_keys(folder / "keys") == keys
    assert manage_keys(folder, "reseal") == 0
    assert manage_keys(folder, "prune") == 0
    assert sealed_in(folder) == Sealed(newest=4)


def test_a_message_that_no_key_opens_stops_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = database.open_engine(conf_for(folder / "db"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE quarantine SET sealed = 'rubbish'")
    engine.dispose()
    assert manage_keys(folder, "rotate") == 0
    assert "no key opens 1 message(s); they stay as they are" in (capsys.readouterr().out)
    assert sealed_in(folder) == Sealed(newest=3, unreadable=1)
    assert manage_keys(folder, "prune") == 0


def test_two_who_change_the_keys_do_not_meet(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_keys(folder / "keys"):
        for action in ("rotate", "reseal", "prune"):
            assert manage_keys(folder, action) == 1
            assert "another synergy-manage changes" in capsys.readouterr().err


def test_no_new_key_is_made_for_messages_that_it_does_not_open(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "keys").rename(folder / "lost")
    assert manage_keys(folder, "create") == 1
    assert "keeps 4 sealed message(s), which a new key cannot open" in capsys.readouterr().err
    assert not (folder / "keys").exists()
    assert manage_keys(folder, "create", "--force") == 0
    assert manage.run(["--config-file", str(folder / "synergy.conf"), "config", "validate"]) == 1
    assert "opens none of the messages that the database keeps" in capsys.readouterr().err


def test_what_changes_while_it_is_sealed_anew_is_left_to_whoever_changed_it(folder: Path) -> None:
    engine = database.open_engine(conf_for(folder / "db"))
    keys = [new_key(), *read_keys(folder / "keys")]
    vault = Vault(keys)
    reseal(engine, vault)
    assert reseal(engine, vault) == 0
    assert opens_any(engine, vault)
    assert not opens_any(engine, Vault([new_key()]))
    engine.dispose()


def test_killed_at_any_moment_a_rotate_leaves_every_message_readable(folder: Path) -> None:
    engine = database.open_engine(conf_for(folder / "db"))
    store = SqlStore(engine, Vault.of_file(folder / "keys"))
    for start in range(1, 601, 300):
        with store.writing() as uow:
            for number in range(start, start + 300):
                uow.requests.quarantine(f"q{number}", b"x" * 200, "why", NOON)
            uow.commit()
    engine.dispose()
    rng, kills = random.Random(7), 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", ANNOUNCED, "--config-file", str(folder / "synergy.conf"),
             "keys", "rotate"],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(rng.uniform(0.2, 1.0))  # the moment of the kill is what is tried
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        found = sealed_in(folder)
        assert (found.newest + found.older, found.unreadable) == (604, 0)
    assert kills
    assert manage_keys(folder, "reseal") == 0
    assert manage_keys(folder, "prune") == 0
    assert sealed_in(folder) == Sealed(newest=604)
    assert all(Fernet(key) for key in read_keys(folder / "keys"))
