"""Reads workloads in the Standard Workload Format (SWF 2.2) from a file or pipe, plain or gzip.

Source: Parallel Workloads Archive, "The Standard Workload Format". Must not know the simulator.
"""

import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from synergy.calc import files
from synergy.core.errors import InvalidInput
from synergy.core.numbers import integer, number, shown

NUMBER, SUBMIT, RUN, ALLOCATED, REQUESTED, LIMIT, MEMORY, STATUS, USER, GROUP = (
    1, 2, 4, 5, 8, 9, 10, 11, 12, 13,
)  # fmt: skip
_NAMES: Final = {
    NUMBER: "job number",
    SUBMIT: "submit time",
    RUN: "run time",
    ALLOCATED: "allocated processors",
    REQUESTED: "requested processors",
    LIMIT: "requested time",
    MEMORY: "requested memory",
    STATUS: "status",
    USER: "user id",
    GROUP: "group id",
}
_COUNT: Final = 18
_UNKNOWN: Final = -1.0
MAX_S: Final = 2**32 - 1  # 136 years
MAX_FLAVOR_AMOUNT: Final = 2**31 - 1  # VCPUs, or MB: the limit of a flavor in Nova
_HIGHEST: Final = dict.fromkeys(_NAMES, 2**53) | {  # doubles represent every whole number up to it
    **dict.fromkeys((SUBMIT, RUN, LIMIT), MAX_S),
    **dict.fromkeys((ALLOCATED, REQUESTED), MAX_FLAVOR_AMOUNT),
}
_WHOLE: Final = frozenset({NUMBER, ALLOCATED, REQUESTED, STATUS, USER, GROUP})
# Status of a partial execution of a swapped-out job: continued later, last part, last part failed.
_BURSTS: Final = frozenset({2, 3, 4})
MAX_ROWS: Final = 10_000_000
_MAX_LINE_CHARS: Final = 65_536
PROGRESS_EVERY: Final = 10_000
_BYTE_ORDER_MARK: Final = "\ufeff"
PARTIAL: Final = "partial_execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of a log; None is unknown.

    submit_s     seconds since the start of the log
    run_s        actual run time, wall-clock seconds
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
    """A row that is not a valid job; `field` is None when the number of fields is wrong."""

    code = "bad_workload_line"

    def __init__(self, text: str, field: int | None) -> None:
        super().__init__(text)
        self.field = field

    @property
    def skipped_as(self) -> str:
        """The name of the counter for rows skipped because of this error."""
        name = "number of fields" if self.field is None else _NAMES[self.field]
        return f"bad_{name.replace(' ', '_')}"


@dataclass(frozen=True, slots=True)
class Workload:
    """The jobs of a log in order of submission, and the number of skipped rows by reason."""

    jobs: tuple[Job, ...]
    skipped: Mapping[str, int]


