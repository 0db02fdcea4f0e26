"""Finds the subcommands of `synergy` by entry point.

Why: a command is named once, for the plugin of `openstack`, where its name begins with "synergy";
`synergy` itself takes the same ones without that word, and those that ask no service besides.
"""

from typing import Final

from cliff.commandmanager import CommandManager

OF_PLUGIN: Final = "openstack.synergy.v1"
ALONE: Final = "synergy.cli"
_PREFIX: Final = "synergy "


class Commands(CommandManager):
    """The commands of both groups, by the words that a user types behind `synergy`."""

    def __init__(self) -> None:
        super().__init__(ALONE)
        self.load_commands(OF_PLUGIN)

    def load_commands(self, namespace: str) -> None:
        """Load the entry points of a group. Nothing in a group but the plugin's is renamed."""
        super().load_commands(namespace)
        if namespace == OF_PLUGIN:
            found = {name.removeprefix(_PREFIX): entry for name, entry in self.commands.items()}
            self.commands.clear()
            self.commands.update(found)
