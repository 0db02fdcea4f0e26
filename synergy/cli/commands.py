"""Finds the subcommands of `synergy` by entry point.

Why: a command is declared once, for the plugin of `openstack`, where its name begins with
"synergy". `synergy` itself has the same commands without that word, and those that need no service
besides.
"""

from typing import Final

from cliff.commandmanager import CommandManager

OF_PLUGIN: Final = "openstack.synergy.v1"
STANDALONE: Final = "synergy.cli"
_PREFIX: Final = "synergy "


class Commands(CommandManager):
    """The commands of both groups, by the words that a user types after `synergy`."""

    def __init__(self) -> None:
        super().__init__(STANDALONE)
        self.load_commands(OF_PLUGIN)

    def load_commands(self, namespace: str) -> None:
        """Load the entry points of a group; in the plugin's group, drop the prefix of names."""
        super().load_commands(namespace)
        if namespace == OF_PLUGIN:
            found = {name.removeprefix(_PREFIX): entry for name, entry in self.commands.items()}
            self.commands.clear()
            self.commands.update(found)
