"""`synergy demo` and `synergy simulate`: arguments, progress and output, and nothing else.

Why the simulator is imported only when it runs: every subcommand of `synergy` loads this module,
and must not wait for imports of the database and of matplotlib.
"""

import argparse
import gc
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from cliff.command import Command
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from synergy.core.errors import InvalidInput
from synergy.core.fairshare import Algorithm
from synergy.core.numbers import integer, number, shown
from synergy.sim import padova
from synergy.sim.options import POLICIES, add_file, add_format, add_policy, add_replay, add_vcpus

if TYPE_CHECKING:
    from synergy.sim.compare import Comparison
    from synergy.sim.observe import Observer
    from synergy.sim.records import Replay
    from synergy.sim.swf import Workload

_TABLE_WIDTH = 105
ShowProgress = Callable[[float, str], None]  # fraction done in [0, 1], and a text


@contextmanager
def progress_on(stream: TextIO, title: str) -> Iterator[ShowProgress]:
    """Show progress: a bar on a terminal, else a plain line for every 5 per cent."""
    if stream.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(
            *columns, TextColumn("{task.fields[text]}"), console=Console(file=stream)
        ) as bar:
            task = bar.add_task(title, total=1.0, text="")
            yield lambda part, text: bar.update(task, completed=part, text=text)
        return
    shown_part = -1

    def show_progress(part: float, text: str) -> None:
        nonlocal shown_part
        if int(part * 20) > shown_part:
            shown_part = int(part * 20)
            print(f"{title} {part:4.0%}  {text}", file=stream, flush=True)

    yield show_progress


