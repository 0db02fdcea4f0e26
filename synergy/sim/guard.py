"""Keeps managers from asking the cloud while they keep others off the database.

Why: Keystone or Nova may take seconds to answer, and for as long nobody else could write. Nothing
shows such a mistake on a quick cloud, so here it is an error. Must not know what is asked.
"""

from collections.abc import Callable
from functools import wraps


class CalledWhileWriting(AssertionError):
    """A manager asked the cloud inside a transaction that writes."""


class Guarded:
    """Passes every call on to a port, except while `is_writing`. Raises CalledWhileWriting."""

    def __init__(self, port: object, is_writing: Callable[[], bool]) -> None:
        self._port, self._is_writing = port, is_writing

    def __getattr__(self, name: str) -> object:
        asked = getattr(self._port, name)
        if not callable(asked):
            return asked

        @wraps(asked)
        def guarded(*args: object, **kwargs: object) -> object:
            if self._is_writing():
                raise CalledWhileWriting(
                    f"{name} was called inside a transaction that writes: fetch first, then write"
                )
            return asked(*args, **kwargs)

        return guarded
