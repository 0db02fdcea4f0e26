"""Runs one manager, and tells honestly how it is.

Why: whatever a manager raises becomes a status and a back-off, so that it stops no other. The
status is computed, when it is asked for, from facts that the run leaves behind: a run that hangs or
a thread that died cannot keep an old RUNNING in place, and reading needs no lock that a run holds.
Must not know threads, nor what a manager does.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from oslo_config import cfg

from synergy.core.backoff import Backoff
from synergy.core.declared.answers.service import Manager as ManagerShown
from synergy.core.errors import UpstreamUnavailable
from synergy.core.events import Fact
from synergy.managers.base import Json, Manager, Status
from synergy.managers.supervision.duties import Duties
from synergy.ports import Clock

LOG = logging.getLogger(__name__)
BACKOFF: Final = Backoff(initial_s=1.0, max_s=300.0)
UPSTREAM_BACKOFF: Final = Backoff(initial_s=1.0, max_s=15.0)  # to ask who is back costs little
LONGEST_INBOX: Final = 10_000  # events; a manager that is stopped for long reads the store instead
STOP_PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What REST and CLI show of a manager.

    lag_s      how late its run is: since it was due, while it has not ended
    running_s  for how long the run at hand goes on, None between two runs
    unable_s   for how long it could not do its work: it hangs, fails, or waits for what is missing
    hindrance  what it waits for, or ""
    """

    name: str
    status: Status
    needed: bool
    autostart: bool
    stopped_means: str
    runs: int
    failures: int
    last_run_at: datetime | None
    last_duration_s: float | None
    next_run_at: datetime | None
    last_error: str
    lag_s: float
    running_s: float | None
    unable_s: float
    stall_s: float
    hindrance: str


class _Stage(Enum):
    CREATED = auto()
    SETUP_FAILED = auto()
    READY = auto()
    DESTROYED = auto()


