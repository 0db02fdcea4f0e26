"""Makes it an error to call the cloud inside a write transaction.

Why: Keystone or Nova may take seconds to answer, and nobody else could write in the meantime. On a
fast cloud such a bug would go unnoticed. Must not know what is called.
"""

from collections.abc import Callable
from functools import wraps


class CalledWhileWriting(AssertionError):
    """A manager called the cloud inside a write transaction."""


class Guarded:
    """Forwards every call to a port. Raises CalledWhileWriting while `is_writing`."""

    def __init__(self, port: object, is_writing: Callable[[], bool]) -> None:
        self._port, self._is_writing = port, is_writing

    def __getattr__(self, name: str) -> object:
        attribute = getattr(self._port, name)
        if not callable(attribute):
            return attribute

        @wraps(attribute)
        def guarded(*args: object, **kwargs: object) -> object:
            if self._is_writing():
                raise CalledWhileWriting(
                    f"{name} was called inside a write transaction: fetch first, then write"
                )
            return attribute(*args, **kwargs)

        return guarded
