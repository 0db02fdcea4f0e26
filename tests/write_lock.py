"""What SQLite does while somebody writes, counted: nobody else can write meanwhile.

Why: seconds say how busy the machine is; statements and steps say how much is done.
"""

from collections import Counter
from typing import Any

from sqlalchemy import event

from synergy.db.store import SqlStore


class WriteLock:
    """Counts what SQLite does while somebody writes: statements, and steps of its machine, which do
    not depend on how busy this one is."""

    GRAIN = 100  # steps

    def __init__(self, store: SqlStore) -> None:
        self.statements: Counter[str] = Counter()
        self.steps, self._store = 0, store
        event.listen(store._engine, "checkout", self._watch)
        event.listen(store._engine, "before_cursor_execute", self._note)

    def _watch(self, connection: Any, *_: Any) -> None:
        connection.set_progress_handler(self._step, self.GRAIN)

    def _step(self) -> int:
        self.steps += self.GRAIN if self._store.is_writing else 0
        return 0

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._store.is_writing:
            self.statements[statement] += 1
