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

NUMBER, SUBMIT, RUN, ALLOCATED, ASKED, LIMIT, MEMORY, STATUS, USER, GROUP = (
    1, 2, 4, 5, 8, 9, 10, 11, 12, 13,
)  # fmt: skip
_NAMES: Final = {
    NUMBER: "job number",
    SUBMIT: "submit time",
    RUN: "run time",
    ALLOCATED: "allocated processors",
    ASKED: "requested processors",
    LIMIT: "requested time",
    MEMORY: "requested memory",
    STATUS: "status",
    USER: "user id",
    GROUP: "group id",
}
_COUNT: Final = 18
_UNKNOWN: Final = -1.0
MOST_S: Final = 2**32 - 1  # 136 years
MOST_OF_A_FLAVOR: Final = 2**31 - 1  # VCPUs, or MB: more fits in no flavor of Nova
_HIGHEST: Final = dict.fromkeys(_NAMES, 2**53) | {  # up to it, doubles hold every whole number
    **dict.fromkeys((SUBMIT, RUN, LIMIT), MOST_S),
    **dict.fromkeys((ALLOCATED, ASKED), MOST_OF_A_FLAVOR),
}
_WHOLE: Final = frozenset({NUMBER, ALLOCATED, ASKED, STATUS, USER, GROUP})
# Of a job that was swapped out: a part that was continued later, the last one, the last one killed.
_BURSTS: Final = frozenset({2, 3, 4})
MOST_ROWS: Final = 10_000_000
_LONGEST_LINE: Final = 65_536
_TELL_EVERY: Final = 10_000
_BYTE_ORDER_MARK: Final = "\ufeff"
PARTIAL: Final = "partial_execution"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row of a log. Unknown is None.

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
    """A row that is no job: where, the field (None: their number), and the value."""

    code = "bad_workload_line"

    def __init__(self, text: str, field: int | None) -> None:
        super().__init__(text)
        self.field = field

    @property
    def skipped_as(self) -> str:
        """The counter of rows that were skipped for this."""
        name = "number of fields" if self.field is None else _NAMES[self.field]
        return f"bad_{name.replace(' ', '_')}"


@dataclass(frozen=True, slots=True)
class Workload:
    """The jobs of a log in order of submission, and how many of its other rows were skipped, by
    the reason."""

    jobs: tuple[Job, ...]
    skipped: Mapping[str, int]


def read(
    path: str | Path,
    *,
    skip_bad_lines: bool = False,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Workload:
    """Read a log; "-" is standard input.

    progress  is told now and then how many rows were read

    Raises InvalidInput naming the file, and BadLine unless bad lines are skipped.
    """
    log = _Log(files.name_of(str(path)), skip_bad_lines)
    with files.opened(str(path)) as file:
        for count, (line_number, line) in enumerate(_lines(file, log.name), start=1):
            if count > MOST_ROWS:
                raise InvalidInput(f"{log.name} has more than {MOST_ROWS} rows")
            if count % _TELL_EVERY == 0:
                progress(count)
            log.add(line_number, line)
    return log.workload()


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield every row with the number of its line: no comments, no empty lines."""
    text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
    line_number = 0
    try:
        while line := text.readline(_LONGEST_LINE + 1):
            line_number += 1
            if len(line) > _LONGEST_LINE:
                raise InvalidInput(
                    f"{name}, line {line_number} has more than {_LONGEST_LINE} characters: it is "
                    "no workload in SWF"
                )
            row = line.strip().removeprefix(_BYTE_ORDER_MARK).strip()  # also where logs were joined
            if row and not row.startswith(";"):
                yield line_number, row
    finally:
        text.detach()  # or it closes the file, which is still to be read when a row is bad


class _Log:
    """Collects the jobs of the rows of one log."""

    def __init__(self, name: str, skip_bad_lines: bool) -> None:
        self.name, self._skip_bad_lines = name, skip_bad_lines
        self._jobs: list[Job] = []
        self._bursts: dict[int, list[tuple[int, _Row]]] = {}
        self._skipped: Counter[str] = Counter()

    def add(self, line_number: int, line: str) -> None:
        """Take in a row. Raises BadLine unless bad lines are skipped."""
        try:
            row = _Row(line)
            if row.is_burst:
                self._bursts.setdefault(row.job_number, []).append((line_number, row))
            else:
                self._jobs.append(row.job())
        except BadLine as error:
            self._bad(line_number, error)

    def workload(self) -> Workload:
        """Return what the rows are, together. Raises InvalidInput."""
        summed_up = {job.number for job in self._jobs}
        for job_number, parts in self._bursts.items():
            self._skipped[PARTIAL] += len(parts)
            if job_number not in summed_up:
                self._skipped[PARTIAL] -= 1  # the first of them stands for the job
                try:
                    self._jobs.append(_joined([row for _, row in parts]))
                except BadLine as error:
                    self._bad(parts[0][0], error)
        skipped = dict(+self._skipped)
        if not self._jobs:
            told = ", ".join(f"{reason} {rows}" for reason, rows in skipped.items())
            why = f"all rows were skipped: {told}" if told else "it is no workload in SWF, or empty"
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
        """Whether it is one of the executions of a job that was swapped out."""
        return self._values[STATUS] in _BURSTS

    @property
    def run_s(self) -> float:
        return self._known(RUN)

    def job(self, run_s: float | None = None) -> Job:
        """Return the job of the row, or of the first of several that ran `run_s` in all."""
        vcpus = int(max(self._values[ASKED], 0) or max(self._values[ALLOCATED], 0))
        if not vcpus:
            told = f"a whole number from 1 to {MOST_OF_A_FLAVOR} (and field 5 gives none either)"
            raise self._bad(ASKED, told)
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
        if memory_mb > MOST_OF_A_FLAVOR:
            raise self._bad(MEMORY, f"at most {MOST_OF_A_FLAVOR} MB for all {vcpus} processors")
        return memory_mb or None

    def _read(self, field: int) -> float:
        read = integer if field in _WHOLE else number
        try:
            value = read(self._texts[field - 1], _called(field), lowest=-1, highest=_HIGHEST[field])
        except InvalidInput as error:
            raise BadLine(str(error), field) from error
        if value < 0 and value != _UNKNOWN:
            raise self._bad(field, "-1 (unknown) or a number from 0")
        return value

    def _known(self, field: int) -> float:
        if self._values[field] < 0:
            raise self._bad(
                field, f"a number from 0: without its {_NAMES[field]} no job is simulated"
            )
        return self._values[field]

    def _bad(self, field: int, allowed: str) -> BadLine:
        text = shown(self._texts[field - 1])
        return BadLine(f"{_called(field)} is {text}, but must be {allowed}", field)


def _joined(bursts: Sequence[_Row]) -> Job:
    """Return the job of partial executions that no row sums up: submitted with the first of them,
    and run for as long as all of them."""
    run_s = sum(row.run_s for row in bursts)
    if run_s > MOST_S:
        raise BadLine(
            f"{_called(RUN)} of all its parts is {run_s}, but must be at most {MOST_S}", RUN
        )
    return bursts[0].job(run_s)


def _called(field: int) -> str:
    return f"field {field} ({_NAMES[field]})"