class Supervisor:
    """One manager: its inbox, status, failures and next run. Has no thread of its own."""

    def __init__(self, manager: Manager, conf: cfg.ConfigOpts.GroupAttr, clock: Clock) -> None:
        """conf is the manager's option group, read again each time since it may change."""
        self.manager = manager
        self._conf, self._clock = conf, clock
        self._inbox: deque[Fact] = deque(maxlen=LONGEST_INBOX)
        self._lost_events = False
        self._turn = threading.RLock()  # one run or command at a time; never needed to read
        self._stage, self._autostart, self._wanted = _Stage.CREATED, False, False
        self._thread_lives: Callable[[], bool] = lambda: True
        self._runs = self._failures = 0
        self._began_s: float | None = None  # of the run at hand
        self._began_at: datetime | None = None
        self._last_run_s = float("-inf")
        self._last_duration_s: float | None = None
        self._due_s: float | None = None
        self._next_run_at: datetime | None = None
        self._unable_since_s: float | None = None
        self._last_error = ""
        self._rests_for: type[Exception] | None = None  # what the last run failed with
        self._backoff_s = 0.0
        self._duties = Duties(manager, conf, clock)
        manager.status, manager.soon = self._status, self._duties.soon

    def on_thread(self, lives: Callable[[], bool]) -> None:
        """Let `lives` tell whether the thread that runs the manager is alive."""
        self._thread_lives = lives

    # --- how it is --------------------------------------------------------------------------------

    def _status(self) -> Status:
        if self._stage is _Stage.DESTROYED:
            return Status.DESTROYED
        if self._stage is _Stage.CREATED:
            return Status.CREATED
        if not self._thread_lives() or self._hangs():
            return Status.STALLED
        if self._stage is _Stage.SETUP_FAILED:
            return Status.ERROR
        if not self._wanted:
            return Status.STOPPED
        return Status.DEGRADED if self._last_error else Status.RUNNING

    def _hangs(self) -> bool:
        return max(self._running_s() or 0.0, self._lag_s()) > float(self._conf.stall_s)

    def _running_s(self) -> float | None:
        began_s = self._began_s
        return None if began_s is None else self._clock.monotonic_s() - began_s

    def _lag_s(self) -> float:
        due_s = self._due_s
        if due_s is None or not self._wanted:
            return 0.0
        return max(0.0, self._clock.monotonic_s() - due_s)

    def _unable_s(self) -> float:
        since_s = self._unable_since_s
        failing_s = 0.0 if since_s is None else self._clock.monotonic_s() - since_s
        return max(failing_s, self._running_s() or 0.0, self._lag_s())

    @property
    def report(self) -> Report:
        """Return how the manager is now; never waits for it."""
        return Report(
            name=self.manager.name,
            status=self._status(),
            needed=self.manager.needed,
            autostart=self._autostart,
            stopped_means=self.manager.stopped_means,
            runs=self._runs,
            failures=self._failures,
            last_run_at=self._began_at,
            last_duration_s=self._last_duration_s,
            next_run_at=self._next_run_at,
            last_error=self._last_error,
            lag_s=self._lag_s(),
            running_s=self._running_s(),
            unable_s=self._unable_s(),
            stall_s=float(self._conf.stall_s),
            hindrance=self.manager.hindrance() if self._wanted else "",
        )

    # --- its life ---------------------------------------------------------------------------------

    def setup(self, *, autostart: bool) -> None:
        """Set the manager up; a failure is logged, leaves it in ERROR, and is tried again."""
        with self._turn:
            self._autostart = self._wanted = autostart
            try:
                self.manager.setup()
            except Exception as error:  # noqa: BLE001 - of this manager alone
                self._stage = _Stage.SETUP_FAILED
                self._back_off(error, "manager %s could not be set up and will be tried again")
            else:
                self._stage = _Stage.READY
                self._backoff_s, self._last_error, self._rests_for = 0.0, "", None
            self._due_s = self._clock.monotonic_s()

    def start(self) -> None:
        """Let a stopped manager run; one in ERROR is set up again."""
        if self._stage is _Stage.SETUP_FAILED:
            self.setup(autostart=True)
        elif self._stage is _Stage.READY and not self._wanted:
            self._due_s, self._wanted = self._clock.monotonic_s(), True

    def stop(self) -> None:
        """Let the manager run no more; events wait in its inbox.

        Waits a moment for the run that it may be in, and not for ever: one that hangs stays
        STALLED until it ends.
        """
        self._wanted = False
        if self._turn.acquire(timeout=STOP_PATIENCE_S):
            self._turn.release()
        self._backoff_s, self._next_run_at, self._unable_since_s = 0.0, None, None
        self._last_error, self._rests_for = "", None

    def destroy(self) -> None:
        """End the manager for good."""
        with self._turn:
            try:
                self.manager.destroy()
            except Exception:
                LOG.exception("manager %s could not be destroyed cleanly", self.manager.name)
            self._stage, self._next_run_at = _Stage.DESTROYED, None

    def died(self, error: BaseException) -> None:
        """Note that the thread that ran the manager ended with `error`; another one follows."""
        LOG.critical("the thread of manager %s died", self.manager.name, exc_info=error)
        self._began_s, self._lost_events = None, True
        self._failed_with(error)
        self._schedule(self._backoff_s)

    # --- events and commands ----------------------------------------------------------------------

    def deliver(self, event: Fact) -> bool:
        """Put an event into the inbox if the manager listens to its class."""
        wanted = isinstance(event, self.manager.listens)
        if wanted:
            self._lost_events |= len(self._inbox) == LONGEST_INBOX
            self._inbox.append(event)
        return wanted

    def execute(self, name: str, arguments: Mapping[str, object]) -> Json:
        """Run a command: beside the manager's runs if it may, else between two of them."""
        declared = self.manager.commands().get(name)
        if declared is not None and declared.beside:
            return self.manager.execute(name, **arguments)
        with self._turn:
            return self.manager.execute(name, **arguments)

    # --- its runs ---------------------------------------------------------------------------------

    def run(self) -> float:
        """Take in the inbox, run the task, do the duties that are due, and return in how many
        seconds to come back.

        Within `debounce_s` of the last run nothing happens yet, and the inbox stays full.
        What the manager raises is logged once with its traceback until it succeeds again.
        """
        with self._turn:
            if self._stage is _Stage.SETUP_FAILED:
                self.setup(autostart=self._autostart)
            if self._stage is not _Stage.READY or not self._wanted:
                return self._schedule(self._backoff_s or float(self._conf.rate_s))
            began_s = self._clock.monotonic_s()
            rest_s = self._last_run_s + self._conf.debounce_s - began_s
            if rest_s > 0:
                return self._schedule(float(rest_s))
            self._last_run_s = self._began_s = began_s
            self._began_at = self._clock.now()
            try:
                wanted_s = self._attempt()
            except Exception as error:  # noqa: BLE001 - of this manager alone
                self._lost_events = True  # the one that was at hand, if it was an event that failed
                self._back_off(error, "manager %s failed and will be tried again")
                delay_s = self._backoff_s
            else:
                delay_s = self._succeeded(wanted_s)
            self._runs += 1
            self._last_duration_s = self._clock.monotonic_s() - began_s
            self._began_s = None
            return self._schedule(delay_s)

    def _attempt(self) -> float | None:
        if self._lost_events:
            self.manager.resync()
            self._lost_events = False
        while self._inbox:
            self.manager.on_event(self._inbox.popleft())
        wanted_s = [self.manager.task(), self._duties.run()]
        return min((one for one in wanted_s if one is not None), default=None)

    def _schedule(self, delay_s: float) -> float:
        self._due_s = self._clock.monotonic_s() + delay_s
        self._next_run_at = self._clock.now() + timedelta(seconds=delay_s)
        return delay_s

    def rests_for(self, kind: type[Exception]) -> bool:
        """Return whether the manager rests after a failure of this kind."""
        found = self._rests_for
        return found is not None and issubclass(found, kind)

    @property
    def rest_s(self) -> float:
        """For how long the manager rests after a failure, 0 when it does not."""
        return self._backoff_s

    def in_backoff(self) -> bool:
        """Return whether the manager rests after a failure; events do not run it meanwhile."""
        return self._backoff_s > 0

    def end_rest(self) -> None:
        """Let the next wake-up run the manager although it rests: what it failed with is over."""
        self._backoff_s = 0.0

    def _back_off(self, error: Exception, text: str) -> None:
        if _in_words(error) != self._last_error:
            LOG.error(text, self.manager.name, exc_info=error)
        self._failed_with(error)

    def _failed_with(self, error: BaseException) -> None:
        backoff = UPSTREAM_BACKOFF if isinstance(error, UpstreamUnavailable) else BACKOFF
        self._backoff_s = backoff.next_s(self._backoff_s)
        self._last_error, self._failures = _in_words(error), self._failures + 1
        self._rests_for = type(error) if isinstance(error, Exception) else None
        if self._unable_since_s is None:
            self._unable_since_s = self._clock.monotonic_s()

    def _succeeded(self, wanted_s: float | None) -> float:
        if self._last_error:
            LOG.info("manager %s works again", self.manager.name)
        self._backoff_s, self._last_error, self._rests_for = 0.0, "", None
        if not self.manager.hindrance():
            self._unable_since_s = None
        elif self._unable_since_s is None:
            self._unable_since_s = self._clock.monotonic_s()
        rate_s = float(self._conf.rate_s)
        return rate_s if wanted_s is None else max(0.0, min(wanted_s, rate_s))


def supervisor_json(supervisor: Supervisor) -> ManagerShown:
    """Return what REST and CLI show of a manager."""
    report = supervisor.report
    return {
        "name": report.name,
        "status": report.status.value,
        "needed": report.needed,
        "autostart": report.autostart,
        "stopped_means": report.stopped_means,
        "runs": report.runs,
        "failures": report.failures,
        "last_run_at": report.last_run_at.isoformat() if report.last_run_at else None,
        "last_duration_s": report.last_duration_s,
        "next_run_at": report.next_run_at.isoformat() if report.next_run_at else None,
        "last_error": report.last_error,
        "lag_s": report.lag_s,
        "running_s": report.running_s,
        "unable_s": report.unable_s,
        "stall_s": report.stall_s,
        "hindrance": report.hindrance,
        "commands": [
            {
                "name": command.name,
                "help": command.help,
                "arguments": dict(command.schema),
                "changes": not command.beside,  # beside the manager's work it only reads
            }
            for command in supervisor.manager.commands().values()
        ],
    }


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def deliver_to(supervisors: Iterable[Supervisor], event: Fact) -> list[Supervisor]:
    """Deliver an event to everyone who listens, and return who was given it."""
    return [supervisor for supervisor in supervisors if supervisor.deliver(event)]
