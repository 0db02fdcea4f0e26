"""The contract of a manager plugin, and its supervision.

Why: the service host and the simulator run the same managers, one with threads, one without. A
manager gets what it needs through its constructor; `Supervisor` turns whatever it raises into a
status and a back-off. Must not know threads or how managers are found.
"""

import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Final, TypeVar

import jsonschema
from oslo_config import cfg

from synergy.core.errors import ConfigurationInvalid, InvalidInput, NotFound
from synergy.core.events import Fact
from synergy.ports import Clock

LOG = logging.getLogger(__name__)

Json = Any
Publish = Callable[[Fact], None]
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 300.0
LONGEST_INBOX: Final = 10_000  # events; a manager that is paused for long reads the store instead

COMMON_OPTIONS: Final = (
    cfg.BoolOpt(
        "autostart",
        default=True,
        help="Run the manager when the service starts; otherwise it waits to be started.",
    ),
    cfg.FloatOpt(
        "rate_s",
        default=60.0,
        min=0.01,
        max=86_400,
        mutable=True,
        help="Seconds between two periodic runs. Events run the manager in between.",
    ),
    cfg.FloatOpt(
        "debounce_s",
        default=0.0,
        min=0,
        max=3600,
        mutable=True,
        help="Shortest time in seconds between two runs that events ask for.",
    ),
)


class Status(StrEnum):
    """What a manager is doing."""

    CREATED = "CREATED"
    ACTIVE = "ACTIVE"  # loaded but paused
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"  # its last run failed; it will be tried again
    ERROR = "ERROR"  # its set-up failed
    DESTROYED = "DESTROYED"


@dataclass(frozen=True, slots=True)
class Command:
    """What a manager does on demand: a JSON Schema for its arguments and a policy rule.

    beside  it may run while the manager is at work: it reads the store, and values of the manager
            that are replaced as a whole
    """

    name: str
    help: str
    schema: Mapping[str, Any]
    method: str
    rule: str
    beside: bool = False


M = TypeVar("M", bound=Callable[..., Json])


def command(
    schema_of: Mapping[str, Any] | None = None,
    *,
    required: Sequence[str] = (),
    beside: bool = False,
) -> Callable[[M], M]:
    """Declare a method as a command; `schema_of` gives the JSON Schema of each argument."""

    def mark(method: M) -> M:
        schema = {
            "type": "object",
            "properties": dict(schema_of or {}),
            "required": list(required),
            "additionalProperties": False,
        }
        method.__dict__["synergy_command"] = schema, beside
        return method

    return mark


class Manager:
    """A plugin of the namespace `synergy.managers`.

    A subclass names in its constructor, by parameter name, what it needs of: `conf` (its own
    option group), `clock`, `publish`, `wake`, `store`, and the ports of the cloud. All of
    its methods are called by one thread at a time.
    """

    name: ClassVar[str]
    options: ClassVar[Sequence[cfg.Opt]] = ()
    listens: ClassVar[tuple[type[Fact], ...]] = ()

    def setup(self) -> None:
        """Get ready before the first run; raising leaves the manager in ERROR."""

    def resync(self) -> None:
        """Forget what events told: some were lost, or a run broke off while it used them."""

    def task(self) -> float | None:
        """Do the periodic work; return in how many seconds to come back if before `rate_s`."""
        return None

    def on_event(self, event: Fact) -> None:
        """Take in an event of a class in `listens`; `task` follows."""

    def destroy(self) -> None:
        """Let go of what `setup` took."""

    @classmethod
    @cache
    def commands(cls) -> dict[str, Command]:
        """Return the declared commands by name."""
        found = {}
        for method_name, method in inspect.getmembers(cls, inspect.isfunction):
            declared = method.__dict__.get("synergy_command")
            if declared is not None:
                schema, beside = declared
                name = method_name.removeprefix("do_")
                text = inspect.getdoc(method) or ""
                rule = f"synergy:{cls.name}:{name}"
                found[name] = Command(name, text.split("\n")[0], schema, method_name, rule, beside)
        return found

    def execute(self, name: str, /, **arguments: Json) -> Json:
        """Run a declared command. Raises NotFound, InvalidInput, and what the command raises."""
        found = self.commands().get(name)
        if found is None:
            known = ", ".join(sorted(self.commands())) or "none"
            raise NotFound(f"manager {self.name!r} has no command {name!r}; it has: {known}")
        try:
            jsonschema.validate(arguments, found.schema)
        except jsonschema.ValidationError as error:
            place = ".".join(str(part) for part in error.absolute_path) or "arguments"
            raise InvalidInput(f"{self.name} {name}: {place}: {error.message}") from error
        return getattr(self, found.method)(**arguments)