def prepare() -> None:
    """Silence the logs, and tune garbage collection for one long computation.

    Call it before the simulator is imported, because alembic logs during its import. The failure of
    a manager is not lost: it ends the simulation, and the command reports it.
    """
    for name in ("synergy.managers", "synergy.drivers", "synergy.db", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


class Demo(Command):
    """Run the Padova experiment on the embedded cloud and show promised and delivered shares."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Declare the arguments."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_format(parser)
        parser.add_argument(
            "--algorithm",
            choices=[one.value for one in Algorithm],
            default=Algorithm.FAIR_TREE.value,
            help="Algorithm of the fair-share factors (default: fair_tree).",
        )
        parser.add_argument(
            "--user-shares",
            choices=sorted(padova.USERS),
            default="equal",
            help="Shares of the users within each project (default: equal).",
        )
        parser.add_argument(
            "--output",
            type=Path,
            default=Path("demo-output"),
            metavar="DIR",
            help="Folder for the report (default: demo-output).",
        )
        parser.add_argument(
            "--hours",
            type=partial(number, what="--hours", lowest=0.1, highest=1000),
            default=padova.VIRTUAL_S / 3600,
            metavar="HOURS",
            help="Virtual hours to simulate (default: 48).",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> int:
        """Run, print, and write the report."""
        parsed.seed = 1 if parsed.seed is None else parsed.seed
        _needs_matplotlib()
        prepare()
        from synergy.sim import bursts, demo, report

        report.check(parsed.output)
        virtual_s = parsed.hours * 3600
        with progress_on(sys.stderr, f"Padova, {parsed.algorithm}") as show_progress:
            result = demo.run(
                seed=parsed.seed,
                algorithm=parsed.algorithm,
                user_shares=parsed.user_shares,
                virtual_s=virtual_s,
                progress=lambda observer, done_s: show_progress(
                    done_s / virtual_s, _progress_text(observer, done_s)
                ),
            )
        with progress_on(sys.stderr, "Alternating and bursty demand") as show_progress:
            second = bursts.run(seed=parsed.seed, hours=parsed.hours, progress=show_progress)
        path = report.write(result, second, parsed.output)
        if parsed.format == "json":
            more = {"bursts": {"headline": bursts.headline(second), **second.as_json()}}
            print_json(result.as_json(str(path)) | more, self.app.stdout)
        else:
            console = Console(file=self.app.stdout)
            report.print_tables(result, console)
            _print_comparison(second, console)
            console.print(bursts.headline(second), soft_wrap=True)
            console.print(f"Report with plots: {path}", soft_wrap=True)
        return 0


def print_json(result: dict[str, object], stream: TextIO) -> None:
    """Print a result as one JSON object."""
    json.dump(result, stream, indent=2, allow_nan=False)
    stream.write("\n")


def _progress_text(observer: "Observer", done_s: float) -> str:
    from synergy.sim.observe import shares_of

    parts = shares_of(observer.delivered_by_project())
    split = "  ".join(f"{name} {parts.get(f'project-{name}', 0.0):.1%}" for name in padova.PROMISED)
    return (
        f"{done_s / 3600:5.1f} h  {observer.started:6,} servers  {observer.queued:6,} wait  {split}"
    )


class Simulate(Command):
    """Replay a workload log in the Standard Workload Format, or play a scenario."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Declare the arguments."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        add_format(parser)
        _add_source(parser)
        _add_policies(parser)
        _add_how(parser)
        return parser

    def take_action(self, parsed: argparse.Namespace) -> int:
        """Read, replay, print."""
        _check_source(parsed)
        _check_outputs(parsed)
        prepare()
        if parsed.scenario is not None:
            _show_comparison(_played(parsed), parsed, self.app.stdout)
            return 0
        with progress_on(sys.stderr, Path(parsed.file).name) as show_progress:
            workload = _workload(parsed, show_progress)
            if parsed.compare is not None or parsed.report is not None:
                compared = _compared(parsed, workload, show_progress)
            else:
                compared, result = None, _replayed(parsed, workload, show_progress)
        if compared is not None:
            _show_comparison(compared, parsed, self.app.stdout)
            return 0
        if parsed.trace_out is not None:
            result.write_trace(parsed.trace_out)
        summary = result.as_json()
        if parsed.format == "json":
            print_json(summary, self.app.stdout)
        else:
            Console(file=self.app.stdout).print(summary_table(summary))
        return 0


def _add_source(parser: argparse.ArgumentParser) -> None:
    add_file(parser, nargs="?")
    parser.add_argument(
        "--scenario",
        type=Path,
        metavar="FILE.yaml",
        help="Instead of a log: a cloud, projects with shares and quotas, and how they ask for "
        "servers; see the page of the simulator.",
    )
    add_vcpus(parser, "Size of the shared quota that a log is replayed on.")


def _add_policies(parser: argparse.ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    add_policy(how)
    how.add_argument(
        "--compare",
        type=_policies,
        metavar="POLICY,POLICY...",
        help="Replay the log under each of these policies, and compare what they deliver, in "
        "all and by project, with each other and with fixed quotas on the same arrivals.",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="Write a page with plots: waits, use and shares over time, who gains and loses.",
    )


def _add_how(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        type=partial(integer, what="--jobs", lowest=1, highest=1024),
        default=None,
        metavar="N",
        help="How many policies are replayed at a time, each in a process of its own (default: "
        "one for each processor).",
    )
    parser.add_argument(
        "--engine",
        choices=["core", "managers"],
        default="core",
        help="core: only the function that decides, in seconds for a log of years (default); "
        "managers: the whole service on a virtual cloud, which is slow.",
    )
    add_replay(parser)
    parser.add_argument(
        "--trace-out", type=Path, metavar="FILE.csv", help="Write one row for each request."
    )


def _policies(text: str) -> tuple[str, ...]:
    """Read the policies of --compare. Raises InvalidInput."""
    names = tuple(name.strip() for name in text.split(","))
    for place, name in enumerate(names):
        if name not in POLICIES:
            raise InvalidInput(
                f"--compare names {shown(name)}, but a policy is one of {', '.join(POLICIES)}"
            )
        if name in names[:place]:
            raise InvalidInput(f"--compare names {name} twice: name each policy once")
    return names


def _check_source(parsed: argparse.Namespace) -> None:
    """Check that there is a log with its pool, or a scenario that brings its own. Raises
    InvalidInput."""
    if (parsed.file is None) == (parsed.scenario is None):
        given = "neither is" if parsed.file is None else "both are"
        raise InvalidInput(f"name a log FILE or --scenario FILE.yaml: {given} given")
    if parsed.scenario is None:
        if parsed.vcpus is None:
            raise InvalidInput("--vcpus is missing: give the size of the pool for the log")
        return
    for_logs = {
        "--vcpus": parsed.vcpus is not None,
        "--boot-s": parsed.boot_s != 0,
        "--engine managers": parsed.engine != "core",
        "--skip-bad-lines": parsed.skip_bad_lines,
        "--trace-out": parsed.trace_out is not None,
    }
    for option, given in for_logs.items():
        if given:
            raise InvalidInput(f"{option} is for a log: take it out, a scenario says all there is")


def _check_outputs(parsed: argparse.Namespace) -> None:
    """Check before a long run what would end it. Raises InvalidInput."""
    from synergy.sim import records

    if parsed.trace_out is not None:
        if parsed.compare is not None or parsed.report is not None:
            raise InvalidInput(
                "--trace-out writes the requests of one policy: give it without --compare and "
                "--report"
            )
        records.check_writable(parsed.trace_out, "--trace-out")
    if parsed.report is not None:
        _needs_matplotlib()
        from synergy.sim import page

        page.check_file("--report", parsed.report)


def _needs_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise InvalidInput("the report needs matplotlib: pip install 'synergy[plots]'")


def _workload(parsed: argparse.Namespace, show_progress: ShowProgress) -> "Workload":
    from synergy.sim import swf

    return swf.read(
        parsed.file,
        skip_bad_lines=parsed.skip_bad_lines,
        progress=lambda rows: show_progress(0.0, f"{rows:,} rows read"),
    )


def _replayed(
    parsed: argparse.Namespace, workload: "Workload", show_progress: ShowProgress
) -> "Replay":
    return _engine(parsed)(
        workload,
        vcpus=parsed.vcpus,
        discipline=parsed.policy,
        order=parsed.order,
        boot_s=parsed.boot_s,
        progress=lambda done, count: show_progress(done / count, f"{done:,} of {count:,} ended"),
    )


def _compared(
    parsed: argparse.Namespace, workload: "Workload", show_progress: ShowProgress
) -> "Comparison":
    from synergy.sim import compare

    return compare.compared(
        workload,
        parsed.compare or (parsed.policy,),
        _engine(parsed),
        of=Path(parsed.file).name,
        vcpus=parsed.vcpus,
        order=parsed.order,
        boot_s=parsed.boot_s,
        processes=parsed.jobs or len(os.sched_getaffinity(0)),
        progress=show_progress,
    )


def _played(parsed: argparse.Namespace) -> "Comparison":
    from synergy.sim import compare
    from synergy.sim.scenarios import reading

    scenario = reading.read(parsed.scenario)
    if parsed.seed is not None:
        scenario = replace(scenario, seed=parsed.seed)
    with progress_on(sys.stderr, parsed.scenario.name) as show_progress:
        return compare.played(
            scenario,
            parsed.compare or (parsed.policy,),
            order=parsed.order,
            processes=parsed.jobs or len(os.sched_getaffinity(0)),
            progress=show_progress,
        )


def _show_comparison(found: "Comparison", parsed: argparse.Namespace, stream: TextIO) -> None:
    """Print a comparison, and write its page."""
    from synergy.sim import comparison

    if parsed.report is not None:
        from synergy.sim import comparison_page

        comparison_page.write(found, parsed.report)
    if parsed.format == "json":
        report = str(parsed.report) if parsed.report is not None else None
        print_json(found.as_json() | {"report": report}, stream)
        return
    console = Console(file=stream)
    _print_comparison(found, console)
    console.print(escape(comparison.headline(found)), soft_wrap=True)
    if parsed.report is not None:
        console.print(f"Report with plots: {escape(str(parsed.report))}", soft_wrap=True)


def _print_comparison(found: "Comparison", console: Console) -> None:
    from synergy.sim import comparison

    console.width = max(console.width, _TABLE_WIDTH)  # a cell that is cut off says nothing
    for title, (head, rows) in comparison.tables(found):
        table = Table(title=title, box=SIMPLE)
        for place, column in enumerate(head):
            table.add_column(column, justify="right" if place else "left", no_wrap=True)
        for row in rows:
            table.add_row(*map(escape, row))
        console.print(table)


def _engine(parsed: argparse.Namespace) -> Callable[..., "Replay"]:
    """Return what replays a log; only that is imported."""
    if parsed.engine == "core":
        from synergy.sim import forward

        return forward.run
    from synergy.sim import replay

    return partial(replay.run, seed=1 if parsed.seed is None else parsed.seed)


def summary_table(summary: dict[str, object]) -> Table:
    """Return a summary as a table of names and numbers."""
    table = Table(show_header=False)
    for name, value in summary.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for part, amount in inner:
            shown = f"{amount:,.3f}" if isinstance(amount, float) else f"{amount:,}"
            table.add_row(f"{name} {part}".strip(), shown)
    return table
