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

    def begin_change(self, entry: Mapping[str, Any]) -> int:
        """Write down a change that is about to be made. Raises UpstreamUnavailable."""

    def settle_change(self, number: int, settled: Mapping[str, Any]) -> None:
        """Write down what became of it. Raises UpstreamUnavailable."""

    def changes(self, filters: Mapping[str, Any]) -> list[Any]:
        """Return changes that were asked for. Raises InvalidInput."""
