"""Says from the status of its managers whether the service can do its work.

Why: a service that lives may still start nothing. Anyone who watches it has to see that without
reading a log, and with the reason. Anybody
may ask, so what errors say, which may name hosts, is left out. Must not know how it is asked.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from synergy.core.declared.answers.service import Readiness
from synergy.managers.base import Status
from synergy.managers.supervision.supervisor import Report

_USELESS: Final = (Status.CREATED, Status.STALLED, Status.ERROR, Status.DESTROYED)


def health_of(
    reports: Iterable[Report],
    troubles: Iterable[str] = (),
    damaged: Mapping[str, int] | None = None,
) -> Readiness:
    """Return whether the service is ready and healthy, why not, and the status of each manager.

    ready     every manager that is needed does its work, or failed for less than its stall_s
    healthy   and every manager that starts with the service runs without error
    troubles  what is wrong with the service besides its managers
    damaged   how many rows of each table cannot be read: everything else goes on, so no load
              balancer should act on it, but a person has to
    """
    known = list(reports)
    why = [*troubles, *(said for one in known if one.needed and (said := why_not_ready(one)))]
    return {
        "ready": not why,
        "healthy": not why and all(_is_well(one) for one in known),
        "why": why,
        "warnings": [
            f"{count} row(s) of table {table} cannot be read and are skipped: the log names each"
            for table, count in (damaged or {}).items()
        ],
        "managers": {one.name: one.status.value for one in known},
    }


def why_not_ready(report: Report) -> str:
    """Return why a manager does not do its work, "" when it does."""
    name = f"manager {report.name} is {report.status}"
    if report.status is Status.STOPPED:
        return f"{name}: {report.stopped_means}"
    if report.status in _USELESS:
        hangs = report.running_s is not None and report.running_s > report.stall_s
        return f"{name}: its run has not ended for {report.running_s:.0f} s" if hangs else name
    if report.unable_s > report.stall_s:
        waits = f", {report.hindrance}" if report.hindrance else ""
        return f"manager {report.name} was unable to work for {report.unable_s:.0f} s{waits}"
    return ""


def _is_well(report: Report) -> bool:
    stopped_by_file = report.status is Status.STOPPED and not report.autostart
    return report.status is Status.RUNNING or stopped_by_file
