"""Reads workloads in the Standard Workload Format (SWF 2.2), plain or gzip.

Source: Parallel Workloads Archive, "The Standard Workload Format". Must not know the simulator.
"""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from synergy.core.errors import InvalidInput

_FIELDS: Final = {
    1: "job number",
    2: "submit time",
    4: "run time",
    5: "allocated processors",
    8: "requested processors",
    9: "requested time",
    10: "requested memory",
    12: "user id",
    13: "group id",
}
_COUNT: Final = 18
_UNKNOWN: Final = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One line of a log. Unknown is None.

    submit_s     seconds since the start of the log
    run_s        wall-clock seconds that it really ran
    vcpus        requested processors, else the allocated ones
    requested_s  the user's limit, seconds
    memory_mb    for all processors together
    """

    number: int
    submit_s: float
    run_s: float
    vcpus: int
    requested_s: float | None
    memory_mb: int | None
    user: str
    group: str | None


class BadLine(InvalidInput):
    """A line that is no job: its number, the field and the value."""

    code = "bad_workload_line"


@dataclass(frozen=True, slots=True)
class Workload:
    """The jobs of a log in order of submission, and how many lines were skipped."""

    jobs: tuple[Job, ...]
    skipped_lines: int


def read(path: Path, *, skip_bad_lines: bool = False) -> Workload:
    """Read a log. Raises InvalidInput naming the file, and BadLine unless they are skipped."""
    jobs: list[Job] = []
    skipped = 0
    try:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip() or line.lstrip().startswith(";"):
                continue
            try:
                jobs.append(_job(line))
            except ValueError as error:
                if not skip_bad_lines:
                    raise BadLine(f"{path}, line {number}: {error}") from error
                skipped += 1
    except (OSError, EOFError) as error:
        raise InvalidInput(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not jobs:
        raise InvalidInput(f"{path} has no job: it is not a workload in SWF, or it is empty")
    jobs.sort(key=lambda job: (job.submit_s, job.number))
    return Workload(tuple(jobs), skipped)


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as probe:
        packed = probe.read(2) == b"\x1f\x8b"
    opened: Iterable[str]
    if packed:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as opened:
            yield from opened
    else:
        with path.open(encoding="utf-8", errors="replace") as opened:
            yield from opened


def _job(line: str) -> Job:
    """Return the job of a line. Raises ValueError naming the field and the value."""
    texts = line.split()
    if len(texts) != _COUNT:
        raise ValueError(f"has {len(texts)} fields, but must have {_COUNT}")
    values = {field: _number(texts[field - 1], field) for field in _FIELDS}
    processors = values[8] if values[8] > 0 else values[5]
    if processors < 1 or processors != int(processors):
        raise _bad(8, texts[7], "a whole number from 1 (and field 5 gives none either)")
    if values[2] < 0:
        raise _bad(2, texts[1], "a number >= 0")
    if values[4] < 0:
        raise _bad(4, texts[3], "a number >= 0: without it nothing can be simulated")
    kilobytes = values[10] if values[10] > 0 else 0.0
    return Job(
        number=int(values[1]),
        submit_s=values[2],
        run_s=values[4],
        vcpus=int(processors),
        requested_s=values[9] if values[9] > 0 else None,
        memory_mb=-(-int(kilobytes * processors) // 1024) or None,
        user=f"{int(values[12])}" if values[12] >= 0 else "unknown",
        group=f"{int(values[13])}" if values[13] >= 0 else None,
    )


def _number(text: str, field: int) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise _bad(field, text, "a number") from error
    if not abs(value) < 2**53:  # also catches nan
        raise _bad(field, text, "a finite number")
    if value < 0 and value != _UNKNOWN:
        raise _bad(field, text, "-1 (unknown) or a number >= 0")
    return value


def _bad(field: int, text: str, allowed: str) -> ValueError:
    return ValueError(f"field {field} ({_FIELDS[field]}) is {text!r}, but must be {allowed}")
