"""Finds the subcommands of `synergy` by entry point.

Why: a command is declared once, for the plugin of `openstack`, where its name begins with
"synergy". `synergy` itself has the same commands without that word, and those that need no service
besides. Only the module of the command that runs is imported: the simulator alone would take longer
than most commands run.
"""

import ast
from collections.abc import Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from cliff.commandmanager import CommandManager

from synergy.packages import missing_package

OF_PLUGIN: Final = "openstack.synergy.v1"
STANDALONE: Final = "synergy.cli"
_PREFIX: Final = "synergy "


class NotInstalled(Exception):
    """A command needs a package that a client's installation does not have."""


class Commands(CommandManager):
    """The commands of both groups, by the words that a user types after `synergy`."""

    def __init__(self) -> None:
        super().__init__(STANDALONE)
        self.load_commands(OF_PLUGIN)

    def load_commands(self, namespace: str) -> None:
        """Note the entry points of a group; in the plugin's group, drop the prefix of names."""
        self.group_list.append(namespace)
        for entry in _entry_points().select(group=namespace):
            name = entry.name.replace("_", " ")
            self.commands[name.removeprefix(_PREFIX) if namespace == OF_PLUGIN else name] = entry

    def find_command(self, argv: list[str]) -> Any:
        """Return the class of a command, its name, and the arguments that are left.

        Raises NotInstalled, and ValueError for an unknown command.
        """
        try:
            return super().find_command(argv)
        except ModuleNotFoundError as error:
            raise NotInstalled(f"synergy: {missing_package(error)}") from error

    def summaries(self) -> list[tuple[str, str]]:
        """Return (name, summary) of every command, by name."""
        return [(name, _summary(entry)) for name, entry in sorted(self)]


@cache
def _entry_points() -> Any:
    return entry_points()


def _summary(entry: Any) -> str:
    """Return the first line of a command's docstring, from its source where that is at hand."""
    docstring = _docstring(entry.module, entry.attr) if isinstance(entry, EntryPoint) else None
    if docstring is None:
        docstring = str(entry.load().__doc__ or "")
    return docstring.strip().partition("\n")[0].rstrip(".")


def _docstring(module: str, name: str) -> str | None:
    for node in _parsed(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ast.get_docstring(node)
    return None


@cache
def _parsed(module: str) -> Sequence[ast.stmt]:
    spec = find_spec(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ()
    return ast.parse(Path(spec.origin).read_text()).body
