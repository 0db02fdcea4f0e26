"""Lets one process at a time act on a database, wherever it was started.

Why: two services on one database would each hand the same quota out. Anyone who takes the
leadership raises its term, and every write transaction of a holder asks at commit whether the term
is still its own: one that was deposed, or that writes into another database than it opened, changes
nothing. Must not know what is written.

A holder is told dead at once where that can be seen: on the same machine, by its process. On any
other, only after its row was not touched for LAPSE_S seconds and stays so while it is watched;
instants of two hosts are never trusted to agree.
"""

import os
import socket
import threading
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, insert, select, text, update
from sqlalchemy.engine import RowMapping

from synergy.core.errors import Conflict, Deposed, StoreUnavailable
from synergy.db.engine import READS, translated
from synergy.db.models import LeadershipRow
from synergy.db.vault import fingerprint
from synergy.ports import Clock

SERVICE: Final = "service"  # the only leadership there is
BEAT_S: Final = 2.0
LAPSE_S: Final = 30.0
_WATCH_S: Final = 3 * BEAT_S
_SHARED_LOCK: Final = {"sqlite": "", "postgresql": "FOR SHARE"}
_MEND: Final = (
    "while it was in use, and nothing is written: stop Synergy, put the right one in its place, "
    "and start it again"
)
_OWN = LeadershipRow.name == SERVICE
_ROW = select(LeadershipRow.__table__).where(_OWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """This process, as another one can tell whether it still lives."""

    host: str
    pid: int
    machine: str
    started: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Who acts, or acted last, on a database: a row of the table; `holder` is "" when nobody does.

    sealing_key  fingerprint of the key that it seals with
    """

    name: str
    term: int
    holder: str
    role: str
    host: str
    pid: int
    machine: str
    started: int
    since: datetime
    beat_at: datetime
    sealing_key: str


def _leader_of(row: RowMapping | None) -> Leader | None:
    return None if row is None else Leader(**row)


def this_process() -> Process:
    """Return the calling process."""
    pid = os.getpid()
    return Process(
        host=socket.gethostname()[:255], pid=pid, machine=_machine(), started=_started(pid) or 0
    )


def _machine() -> str:
    """Return what is equal only where process ids mean the same: one boot, one pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return sha256(f"{boot} {namespace}".encode()).hexdigest()


def _started(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot; None when there is no such one."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


class Leadership:
    """The leadership of one database, as one process takes, keeps and leaves it."""

    def __init__(self, engine: Engine, clock: Clock, *, role: str, watch_s: float = _WATCH_S):
        """role  what the process is, for anyone who is turned away"""
        self._engine, self._clock, self._role, self._watch_s = engine, clock, role, watch_s
        self._process, self._holder = this_process(), str(uuid.uuid4())
        self._term: int | None = None
        self._beat_at: datetime | None = None
        # Nobody may take over between the answer and the commit. SQLite has one writer anyway.
        lock = _SHARED_LOCK.get(engine.dialect.name, "LOCK IN SHARE MODE")
        self._question = text(f"SELECT term, holder FROM leadership WHERE name = 'service' {lock}")

    @property
    def term(self) -> int | None:
        """The term in which this process holds the leadership; None while it does not."""
        return self._term

    def take(self, sealing_key: str = "") -> int:
        """Take the leadership and return its term. Raises Conflict telling who has it."""
        found = self.read()
        if found is not None and found.holder:
            self.check_gone(found)
        with translated(), self._engine.begin() as connection:
            now = _leader_of(connection.execute(_ROW.with_for_update()).mappings().first())
            if now is not None and (found is None or _mark(now) != _mark(found)):
                raise Conflict(_taken(now, self._clock.now()))
            at, own, term = self._clock.now(), self._process, 1 if now is None else now.term + 1
            values = {
                "term": term,
                "holder": self._holder,
                "role": self._role,
                "host": own.host,
                "pid": own.pid,
                "machine": own.machine,
                "started": own.started,
                "since": at,
                "beat_at": at,
                "sealing_key": sealing_key,
            }
            if now is None:
                connection.execute(insert(LeadershipRow).values(name=SERVICE, **values))
            else:
                connection.execute(update(LeadershipRow).where(_OWN).values(**values))
        self._term, self._beat_at = term, at
        return term

    def read(self) -> Leader | None:
        """Return the row of who acts, None when there never was anybody."""
        with translated(), self._engine.connect() as connection:
            connection = connection.execution_options(**{READS: True})
            return _leader_of(connection.execute(_ROW).mappings().first())

    def check_gone(self, found: Leader) -> None:
        """Raise Conflict unless the holder is dead, as far as can be known from here."""
        now = self._clock.now()
        if found.machine and found.machine == self._process.machine:
            if _started(found.pid) == found.started:
                raise Conflict(_taken(found, now))
            return
        if abs(now - found.beat_at) < timedelta(seconds=LAPSE_S):
            raise Conflict(_taken(found, now))
        threading.Event().wait(self._watch_s)
        again = self.read()
        if again is not None and _mark(again) != _mark(found):
            raise Conflict(_taken(again, now))

    def beat(self, sealing_key: str = "") -> None:
        """Record that this process lives.

        Raises Deposed when another process took over, and StoreUnavailable.
        """
        at = self._clock.now()
        with translated(), self._engine.begin() as connection:
            row = _leader_of(connection.execute(_ROW.with_for_update()).mappings().first())
            self._check(None if row is None else (row.term, row.holder), row)
            if row is not None and row.beat_at != self._beat_at:
                raise StoreUnavailable(f"the database was replaced by a copy of itself {_MEND}")
            connection.execute(
                update(LeadershipRow).where(_OWN).values(beat_at=at, sealing_key=sealing_key)
            )
            self._beat_at = at

    def check(self, connection: Connection) -> None:
        """Make sure that this process holds the leadership until the transaction ends.

        Raises Deposed, and StoreUnavailable when it is another database.
        """
        row = connection.execute(self._question).first()
        if row is None or row[0] != self._term or row[1] != self._holder:
            self._check(None if row is None else (row[0], row[1]), None)

    def _check(self, found: tuple[int, str] | None, row: Leader | None) -> None:
        if found == (self._term, self._holder):
            return
        if found is None or self._term is None or found[0] < self._term:
            raise StoreUnavailable(f"the database was replaced by another one {_MEND}")
        who = _name(row) if row is not None and row.holder else "another process"
        raise Deposed(
            f"{who} took the database over in term {found[0]}: this process, of term {self._term}, "
            "changes nothing any longer"
        )

    def leave(self) -> None:
        """Let the next one take over at once. Raises StoreUnavailable."""
        if self._term is None:
            return
        mine = (_OWN, LeadershipRow.term == self._term, LeadershipRow.holder == self._holder)
        with translated(), self._engine.begin() as connection:
            connection.execute(update(LeadershipRow).where(*mine).values(holder=""))
        self._term = None


@dataclass(frozen=True, slots=True)
class Holder:
    """Who acts on a database; its text names the process."""

    row: Leader

    def __str__(self) -> str:
        return f"{_name(self.row)}, since {self.row.since.isoformat(timespec='seconds')}"

    def seals_with_another(self, key: str) -> bool:
        """Return whether it seals messages, and not with this key."""
        return self.row.sealing_key not in ("", fingerprint(key))


def holder_of(engine: Engine, clock: Clock) -> Holder | None:
    """Return who acts on the database, None when nobody does that is known to live."""
    reader = Leadership(engine, clock, role="reader", watch_s=0.0)
    found = reader.read()
    if found is None or not found.holder:
        return None
    try:
        reader.check_gone(found)
    except Conflict:
        return Holder(found)
    return None


def _mark(row: Leader) -> tuple[object, ...]:
    return row.term, row.holder, row.beat_at


def _name(row: Leader) -> str:
    return f"{row.role} on host {row.host}, process {row.pid}"


def _taken(row: Leader, now: datetime) -> str:
    age_s = max(0.0, (now - row.beat_at).total_seconds())
    return (
        f"the database is in use by {_name(row)}, since {row.since.isoformat(timespec='seconds')} "
        f"(last sign of life {age_s:.0f} s ago): stop that one first"
    )
