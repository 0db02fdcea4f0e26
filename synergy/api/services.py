"""What routes call: our managers by their facades, and what the process of the managers offers.

Why: a facade has the names and types of what a manager is asked, and the host carries every call in
one way: in this process, over a socket, later over a message bus. Whatever carries calls needs to
know of no facade, and a caller of no carrier.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from synergy.api.facades import (
    Archive,
    Ends,
    Forecasts,
    Notifications,
    Nova,
    Projects,
    Queue,
    Quotas,
    Reads,
    Scheduler,
)
from synergy.core.declared.answers.service import Change, Manager, Readiness


class ServiceHost(Protocol):
    """The process that runs the managers. Every argument and answer is made of plain values."""

    def health(self) -> Readiness:
        """Return whether the service is ready and healthy, why not, and each manager's status."""

    def managers(self) -> list[Manager]:
        """Return what is to be shown of every manager."""

    def manager(self, name: str) -> Manager:
        """Return what is to be shown of one manager. Raises NotFound."""

    def start_manager(self, name: str) -> Manager:
        """Let a paused manager run. Raises NotFound."""

    def stop_manager(self, name: str) -> Manager:
        """Pause a manager. Raises NotFound."""

    def execute(self, name: str, command: str, arguments: Mapping[str, object]) -> Any:
        """Run a command, of a third party's manager too: its declared schema checks the arguments.

        Raises NotFound where the manager is not loaded or has no such command, InvalidInput, what
        the command raises, and UpstreamUnavailable where the managers cannot be reached.
        """

    def begin_change(self, entry: Mapping[str, object]) -> int:
        """Write down a change that is about to be made. Raises UpstreamUnavailable."""

    def settle_change(self, number: int, settled: Mapping[str, object]) -> None:
        """Write down what became of it. Raises UpstreamUnavailable."""

    def changes(self, filters: Mapping[str, object]) -> list[Change]:
        """Return changes that were asked for. Raises InvalidInput."""


class Services:
    """The host of the managers, and a facade for each manager that routes call."""

    def __init__(self, host: ServiceHost) -> None:
        self.host = host
        self.reads = Reads(host)
        self.queue = Queue(host)
        self.scheduler = Scheduler(host)
        self.projects = Projects(host)
        self.quotas = Quotas(host)
        self.forecasts = Forecasts(host)
        self.expiry = Ends(host)
        self.archive = Archive(host)
        self.nova = Nova(host)
        self.notifications = Notifications(host)
