"""Who publishes each fact, and which managers listen to it.

Why: the table in the contributor pages and the test that every fact has both come from here, and
both from the source. A publisher is a call of `publish(Fact(...))`, or of `publish(name)` where the
same function made `name` with `Fact(...)`. Must not run anything of what it reads.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from synergy.core import events
from synergy.core.events import FOR_OTHERS, Fact
from synergy.managers.base import Manager

ROOT = Path(__file__).parents[2]
FACTS = {
    name: cls
    for name, cls in vars(events).items()
    if isinstance(cls, type) and issubclass(cls, Fact) and cls is not Fact
}


def published_in(source: str) -> set[str]:
    """Return the names of the facts that a module publishes."""
    tree = ast.parse(source)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
    return {name for function in functions for name in _published_by(function)}


def _published_by(function: ast.FunctionDef) -> Iterator[str]:
    made = {
        target.id: _called(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and _called(node).lstrip("_") == "publish" and node.args:
            given = node.args[0]
            name = made.get(given.id, "") if isinstance(given, ast.Name) else _called(given)
            if name in FACTS:
                yield name


def _called(node: ast.expr) -> str:
    """Return the last part of the name of what is called, "" where nothing is."""
    if not isinstance(node, ast.Call):
        return ""
    called = node.func
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def publishers() -> dict[str, list[str]]:
    """Return the modules that publish each fact."""
    found: dict[str, list[str]] = {name: [] for name in FACTS}
    for path in sorted((ROOT / "synergy" / "managers").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for name in published_in(path.read_text()):
            found[name].append(module)
    return found


def listeners(managers: dict[str, type[Manager]]) -> dict[str, list[str]]:
    """Return the managers that listen to each fact."""
    return {
        name: sorted(key for key, cls in managers.items() if issubclass(fact, tuple(cls.listens)))
        for name, fact in FACTS.items()
    }


def rows(managers: dict[str, type[Manager]]) -> list[tuple[str, str, str, str]]:
    """Return a line for each fact: its name, what it says, who publishes it, who listens."""
    told, heard = publishers(), listeners(managers)
    return [
        (
            f"``{name}``",
            " ".join((fact.__doc__ or "").split("\n\n")[0].split()),
            ", ".join(f"``{module}``" for module in told[name]),
            ", ".join(heard[name]) or ("third parties" if fact in FOR_OTHERS else "nobody"),
        )
        for name, fact in sorted(FACTS.items())
    ]
