"""What became of the jobs of a log, whichever engine replayed it.

Must not know how a replay runs, and must not print.
"""

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from synergy.core.errors import InvalidInput
from synergy.sim.observe import waits_of
from synergy.sim.swf import Job

MAX_TTL_S: Final = 366 * 86_400
FACTORS_S: Final = 1800.0  # recompute factors every 30 minutes: a log spans months
RARELY_S: Final = 86_400.0  # what a manager does periodically, where nothing asks for it
WARM_UP_S: Final = 60.0  # time for the managers to learn the cloud before the first job


class Outcome(StrEnum):
    """The outcome of a request; every request of a log ends with exactly one."""

    FINISHED = "finished"  # ran for its whole run time
    EXPIRED = "expired"  # its lifetime ended first
    FAILED = "failed"  # its build failed
    NEVER_FITS = "never_fits"  # rejected: larger than the cloud
    REJECTED = "rejected"  # for another reason
    CANCELLED = "cancelled"  # withdrawn while it waited
    QUARANTINED = "quarantined"  # set aside for a person
    RUNNING = "running"  # still holds quota
    WAITING = "waiting"  # still waits
    NOT_TAKEN = "not_taken"  # no manager received its message


@dataclass(slots=True)
class JobRecord:
    """A job and its outcome; start_s and end_s are seconds of the log's own time."""

    job: Job
    project: str
    outcome: Outcome = Outcome.NOT_TAKEN
    start_s: float | None = None
    end_s: float | None = None

    @property
    def refused(self) -> bool:
        """Whether it left the queue without a start."""
        return self.start_s is None and self.outcome is not Outcome.WAITING


@dataclass(frozen=True, slots=True)
class Replay:
    """A finished replay."""

    records: tuple[JobRecord, ...]
    skipped: Mapping[str, int]
    vcpus: int
    wall_s: float = field(compare=False)

    def as_json(self) -> dict[str, object]:
        """Return the summary in its published JSON form: rows = requests + skipped rows, and
        requests = the sum of all outcomes."""
        started = [record for record in self.records if record.start_s is not None]
        waits = waits_of([(f.start_s or 0.0) - f.job.submit_s for f in started])
        first = min(record.job.submit_s for record in self.records)
        last = max((record.end_s or first for record in started), default=first)
        makespan_s = last - first
        used = sum(f.job.vcpus * (f.end_s - (f.start_s or 0.0)) for f in started if f.end_s)
        outcomes = Counter(record.outcome for record in self.records)
        skipped_lines = sum(self.skipped.values())
        return {
            "rows": len(self.records) + skipped_lines,
            "requests": len(self.records),
            "started": len(started),
            **{outcome.value: outcomes[outcome] for outcome in Outcome},
            "skipped_lines": skipped_lines,
            "skipped": dict(self.skipped),
            "makespan_s": makespan_s,
            "utilisation": used / (self.vcpus * makespan_s) if makespan_s > 0 else 0.0,
            "wait_s": {
                "mean": waits.mean,
                "median": waits.median,
                "p95": waits.p95,
                "max": waits.max,
            },
            "wall_s": self.wall_s,
        }

    def write_trace(self, path: Path) -> None:
        """Write one row per request. Raises InvalidInput."""
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(
                    ["job", "project", "user", "vcpus", "submit_s", "start_s", "end_s", "state"]
                )
                for record in self.records:
                    job = record.job
                    times = [job.submit_s, record.start_s, record.end_s]
                    cells = ["" if t is None else f"{t:.6f}".rstrip("0").rstrip(".") for t in times]
                    writer.writerow(
                        [
                            job.number,
                            record.project,
                            job.user,
                            job.vcpus,
                            *cells,
                            record.outcome.value,
                        ]
                    )
        except OSError as error:
            raise InvalidInput(f"--trace-out {path}: {error.strerror}") from error


def check_writable(path: Path, option: str) -> None:
    """Check before a long run that what an option names can be written. Raises InvalidInput."""
    try:
        path.open("a").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{option} {path}: {reason}") from error


def project_of(job: Job) -> str:
    """Return the project of a job: its group, else its user."""
    return f"group-{job.group}" if job.group is not None else f"user-{job.user}"


def lifetime_s(job: Job) -> int:
    """Return the lifetime of a job, whole seconds, rounded up so that none is shorter than what was
    asked for; one that names none asks for its run time."""
    asked_s = job.run_s if job.requested_s is None else job.requested_s
    return min(max(1, math.ceil(asked_s)), MAX_TTL_S)
