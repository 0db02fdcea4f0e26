"""Opens the input of a calculator or the simulator: a file, a pipe or standard input, plain or
gzip.

Why: a pipe can be read only once, so the first bytes, which show whether it is gzip, must not be
lost. Must not know what the content means.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from synergy.core.errors import InvalidInput
from synergy.core.numbers import shown

STANDARD_INPUT: Final = "-"
_GZIP: Final = b"\x1f\x8b"
_MAX_DRAIN_BYTES: Final = 2**28  # bytes: enough for any log, and a bound for an endless stream


def name_of(path: str) -> str:
    """Return the name of an input for error messages."""
    return "standard input" if path == STANDARD_INPUT else path


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open an input for reading, decompressed.

    Raises InvalidInput naming it when it cannot be opened, read or decompressed.
    """
    try:
        with _open(path) as file:
            first = file.read(len(_GZIP))
            whole = io.BufferedReader(_Rejoined(first, file))
            if first != _GZIP:
                yield whole
                return
            unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=whole))
            try:
                yield unpacked
            except InvalidInput:
                _drain(unpacked)
                raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidInput(
            f"{name_of(path)} begins like a gzip file, but is broken: {error}"
        ) from error
    except OSError as error:
        raise InvalidInput(f"cannot read {name_of(path)}: {error.strerror or error}") from error


def _drain(unpacked: BinaryIO) -> None:
    """Read to the end after an error in the content. A corrupt gzip file decompresses to nonsense
    long before its checksum fails, and then the corruption is the error to report, not the
    nonsense."""
    left = _MAX_DRAIN_BYTES
    while left > 0 and (part := unpacked.read(2**20)):
        left -= len(part)


def _open(path: str) -> AbstractContextManager[Any]:
    if path == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)  # must not be closed
    try:
        return Path(path).open("rb")
    except ValueError as error:
        raise InvalidInput(f"cannot read {shown(path)}: {error}") from error


class _Rejoined(io.RawIOBase):
    """A stream that returns its first bytes, which were already read, again."""

    def __init__(self, first: bytes, rest: BinaryIO) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = len(buffer)
        part = self._first[:room] or self._rest.read(room)
        self._first = self._first[room:]
        buffer[: len(part)] = part
        return len(part)