def read(
    path: str | Path,
    *,
    skip_bad_lines: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Workload:
    """Read a log; "-" is standard input.

    progress  is called now and then with the number of rows read

    Raises InvalidInput naming the file, and BadLine unless bad lines are skipped.
    """
    log = _Log(files.name_of(str(path)), skip_bad_lines)
    with files.opened(str(path)) as file:
        for count, (line_number, line) in enumerate(_lines(file, log.name), start=1):
            if count > MAX_ROWS:
                raise InvalidInput(f"{log.name} has more than {MAX_ROWS} rows")
            if count % PROGRESS_EVERY == 0:
                progress(count)
            log.add(line_number, line)
    return log.workload()


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield (line number, row), without comments and empty lines."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
    line_number = 0
    try:
        while line := text.readline(_MAX_LINE_CHARS + 1):
            line_number += 1
            if len(line) > _MAX_LINE_CHARS:
                raise InvalidInput(
                    f"{name}, line {line_number} has more than {_MAX_LINE_CHARS} characters: it is "
                    "not a workload in SWF"
                )
            row = (
                line.strip().removeprefix(_BYTE_ORDER_MARK).strip()
            )  # also in the middle, where logs were concatenated
            if row and not row.startswith(";"):
                yield line_number, row
    finally:
        text.detach()  # or it would close the file, which the caller still reads when a row is bad


class _Log:
    """Collects the jobs of the rows of one log."""

    def __init__(self, name: str, skip_bad_lines: bool) -> None:
        self.name, self._skip_bad_lines = name, skip_bad_lines
        self._jobs: list[Job] = []
        self._bursts: dict[int, list[tuple[int, _Row]]] = {}
        self._skipped: Counter[str] = Counter()

    def add(self, line_number: int, line: str) -> None:
        """Add a row. Raises BadLine unless bad lines are skipped."""
        try:
            row = _Row(line)
            if row.is_burst:
                self._bursts.setdefault(row.job_number, []).append((line_number, row))
            else:
                self._jobs.append(row.job())
        except BadLine as error:
            self._bad(line_number, error)

    def workload(self) -> Workload:
        """Return the workload of all rows. Raises InvalidInput."""
        summed_up = {job.number for job in self._jobs}
        for job_number, parts in self._bursts.items():
            self._skipped[PARTIAL] += len(parts)
            if job_number not in summed_up:
                self._skipped[PARTIAL] -= 1  # the first part becomes the job
                try:
                    self._jobs.append(_merged([row for _, row in parts]))
                except BadLine as error:
                    self._bad(parts[0][0], error)
        skipped = dict(+self._skipped)
        if not self._jobs:
            allowed = ", ".join(f"{reason} {rows}" for reason, rows in skipped.items())
            why = (
                f"all rows were skipped: {allowed}"
                if allowed
                else "it is not a workload in SWF, or empty"
            )
            raise InvalidInput(f"{self.name} has no job: {why}")
        self._jobs.sort(key=lambda job: (job.submit_s, job.number))
        return Workload(tuple(self._jobs), skipped)

    def _bad(self, line_number: int, error: BadLine) -> None:
        if not self._skip_bad_lines:
            raise BadLine(f"{self.name}, line {line_number}: {error}", error.field) from error
        self._skipped[error.skipped_as] += 1


class _Row:
    """The fields of one row that are used. Raises BadLine naming the field and the value."""

    def __init__(self, line: str) -> None:
        self._texts = line.split()
        if len(self._texts) != _COUNT:
            raise BadLine(f"has {len(self._texts)} fields, but must have {_COUNT}", None)
        self._values = {field: self._read(field) for field in _NAMES}

    @property
    def job_number(self) -> int:
        return int(self._values[NUMBER])

    @property
    def is_burst(self) -> bool:
        """Whether it is a partial execution of a job that was swapped out."""
        return self._values[STATUS] in _BURSTS

    @property
    def run_s(self) -> float:
        return self._known(RUN)

    def job(self, run_s: float | None = None) -> Job:
        """Return the job of the row; `run_s` replaces its run time."""
        vcpus = int(max(self._values[REQUESTED], 0) or max(self._values[ALLOCATED], 0))
        if not vcpus:
            allowed = (
                f"a whole number from 1 to {MAX_FLAVOR_AMOUNT} (and field 5 gives none either)"
            )
            raise self._bad(REQUESTED, allowed)
        user, group = int(self._values[USER]), int(self._values[GROUP])
        return Job(
            number=self.job_number,
            submit_s=self._known(SUBMIT),
            run_s=self.run_s if run_s is None else run_s,
            vcpus=vcpus,
            requested_s=self._values[LIMIT] if self._values[LIMIT] > 0 else None,
            memory_mb=self._memory_mb(vcpus),
            user="unknown" if user < 0 else f"{user}",
            group=None if group < 0 else f"{group}",
        )

    def _memory_mb(self, vcpus: int) -> int | None:
        kilobytes = max(self._values[MEMORY], 0.0)  # of each processor
        memory_mb = math.ceil(kilobytes * vcpus / 1024)
        if memory_mb > MAX_FLAVOR_AMOUNT:
            raise self._bad(MEMORY, f"at most {MAX_FLAVOR_AMOUNT} MB for all {vcpus} processors")
        return memory_mb or None

    def _read(self, field: int) -> float:
        read = integer if field in _WHOLE else number
        try:
            value = read(
                self._texts[field - 1], _field_name(field), lowest=-1, highest=_HIGHEST[field]
            )
        except InvalidInput as error:
            raise BadLine(str(error), field) from error
        if value < 0 and value != _UNKNOWN:
            raise self._bad(field, "-1 (unknown) or a number from 0")
        return value

    def _known(self, field: int) -> float:
        if self._values[field] < 0:
            raise self._bad(
                field, f"a number from 0: without its {_NAMES[field]} a job cannot be simulated"
            )
        return self._values[field]

    def _bad(self, field: int, allowed: str) -> BadLine:
        text = shown(self._texts[field - 1])
        return BadLine(f"{_field_name(field)} is {text}, but must be {allowed}", field)


def _merged(bursts: Sequence[_Row]) -> Job:
    """Merge the partial executions of a job that has no summary row: it is submitted with the first
    of them, and runs for the sum of their run times."""
    run_s = sum(row.run_s for row in bursts)
    if run_s > MAX_S:
        raise BadLine(
            f"{_field_name(RUN)} of all its parts is {run_s}, but must be at most {MAX_S}", RUN
        )
    return bursts[0].job(run_s)


def _field_name(field: int) -> str:
    return f"field {field} ({_NAMES[field]})"
