"""Reads a scenario from YAML, strictly: a key that nobody knows is an error.

Why: a misspelt key that is passed over gives figures that look right. Must not know what a scenario
is used for.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from synergy.core.errors import InvalidInput
from synergy.core.model import Resources
from synergy.core.numbers import integer, number, shown
from synergy.sim.scenarios.model import (
    Bursts,
    ClosedLoop,
    Constant,
    DayNight,
    Part,
    Poisson,
    Process,
    Project,
    Runs,
    Scenario,
)

_MAX_BYTES: Final = 1_000_000
_MAX_PARTS: Final = 1000
_DAY_S: Final = 86_400
MAX_HOURS: Final = 24 * 366 * 10
MAX_LIFETIME_S: Final = 366 * _DAY_S
Read = Callable[[object, str], Any]  # a value and where it is
_REQUIRED: Final = object()


def read(path: Path) -> Scenario:
    """Read a scenario. Raises InvalidInput naming the file, the key, the value and what is
    allowed."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            raise InvalidInput(f"{path} has more than {_MAX_BYTES:,} bytes: it is no scenario")
        found = yaml.load(text, _Strict)  # noqa: S506 - a safe loader that refuses what is twice
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    try:
        return scenario(found)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def scenario(found: object) -> Scenario:
    """Return the scenario that a document describes. Raises InvalidInput."""
    top = _Keys(found, "the scenario")
    flavors = top.get("flavors", _named(_resources))
    projects = top.get("projects", _named(_project))
    made = Scenario(
        name=top.get("name", _text, "scenario"),
        total=top.get("cloud", _resources),
        until_s=3600 * top.get("hours", partial(_number, lowest=0.01, highest=MAX_HOURS)),
        seed=top.get("seed", partial(_integer, lowest=0, highest=2**53 - 1), 1),
        boot_s=top.get("boot_s", partial(_number, lowest=0, highest=_DAY_S), 0.0),
        flavors=flavors,
        projects=projects,
        parts=tuple(
            _part(one, f"demand[{place}]", projects, flavors)
            for place, one in enumerate(top.get("demand", _list))
        ),
    )
    top.finish()
    short = [name for name, amount in made.shared.items() if amount < 0]
    if short:
        raise InvalidInput(
            f"the quotas under projects have {-made.shared[short[0]]} {short[0]} more than the "
            "cloud: lower them, or give the cloud more"
        )
    return made


def _part(
    found: object, where: str, projects: Mapping[str, Project], flavors: Mapping[str, Resources]
) -> Part:
    keys = _Keys(found, where)
    project = keys.get("project", partial(_one_of, known=projects))
    known = projects[project].users
    every = dict.fromkeys(flavors, 1.0)
    weight = partial(_number, lowest=0, highest=1e6)
    part = Part(
        project=project,
        users=tuple(keys.get("users", partial(_users, known=known), tuple(known))),
        flavors=keys.get("flavors", _named(weight, known=flavors), every),
        arrivals=keys.get("arrivals", _process),
        runs=keys.get("runs", _runs),
        lifetime_s=keys.get("lifetime_s", partial(_integer, lowest=1, highest=MAX_LIFETIME_S)),
    )
    if not sum(part.flavors.values()) > 0:
        raise InvalidInput(f"{where}.flavors has no weight above 0: give one of them a weight")
    keys.finish()
    return part


def _number(found: object, where: str, *, lowest: float, highest: float) -> float:
    return number(found, where, lowest=lowest, highest=highest)


def _integer(found: object, where: str, *, lowest: int, highest: int) -> int:
    return integer(found, where, lowest=lowest, highest=highest)


_RATE: Final = partial(_number, lowest=0, highest=1e6)
_HOURS: Final = partial(_number, lowest=0, highest=MAX_HOURS)
_STEP: Final = partial(_number, lowest=0.01, highest=MAX_HOURS)
_OF_DAY: Final = partial(_number, lowest=0, highest=24)
_COUNT: Final = partial(_integer, lowest=1, highest=100_000)
_SOME_S: Final = partial(_number, lowest=1, highest=MAX_LIFETIME_S)
_SPREAD: Final = partial(_number, lowest=0, highest=_DAY_S)

# process -> what makes it, and its keys: how each is read, and its default if it has one
PROCESSES: Final[Mapping[str, tuple[Callable[..., Process | ClosedLoop], Mapping[str, Any]]]] = {
    "constant": (Constant, {"per_hour": (_RATE,)}),
    "poisson": (Poisson, {"per_hour": (_RATE,)}),
    "bursts": (
        Bursts,
        {
            "size": (_COUNT,),
            "every_h": (_STEP,),
            "first_h": (_HOURS, 0.0),
            "spread_s": (_SPREAD, 0.0),
        },
    ),
    "day_night": (
        DayNight,
        {
            "per_hour_by_day": (_RATE,),
            "per_hour_by_night": (_RATE,),
            "day_from_h": (_OF_DAY, 8.0),
            "day_until_h": (_OF_DAY, 20.0),
        },
    ),
    "closed_loop": (ClosedLoop, {"users": (_COUNT,), "think_s": (_SOME_S,)}),
}  # fmt: skip


