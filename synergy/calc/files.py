"""Opens what a calculator or the simulator reads: a file, a pipe or standard input, plain or gzip.

Why: a pipe can be read only once, so its first bytes, which tell whether it is packed, must not be
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
_MOST_READ_ON: Final = 2**28  # bytes: enough for any log, and an end where there is none


def name_of(path: str) -> str:
    """Return how messages call an input."""
    return "standard input" if path == STANDARD_INPUT else path


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """Open an input to be read from its start to its end, unpacked.

    Raises InvalidInput naming it when it cannot be opened or, within the block, read or unpacked.
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
                _read_on(unpacked)
                raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InvalidInput(
            f"{name_of(path)} begins like a gzip file, but is broken: {error}"
        ) from error
    except OSError as error:
        raise InvalidInput(f"cannot read {name_of(path)}: {error.strerror or error}") from error


def _read_on(unpacked: BinaryIO) -> None:
    """Read on where the content made no sense: bytes that were broken on their way unpack to
    nonsense long before they are noticed, and then that is what has to be told."""
    left = _MOST_READ_ON
    while left > 0 and (part := unpacked.read(2**20)):
        left -= len(part)


def _open(path: str) -> AbstractContextManager[Any]:
    if path == STANDARD_INPUT:
        return nullcontext(sys.stdin.buffer)  # which is not ours to close
    try:
        return Path(path).open("rb")
    except ValueError as error:
        raise InvalidInput(f"cannot read {shown(path)}: {error}") from error


class _Rejoined(io.RawIOBase):
    """A stream with its first bytes, which were read already, before the rest."""

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