def register_options(conf: cfg.ConfigOpts, name: str, cls: type[Manager]) -> None:
    """Register a manager's options, and those every manager has, in its own group."""
    conf.register_opts(options_of(cls), group=name)


def options_of(cls: type[Manager]) -> list[cfg.Opt]:
    """Return a manager's own options and those every manager has; its own win by name."""
    own = {option.name for option in cls.options}
    return [*(option for option in COMMON_OPTIONS if option.name not in own), *cls.options]


def assemble(
    classes: Mapping[str, type[Manager]],
    needs_of: Callable[[str], Mapping[str, object]],
) -> dict[str, Manager]:
    """Construct managers, giving each by parameter name what its constructor asks for.

    Raises ConfigurationInvalid listing every need of every manager that is not there.
    """
    made: dict[str, Manager] = {}
    problems = []
    for name, cls in classes.items():
        needs = needs_of(name)
        wanted = list(inspect.signature(cls).parameters.values())
        missing = [p.name for p in wanted if p.name not in needs and p.default is p.empty]
        problems += [f"manager {name!r} needs {need!r}, which is not offered" for need in missing]
        if not missing:
            made[name] = cls(**{p.name: needs[p.name] for p in wanted if p.name in needs})
    if problems:
        raise ConfigurationInvalid(problems)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What REST and CLI show of a manager."""

    name: str
    status: Status = Status.CREATED
    runs: int = 0
    failures: int = 0
    last_run_at: datetime | None = None
    last_duration_s: float | None = None
    next_run_at: datetime | None = None
    last_error: str = ""


class Supervisor:
    """Runs one manager: its inbox, status, failures and next run. Has no thread of its own."""

    def __init__(self, manager: Manager, conf: Any, clock: Clock) -> None:
        """conf is the manager's option group, read anew each time since it may change."""
        self.manager = manager
        self._conf, self._clock = conf, clock
        self._last_run_s = float("-inf")
        self._inbox: deque[Fact] = deque(maxlen=LONGEST_INBOX)
        self._lost_events = False
        self._autostart = False
        self._set_up = False
        self._turn = threading.RLock()
        self._report = Report(name=manager.name)
        self._backoff_s = 0.0

    @property
    def report(self) -> Report:
        """Return the present status."""
        return self._report

    @property
    def paused(self) -> bool:
        """Tell whether the manager is not to run."""
        return self._report.status not in (Status.RUNNING, Status.DEGRADED)

    def setup(self, *, autostart: bool) -> None:
        """Set the manager up; a failure is logged, leaves it in ERROR, and is tried again."""
        with self._turn:
            self._autostart = autostart
            try:
                self.manager.setup()
            except Exception as error:
                self._back_off(error, "manager %s could not be set up and will be tried again")
                self._note(status=Status.ERROR)
            else:
                self._set_up, self._backoff_s = True, 0.0
                self._note(status=Status.RUNNING if autostart else Status.ACTIVE, last_error="")

    def start(self) -> None:
        """Let a paused manager run; one in ERROR is set up again."""
        if self._report.status is Status.ERROR:
            self.setup(autostart=True)
        elif self.paused and self._report.status is not Status.DESTROYED:
            self._note(status=Status.RUNNING)

    def stop(self) -> None:
        """Pause the manager after the run it may be in; events wait in its inbox."""
        with self._turn:
            if not self.paused:
                self._backoff_s = 0.0
                self._note(status=Status.ACTIVE, next_run_at=None)

    def destroy(self) -> None:
        """End the manager for good."""
        with self._turn:
            try:
                self.manager.destroy()
            except Exception:
                LOG.exception("manager %s could not be destroyed cleanly", self.manager.name)
            self._note(status=Status.DESTROYED, next_run_at=None)

    def deliver(self, event: Fact) -> bool:
        """Put an event into the inbox if the manager listens to its class."""
        wanted = isinstance(event, self.manager.listens)
        if wanted:
            self._lost_events |= len(self._inbox) == LONGEST_INBOX
            self._inbox.append(event)
        return wanted

    def execute(self, name: str, arguments: Mapping[str, Json]) -> Json:
        """Run a command: beside the manager's runs if it may, else between two of them."""
        declared = self.manager.commands().get(name)
        if declared is not None and declared.beside:
            return self.manager.execute(name, **arguments)
        with self._turn:
            return self.manager.execute(name, **arguments)

    def run(self) -> float:
        """Take in the inbox, run the task, and return in how many seconds to come back.

        Within `debounce_s` of the last run nothing happens yet, and the inbox stays full.
        What the manager raises is logged once with its traceback until it succeeds again.
        """
        with self._turn:
            if self._report.status is Status.ERROR and not self._set_up:
                self.setup(autostart=self._autostart)
            if self.paused:
                return self._backoff_s or float(self._conf.rate_s)
            began_s, began_at = self._clock.monotonic_s(), self._clock.now()
            rest_s = self._last_run_s + self._conf.debounce_s - began_s
            if rest_s > 0:
                return float(rest_s)
            self._last_run_s = began_s
            try:
                if self._lost_events:
                    self.manager.resync()
                    self._lost_events = False
                while self._inbox:
                    self.manager.on_event(self._inbox.popleft())
                wanted_s = self.manager.task()
            except Exception as error:
                delay_s = self._failed(error)
            else:
                delay_s = self._succeeded(wanted_s)
            self._note(
                runs=self._report.runs + 1,
                last_run_at=began_at,
                last_duration_s=self._clock.monotonic_s() - began_s,
                next_run_at=self._clock.now() + timedelta(seconds=delay_s),
            )
            return delay_s

    def died(self, error: BaseException) -> None:
        """Note that the thread that ran the manager is gone."""
        LOG.error("the thread of manager %s died: %s", self.manager.name, _in_words(error))
        self._note(status=Status.ERROR, last_error=_in_words(error), next_run_at=None)

    def in_backoff(self) -> bool:
        """Tell whether the manager rests after a failure; events do not run it meanwhile."""
        return self._backoff_s > 0

    def _failed(self, error: Exception) -> float:
        self._lost_events = True  # the one that was at hand, if it was an event that failed
        self._back_off(error, "manager %s failed and will be tried again")
        self._note(status=Status.DEGRADED)
        return self._backoff_s

    def _back_off(self, error: Exception, told: str) -> None:
        text = _in_words(error)
        if text != self._report.last_error:
            LOG.error(told, self.manager.name, exc_info=error)
        doubled = max(FIRST_BACKOFF_S, self._backoff_s * 2)
        self._backoff_s = min(doubled, LONGEST_BACKOFF_S)
        self._note(last_error=text, failures=self._report.failures + 1)

    def _succeeded(self, wanted_s: float | None) -> float:
        if self._report.status is Status.DEGRADED:
            LOG.info("manager %s works again", self.manager.name)
        self._backoff_s = 0.0
        self._note(status=Status.RUNNING, last_error="")
        rate_s = float(self._conf.rate_s)
        return rate_s if wanted_s is None else max(0.0, min(wanted_s, rate_s))

    def _note(self, **changes: Any) -> None:
        self._report = replace(self._report, **changes)


def supervisor_json(supervisor: Supervisor) -> Json:
    """Return what REST and CLI show of a manager."""
    shown = asdict(supervisor.report)
    for key in ("last_run_at", "next_run_at"):
        shown[key] = shown[key].isoformat() if shown[key] else None
    shown["commands"] = [
        {"name": command.name, "help": command.help, "arguments": command.schema}
        for command in supervisor.manager.commands().values()
    ]
    return shown


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def deliver_to(supervisors: Iterable[Supervisor], event: Fact) -> list[Supervisor]:
    """Deliver an event to everyone who listens, and return who was given it."""
    return [supervisor for supervisor in supervisors if supervisor.deliver(event)]
