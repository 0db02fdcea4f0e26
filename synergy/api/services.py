"""What the API calls, as a protocol: the service host offers it, a test may too."""

from collections.abc import Mapping
from typing import Any, Protocol


class Services(Protocol):
    """Managers by name, and their commands."""

    def health(self) -> Any:
        """Return whether the service is ready and healthy, why not, and each manager's status."""

    def managers(self) -> list[Any]:
        """Return what is to be shown of every manager."""

    def manager(self, name: str) -> Any:
        """Return what is to be shown of one manager. Raises NotFound."""

    def start_manager(self, name: str) -> Any:
        """Let a paused manager run. Raises NotFound."""

    def stop_manager(self, name: str) -> Any:
        """Pause a manager. Raises NotFound."""

    def execute(self, name: str, command: str, arguments: Mapping[str, Any]) -> Any:
        """Run a manager's command. Raises NotFound, InvalidInput, and what the command raises."""
