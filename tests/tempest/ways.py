"""The three ways to Nova that are compared, and the proof that each was what it says.

Why: a comparison in which Synergy saw no request, or took each for unmanaged, would find everything
the same. Must not know Tempest's tests.
"""

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from lab.steps import Lab
from tests.openstack.beside import Beside, until

WITHOUT: Final = "without"
UNMANAGED: Final = "unmanaged"
MANAGED: Final = "managed"
WAYS: Final[Mapping[str, str]] = {
    WITHOUT: "nova-api publishes to the vhost of the conductor, and Synergy does not run",
    UNMANAGED: "Synergy stands in between and manages no project: it passes everything on",
    MANAGED: "Synergy manages every project by rule, and there is room for all",
}
MANAGE_ALL: Final[Mapping[str, dict[str, Any]]] = {
    # Shared, since the default would ask no more of a server than Nova's own quota does.
    "project": {"manage": "all", "template_default_quota": "shared", "most_leaving": 1000},
    # Synergy writes the end of a shared server into its metadata, and some tests know all of these.
    "expiry": {"show_end": "false"},
}


class Cloud:
    """The lab, whose nova-api takes one of the ways at a time."""

    def __init__(self, lab: Lab, report: Callable[[str], None]) -> None:
        self._lab, self._report = lab, report
        self._vhost = ""  # unknown: nova-api may run since a test put it on the edge

    @contextmanager
    def way(self, name: str, projects: int) -> Iterator[None]:
        """Let nova-api take one way for as long as this is entered.

        projects  how many projects Tempest has of its own, which the rule has to take in first

        Raises RuntimeError where Synergy saw what it should not have seen, or missed what it should.
        """
        if name == WITHOUT:
            self.publish_to("core")
            yield
            return
        settings = self._lab.settings
        folder = settings.folder / "tempest" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        service = Beside(settings, folder, **(MANAGE_ALL if name == MANAGED else {}))
        try:
            service.start()  # before nova-api: what is published without a queue is lost
            if name == MANAGED:
                _wait_for_projects(service, projects)
            self.publish_to("edge")
            before = self._built()
            yield
            self._report(_seen(service, self._built() - before, managed=name == MANAGED))
        finally:
            try:
                if name == MANAGED:
                    _let_projects_go(service)
            finally:
                service.stop()

    def _built(self) -> set[str]:
        """Return the ids of all servers that ever came to a host."""
        return set(self._lab.sql("SELECT uuid FROM nova_cell1.instances").split()[1:])

    def publish_to(self, vhost: str) -> None:
        """Restart nova-api on a vhost, if it is on another one."""
        if vhost != self._vhost:
            self._lab.with_settings(api_vhost=vhost).restart("nova-api")
            self._vhost = vhost


def _wait_for_projects(service: Beside, projects: int) -> None:
    def taken() -> bool:
        rule = service.command("project", "rule")
        return bool(rule["by_rule"] >= projects and rule["coming"] == 0)

    until(taken, 180, 1)


def _let_projects_go(service: Beside) -> None:
    """Give every project its limits in Nova back: the other ways find them as they were."""
    service.stop()
    service.configure(project={"manage": "listed"})
    service.start()

    def gone() -> bool:
        rule = service.command("project", "rule")
        if rule["suspended"]:
            service.command("project", "resume_rule")
        return bool(rule["by_rule"] == 0)

    until(gone, 180, 1)


def _seen(service: Beside, built: Collection[str], *, managed: bool) -> str:
    """Tell what Synergy had to do. Raises RuntimeError if it is not what the way says.

    built  ids of the servers that Nova built meanwhile
    """
    requests = service.requests()
    states = sorted({one["state"] for one in requests})
    past = set(built) - {one["id"] for one in requests}
    if managed and past:
        raise RuntimeError(
            f"Synergy manages every project, and {len(past)} of {len(built)} servers were built past "
            f"it, such as {min(past)}"
        )
    if requests and not managed:
        raise RuntimeError(f"Synergy manages no project, and queued {len(requests)} requests")
    queued = f"{len(requests)} requests ({', '.join(states) or 'none'})"
    return f"Nova built {len(built)} servers; Synergy queued {queued}"
