"""Seals request bodies: compressed, then encrypted with Fernet; several keys allow rotation.

A stored message holds tokens and passwords. Compressed with zstd, which takes a third of the time
of zlib; what an older version stored with zlib opens too. A vault that follows a key file takes new
keys over while it is in use, and forgets none: what it sealed a moment ago stays readable. Must not
know what a body means.
"""

import hashlib
import os
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import zstandard
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from synergy.core.errors import ConfigurationInvalid, SealBroken
from synergy.db.key_file import read_keys

_LEVEL: Final = 1  # bodies are repetitive JSON: higher levels cost time and gain little
_LONGEST: Final = 2**30  # bytes of an opened body


class Vault:
    """The first key seals; every key opens."""

    def __init__(self, keys: Sequence[str], path: Path | None = None) -> None:
        """path  the file that the keys were read from, and that `refresh` follows"""
        self._path, self._seen = path, _signature(path)
        self._changing = threading.Lock()
        self._keys = tuple(keys)
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._codec = _Codec()

    @classmethod
    def of_file(cls, path: Path) -> "Vault":
        """Return a vault that follows a key file. Raises ConfigurationInvalid."""
        return cls(read_keys(path), path)

    @property
    def sealing_key(self) -> str:
        """The fingerprint of the key that seals."""
        return fingerprint(self._keys[0])

    def refresh(self) -> bool:
        """Take over the keys of the file if it changed, and tell whether another key seals now.

        Raises ConfigurationInvalid when the file cannot be used; the keys then stay as they are.
        """
        with self._changing:
            signature = _signature(self._path)
            if self._path is None or signature == self._seen:
                return False
            self._seen = signature  # a file that cannot be used is told of once
            found = read_keys(self._path)
            before = self._keys
            keys = (*found, *(key for key in before if key not in found))
            self._keys, self._fernet = keys, MultiFernet([Fernet(key) for key in keys])
            return before[0] != keys[0]

    def seal(self, body: bytes) -> bytes:
        """Return the body compressed and encrypted."""
        return self._fernet.encrypt(self._codec.compress(body))

    def open(self, sealed: bytes) -> bytes:
        """Return the body. Raises SealBroken when no key opens it."""
        try:
            return self._codec.decompress(self._decrypted(sealed))
        except (InvalidToken, TypeError, ValueError, zlib.error, zstandard.ZstdError) as error:
            raise SealBroken(
                "a stored request body opens with none of the configured keys: put the key that "
                "sealed it back into [database] keys_file"
            ) from error

    def _decrypted(self, sealed: bytes) -> bytes:
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            try:
                self.refresh()  # it may have been sealed with a key that came a moment ago
            except ConfigurationInvalid as error:
                raise SealBroken(str(error)) from error
            return self._fernet.decrypt(sealed)

    def reseal(self, sealed: bytes) -> bytes:
        """Return the body sealed with the first key. Raises SealBroken."""
        return self.seal(self.open(sealed))

    def sealed_by_newest(self, sealed: bytes) -> bool:
        """Return whether the first key alone opens it."""
        try:
            Fernet(self._keys[0]).decrypt(sealed)
        except (InvalidToken, TypeError, ValueError):
            return False
        return True


def fingerprint(key: str) -> str:
    """Return what tells keys apart without giving one away."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _signature(path: Path | None) -> tuple[int, ...]:
    """Return what changes whenever the file is replaced or written."""
    if path is None:
        return ()
    try:
        found = os.lstat(path)
    except OSError:
        return ()
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode


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
