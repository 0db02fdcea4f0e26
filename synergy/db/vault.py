"""Seals request bodies: compressed, then encrypted with Fernet; several keys allow rotation.

A stored message holds tokens and passwords. Compressed with zstd, which takes a third of the time
of zlib; what an older version stored with zlib opens too. Must not know what a body means.
"""

import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import zstandard
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from synergy.core.errors import ConfigurationInvalid, SealBroken

_LEVEL: Final = 1  # bodies are repetitive JSON: higher levels cost time and gain little
_LONGEST: Final = 2**30  # bytes of an opened body


class Vault:
    """The first key seals; every key opens."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._codec = _Codec()

    def seal(self, body: bytes) -> bytes:
        """Return the body compressed and encrypted."""
        return self._fernet.encrypt(self._codec.compress(body))

    def open(self, sealed: bytes) -> bytes:
        """Return the body. Raises SealBroken when no key opens it."""
        try:
            return self._codec.decompress(self._fernet.decrypt(sealed))
        except (InvalidToken, TypeError, ValueError, zlib.error, zstandard.ZstdError) as error:
            raise SealBroken(
                "a stored request body opens with none of the configured keys: put the key that "
                "sealed it back into [database] keys_file"
            ) from error

    def reseal(self, sealed: bytes) -> bytes:
        """Return the body sealed with the first key. Raises SealBroken."""
        return self.seal(self.open(sealed))


class _Codec(threading.local):
    """Compresses and decompresses; what zstd needs for that is made once for each thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def compress(self, data: bytes) -> bytes:
        return self._compressor.compress(data)

    def decompress(self, data: bytes) -> bytes:
        if data.startswith(zstandard.FRAME_HEADER):
            return self._decompressor.decompress(data, max_output_size=_LONGEST)
        return zlib.decompress(data)


def read_keys(path: Path) -> list[str]:
    """Return the keys of a file, one in a line. Raises ConfigurationInvalid."""
    make = f"make one with: synergy-manage keys create (option [database] keys_file = {path})"
    try:
        keys = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise ConfigurationInvalid(
            [f"encryption key file {path} does not exist; {make}"]
        ) from error
    except OSError as error:
        raise ConfigurationInvalid([f"encryption key file {path}: {error.strerror}"]) from error
    if not keys:
        raise ConfigurationInvalid([f"encryption key file {path} is empty; {make}"])
    for number, key in enumerate(keys, start=1):
        try:
            Fernet(key)
        except ValueError as error:
            raise ConfigurationInvalid(
                [f"encryption key file {path}, line {number}: not a Fernet key; {make}"]
            ) from error
    return keys


def write_keys(path: Path, keys: Sequence[str]) -> None:
    """Write the key file at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write("".join(f"{key}\n" for key in keys))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def new_key() -> str:
    """Return a fresh key."""
    return Fernet.generate_key().decode()
