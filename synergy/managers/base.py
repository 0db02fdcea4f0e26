"""The contract of a manager plugin.

Why: the service host and the simulator run the same managers, one with threads, one without. A
manager gets what it needs through its constructor, and raises what it cannot handle: `supervisor`
turns that into a status and a back-off. Must not know threads or how managers are found.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar, Final, ParamSpec, TypeVar, overload

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from oslo_config import cfg

from synergy.core.declared.command import ManagerCommand
from synergy.core.declared.sentences import sentence_of
from synergy.core.declared.shapes import object_of
from synergy.core.errors import ConfigurationInvalid, InvalidInput, NotFound
from synergy.core.events import Fact
from synergy.ports import PARTS_OF_COMPUTE

Json = Any
Publish = Callable[[Fact], None]

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
    cfg.FloatOpt(
        "stall_s",
        default=300.0,
        min=1,
        max=86_400,
        mutable=True,
        help="Seconds after which a run that has not ended makes the manager STALLED. The service "
        "is not ready while a manager that it needs is stalled, or was unable to do its work for "
        "as long as this.",
    ),
)


class Status(StrEnum):
    """What a manager is doing."""

    CREATED = "CREATED"
    STOPPED = "STOPPED"  # set up, but not to run until it is started
    RUNNING = "RUNNING"
    DEGRADED = "DEGRADED"  # its last run failed; it will be tried again
    STALLED = "STALLED"  # its thread is dead, or its run takes far too long
    ERROR = "ERROR"  # its set-up failed; it will be tried again
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
    validator: Draft202012Validator = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once: to make a validator, and to check that a schema is one, takes longer than a command.
        object.__setattr__(self, "validator", Draft202012Validator(self.schema))

    def check(self, arguments: Mapping[str, object], of: str) -> None:
        """Raise InvalidInput naming the command and the argument, unless all are as declared."""
        error = best_match(self.validator.iter_errors(arguments))
        if error is not None:
            raise InvalidInput(f"{of} {self.name}: {sentence_of(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """What a manager does again and again, beside its task; declared with `every`.

    name      of the method
    every     option of the manager that says how often, in seconds; or the seconds
    times     how often in as long as that
    at_start  it is done in the first run already, and not only once its time is over
    when      it is done only while this holds of the manager; nobody wakes for it otherwise
    """

    name: str
    help: str
    every: str | float
    times: int = 1
    at_start: bool = True
    when: Callable[[Any], bool] | None = None

    def period_s(self, conf: Any) -> float:
        """Return how often it is done with these options, which may change."""
        span_s = getattr(conf, self.every) if isinstance(self.every, str) else self.every
        return max(SHORTEST_PERIOD_S, float(span_s) / self.times)


SHORTEST_PERIOD_S: Final = 1.0  # an option that is 0 must not make a duty a busy loop
A = TypeVar("A")
P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Callable[..., Json])
D = TypeVar("D", bound=Callable[..., float | None])
S = TypeVar("S", bound="Manager")
F = TypeVar("F", bound=Fact)


def on(fact: type[F]) -> Callable[[Callable[[S, F], None]], Callable[[S, F], None]]:
    """Declare a method that takes in facts of a class; the manager's task follows."""

    def mark(method: Callable[[S, F], None]) -> Callable[[S, F], None]:
        method.__dict__["synergy_fact"] = fact
        return method

    return mark


def every(
    option: str | float,
    *,
    times: int = 1,
    at_start: bool = True,
    when: Callable[[Any], bool] | None = None,
) -> Callable[[D], D]:
    """Declare a method as a duty, done after the task of a run in which it is due; see `Duty`.

    The method may return in how many seconds it is to be done again, if that is sooner. One that
    raises stays due, and degrades the manager; the other duties are done all the same.
    """

    def mark(method: D) -> D:
        method.__dict__["synergy_duty"] = option, times, at_start, when
        return method

    return mark


@overload
def command(declared: ManagerCommand[A], /) -> Callable[[Callable[P, A]], Callable[P, A]]: ...


@overload
def command(
    takes: Mapping[str, Any] | None = None,
    /,
    *,
    required: Sequence[str] = (),
    beside: bool = False,
) -> Callable[[M], M]: ...


def command(
    takes: Mapping[str, Any] | ManagerCommand[Json] | None = None,
    /,
    *,
    required: Sequence[str] = (),
    beside: bool = False,
) -> Callable[[M], M]:
    """Declare a method as a command of its manager.

    takes  the JSON Schema of each argument; or a command that is declared in core because the API
           calls it: then the method answers what it says
    """

    def mark(method: M) -> M:
        method.__dict__["synergy_command"] = (
            takes
            if isinstance(takes, ManagerCommand)
            else ManagerCommand(
                manager="",
                name=method.__name__.removeprefix("do_"),
                takes=takes or {},
                required=tuple(required),
                beside=beside,
            )
        )
        return method

    return mark


class Part:
    """What a manager is made of and has needs of its own, named by its constructor as a manager's
    are. A manager that takes a parameter of such a class gets one made for it alone; its other
    parts that name the same class share it."""