def _process(found: object, where: str) -> Process | ClosedLoop:
    keys = _Keys(found, where)
    make, fields = PROCESSES[keys.get("process", partial(_one_of, known=PROCESSES))]
    values = {name: keys.get(name, *how) for name, how in fields.items()}
    keys.finish()
    return make(**values)


def _runs(found: object, where: str) -> Runs:
    if not isinstance(found, dict):
        return Runs(distribution="constant", mean_s=_SOME_S(found, where))
    keys = _Keys(found, where)
    kinds = ("constant", "exponential", "lognormal")
    distribution = keys.get("distribution", partial(_one_of, known=kinds), "constant")
    mean_s = keys.get("mean_s", _SOME_S)
    sigma = 1.0
    if distribution == "lognormal":
        sigma = keys.get("sigma", partial(_number, lowest=0, highest=5), 1.0)
    keys.finish()
    return Runs(distribution=distribution, mean_s=mean_s, sigma=sigma)


def _project(found: object, where: str) -> Project:
    keys = _Keys({} if found is None else found, where)
    shares = partial(_integer, lowest=0, highest=2**31 - 2)
    made = Project(
        raw_shares=keys.get("shares", shares, 1),
        users=keys.get("users", _named(shares), {"user": 1}),
        quota=keys.get("quota", _resources, Resources()),
    )
    keys.finish()
    return made


class _Keys:
    """The keys of a mapping, each of which has to be asked for."""

    def __init__(self, found: object, where: str) -> None:
        if not isinstance(found, dict):
            raise InvalidInput(
                f"{where} is {shown(found)}, but must be a mapping of keys to values"
            )
        self._found, self._where = dict(found), where
        self._known: list[str] = []

    def get(self, key: str, read: Read, default: Any = _REQUIRED) -> Any:
        """Read the value of a key."""
        self._known.append(key)
        where = key if self._where == "the scenario" else f"{self._where}.{key}"
        if key in self._found:
            return read(self._found.pop(key), where)
        if default is _REQUIRED:
            raise InvalidInput(f"{where} is missing: add it")
        return default

    def finish(self) -> None:
        """Refuse what nobody asked for."""
        for key in self._found:
            raise InvalidInput(
                f"{self._where} has the key {shown(key)}, which is none of "
                f"{', '.join(self._known)}: correct it, or take it out"
            )


def _named(read: Read, known: Mapping[str, object] | None = None) -> Read:
    """Return what reads a mapping by names, of which it has one at least."""

    def reads(found: object, where: str) -> dict[str, Any]:
        if not isinstance(found, dict) or not found:
            raise InvalidInput(
                f"{where} is {shown(found)}, but must be a mapping with a name in it"
            )
        names = {_text(name, f"a name in {where}"): value for name, value in found.items()}
        if known is not None:
            for name in names:
                _one_of(name, f"a name in {where}", known)
        return {name: read(value, f"{where}.{name}") for name, value in names.items()}

    return reads


def _users(found: object, where: str, known: Mapping[str, int]) -> list[str]:
    return [_one_of(user, where, known) for user in _list(found, where)]


def _list(found: object, where: str) -> list[object]:
    if not isinstance(found, list) or not 0 < len(found) <= _MAX_PARTS:
        raise InvalidInput(f"{where} is {shown(found)}, but must be a list of 1 to {_MAX_PARTS}")
    return found


def _resources(found: object, where: str) -> Resources:
    if not isinstance(found, dict) or not found:
        raise InvalidInput(f"{where} is {shown(found)}, but must be amounts such as VCPU: 4")
    for name in found:
        _text(name, f"a resource class in {where}")
    return Resources.demand(found, of=where)


def _one_of(found: object, where: str, known: Any) -> str:
    if not isinstance(found, str) or found not in known:
        names = ", ".join(map(str, known))
        raise InvalidInput(f"{where} is {shown(found)}, but must be one of {names}")
    return found


def _text(found: object, where: str) -> str:
    if isinstance(found, str) and 0 < len(found) <= 255 and found.isprintable():
        return found
    raise InvalidInput(f"{where} is {shown(found)}, but must be a text of 1 to 255 characters")


class _Strict(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, of which YAML would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping. Raises YAMLError."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.YAMLError(f"the key {key.value!r} is there twice{key.start_mark}")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
