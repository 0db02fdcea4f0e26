"""The file with the keys that seal stored messages: read with care, written without a gap.

Why: anyone who reads the file reads every password in the queue, and anyone who loses it loses the
queue. So it must be a plain file that only its owner may open, in a folder that nobody else may
write to, and a write replaces it as a whole: a kill at any step leaves the old file or the new one.
Must not know what is sealed.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet

from synergy.core.errors import ConfigurationInvalid, Conflict

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_LONGEST_BYTES: Final = 1024 * 1024


def new_key() -> str:
    """Return a fresh key."""
    return Fernet.generate_key().decode()


def read_keys(path: Path) -> list[str]:
    """Return the keys of a file, one in a line, the sealing one first.

    Raises ConfigurationInvalid for a file that is missing, is no plain file, may be opened by
    others, or holds something else.
    """
    make = f"make one with: synergy-manage keys create (option [database] keys_file = {path})"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _invalid(path, f"does not exist; {make}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _invalid(path, "is a symbolic link: name the file itself") from error
        raise _invalid(path, f"cannot be read: {error.strerror}") from error
    try:
        _check_file(path, os.fstat(descriptor))
        _check_folder(path.absolute().parent)
        text = os.read(descriptor, _LONGEST_BYTES).decode("ascii", "replace")
    except OSError as error:  # its folder was taken away meanwhile, or the disk is damaged
        raise _invalid(path, f"cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    keys = [line.strip() for line in text.splitlines()]
    for number, key in enumerate(keys, start=1):
        try:
            _ = Fernet(key) if key else None
        except ValueError as error:
            raise _invalid(path, f"line {number}: not a Fernet key; {make}") from error
    if not any(keys):
        raise _invalid(path, f"is empty; {make}")
    return [key for key in keys if key]


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _invalid(path, "is not a plain file")
    if found.st_uid not in (os.geteuid(), 0):
        raise _invalid(path, f"belongs to user id {found.st_uid}: chown it to who runs Synergy")
    if found.st_mode & _OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        raise _invalid(path, f"may be opened by others (mode {mode:04o}): run chmod 600 {path}")


def _check_folder(folder: Path) -> None:
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        open_to_all = (
            f"folder {folder} of the encryption key file may be written to by everybody: "
            f"run chmod o-w {folder}"
        )
        raise ConfigurationInvalid([open_to_all])


def _invalid(path: Path, said: str) -> ConfigurationInvalid:
    return ConfigurationInvalid([f"encryption key file {path} {said}"])


def create_keys(path: Path) -> None:
    """Make the file with a first key. Raises Conflict when something is there already."""
    if os.path.lexists(path):
        raise Conflict(f"{path} exists: use synergy-manage keys rotate to change the key")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_keys(path, [new_key()])


def write_keys(path: Path, keys: Sequence[str]) -> None:
    """Replace the file as a whole, readable by its owner only, and wait until the disk has it.

    A draft of a run that was killed is removed; a draft is never opened when somebody else made it.
    Raises ConfigurationInvalid.
    """
    _check_folder(path.absolute().parent)
    draft = path.with_name(f"{path.name}.new")
    try:
        draft.unlink(missing_ok=True)
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "w") as file:
            file.write("".join(f"{key}\n" for key in keys))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        with _opened(path.absolute().parent) as folder:
            os.fsync(folder)  # the new name is on the disk before anything is sealed with its key
    except OSError as error:
        raise _invalid(path, f"cannot be written: {error.strerror}") from error


@contextmanager
def locked_keys(path: Path) -> Iterator[None]:
    """Keep other changes of the key file away. Raises Conflict when one is under way.

    The lock is on the folder: the file itself is replaced.
    """
    with _opened(path.absolute().parent) as folder:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                f"another synergy-manage changes {path} right now: run this again when it is done"
            ) from error
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationInvalid(
            [f"folder {folder} of the encryption key file cannot be opened: {error.strerror}"]
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