class Manager:
    """A plugin of the namespace `synergy.managers`.

    A subclass names in its constructor, by parameter name, what it needs of: `conf` (its own
    option group), `clock`, `publish`, `wake`, `store`, and the ports of the cloud. All of
    its methods are called by one thread at a time.

    woken_by       facts that are a reason to run, of which nothing is to be taken in
    listens        every fact that it gets: those, what its methods declare with `on`, and what
                   the class names itself because it takes facts in by an `on_event` of its own
    duties         what it does again and again: what its methods declare with `every`, in order
    needed         the service is not ready without it
    stopped_means  what does not happen while it is stopped: "no waiting request starts"
    """

    name: ClassVar[str]
    options: ClassVar[Sequence[cfg.Opt]] = ()
    woken_by: ClassVar[tuple[type[Fact], ...]] = ()
    listens: ClassVar[tuple[type[Fact], ...]] = ()
    _takes_in: ClassVar[Mapping[type[Fact], str]] = {}  # fact -> name of a method
    duties: ClassVar[tuple[Duty, ...]] = ()
    needed: ClassVar[bool] = False
    stopped_means: ClassVar[str] = ""
    # Both are set by its supervisor; `soon(self._method)` lets a duty be done in the next run.
    status: Callable[[], Status] = staticmethod(lambda: Status.RUNNING)
    soon: Callable[[Callable[..., Any]], None] = staticmethod(lambda _: None)

    def __init_subclass__(cls) -> None:
        """Collect which facts the methods of a subclass take in, and which duties it has."""
        methods = inspect.getmembers(cls, inspect.isfunction)
        declared = ((method.__dict__.get("synergy_fact"), name) for name, method in methods)
        cls._takes_in = {fact: name for fact, name in declared if fact is not None}
        cls.listens = (*cls.__dict__.get("listens", ()), *cls.woken_by, *cls._takes_in)
        cls.duties = _duties_of(cls)

    def setup(self) -> None:
        """Get ready before the first run; raising leaves the manager in ERROR."""

    def resync(self) -> None:
        """Forget what events told: some were lost, or a run broke off while it used them."""

    def task(self) -> float | None:
        """Do the periodic work; return in how many seconds to come back if before `rate_s`."""
        return None

    def on_event(self, fact: Fact) -> None:
        """Give a fact to the methods that are declared for it; `task` follows."""
        for kind, name in self._takes_in.items():
            if isinstance(fact, kind):
                getattr(self, name)(fact)

    def hindrance(self) -> str:
        """Return what keeps the manager from its work although its runs succeed, or ""."""
        return ""

    def destroy(self) -> None:
        """Let go of what `setup` took."""

    @classmethod
    @cache
    def commands(cls) -> dict[str, Command]:
        """Return the declared commands by name."""
        found = {}
        for method_name, method in inspect.getmembers(cls, inspect.isfunction):
            declared: ManagerCommand[Json] | None = method.__dict__.get("synergy_command")
            if declared is not None:
                found[declared.name] = Command(
                    name=declared.name,
                    help=(inspect.getdoc(method) or "").split("\n")[0],
                    schema=object_of(declared.takes, declared.required),
                    method=method_name,
                    rule=f"synergy:{cls.name}:{declared.name}",
                    beside=declared.beside,
                )
        return found

    def execute(self, name: str, /, **arguments: object) -> Json:
        """Run a declared command. Raises NotFound, InvalidInput, and what the command raises."""
        found = self.commands().get(name)
        if found is None:
            known = ", ".join(sorted(self.commands())) or "none"
            raise NotFound(f"manager {self.name!r} has no command {name!r}; it has: {known}")
        found.check(arguments, self.name)
        return getattr(self, found.method)(**arguments)


def _duties_of(cls: type[Manager]) -> tuple[Duty, ...]:
    """Return the duties that a class and those above it declare, each once, in their order."""
    names = dict.fromkeys(name for one in reversed(cls.__mro__) for name in one.__dict__)
    known = {option.name for option in options_of(cls)}
    found = []
    for name in names:
        method = getattr(cls, name)
        declared = getattr(method, "__dict__", {}).get("synergy_duty")
        if declared is None:
            continue
        option, times, at_start, when = declared
        if isinstance(option, str) and option not in known:
            raise TypeError(f"{cls.__name__}.{name} is due every {option!r}, which is no option")
        text = (inspect.getdoc(method) or "").split("\n\n")[0]
        found.append(
            Duty(
                name=name, help=" ".join(text.split()), every=option, times=times,
                at_start=at_start, when=when,
            )
        )  # fmt: skip
    return tuple(found)


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
        maker = _Maker(_in_parts(needs_of(name)))
        manager = maker.make(cls)
        problems += [f"manager {name!r} needs {one!r}, which is not offered" for one in maker.lacks]
        if manager is not None:
            made[name] = manager
    if problems:
        raise ConfigurationInvalid(problems)
    return made


class _Maker:
    """Makes a manager with its parts, each once; `lacks` names what is not offered."""

    def __init__(self, needs: Mapping[str, object]) -> None:
        self._needs = needs
        self._parts: dict[type[Part], Part | None] = {}
        self.lacks: list[str] = []

    def make(self, cls: type[T]) -> T | None:
        """Return one of the class, None where something is lacking."""
        given: dict[str, Any] = {}
        for one in inspect.signature(cls).parameters.values():
            if inspect.isclass(one.annotation) and issubclass(one.annotation, Part):
                given[one.name] = self._part(one.annotation)
            elif one.name in self._needs:
                given[one.name] = self._needs[one.name]
            elif one.default is one.empty and one.name not in self.lacks:
                self.lacks.append(one.name)
        return None if self.lacks else cls(**given)

    def _part(self, cls: type[Part]) -> Part | None:
        if cls not in self._parts:
            self._parts[cls] = self.make(cls)
        return self._parts[cls]


def _in_parts(needs: Mapping[str, object]) -> Mapping[str, object]:
    """Offer each part of Nova's API under its own name, too."""
    if "compute" not in needs:
        return needs
    return {**dict.fromkeys(PARTS_OF_COMPUTE, needs["compute"]), **needs}
