"""`synergy forecast replay`: arguments, progress and output, and nothing else.

Why the simulator is imported only when it runs: see `synergy.sim.commands`.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cliff.command import Command
from rich.console import Console
from rich.table import Table

from synergy.core.numbers import integer
from synergy.sim import commands
from synergy.sim.options import add_file, add_format, add_policy, add_replay, add_vcpus

if TYPE_CHECKING:
    from synergy.core.forecasts.score import Table as Scores


def _add_log(parser: argparse.ArgumentParser) -> None:
    """Declare the log, and how it is replayed."""
    add_format(parser)
    add_file(parser)
    add_vcpus(parser, "Size of the shared quota.", required=True)
    add_policy(parser)
    add_replay(parser)


class ReplayForecasts(Command):
    """Replay a log, forecast each start at its submission, and tell how well the forecasts held."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Declare the arguments."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_log(parser)
        parser.add_argument(
            "--samples",
            type=partial(integer, what="--samples", lowest=1, highest=1000),
            default=15,
            metavar="N",
            help="How many times the queue is run forward for a forecast, each time with other "
            "lifetimes (default: 15).",
        )
        parser.add_argument(
            "--jobs",
            type=partial(integer, what="--jobs", lowest=1, highest=256),
            default=len(os.sched_getaffinity(0)),
            metavar="N",
            help="Processes that draw forecasts; the result is the same (default: one for each "
            "processor).",
        )
        parser.add_argument(
            "--out",
            type=Path,
            metavar="FILE.csv",
            help="Write one row for each forecast: job, made_s, p50_s, p90_s, bound_s, start_s, in "
            "seconds of the log's own time. No number: no start is foreseen, or there was none.",
        )
        return parser

    def take_action(self, parsed: argparse.Namespace) -> int:
        """Read, replay, forecast, print."""
        commands.prepare()
        from synergy.sim import forecasts, records, swf

        if parsed.out is not None:
            records.check_writable(parsed.out, "--out")
        with commands.progress_on(sys.stderr, Path(parsed.file).name) as show_progress:
            workload = swf.read(
                parsed.file,
                skip_bad_lines=parsed.skip_bad_lines,
                progress=lambda rows: show_progress(0.0, f"{rows:,} rows read"),
            )
            result = forecasts.run(
                workload,
                vcpus=parsed.vcpus,
                discipline=parsed.policy,
                order=parsed.order,
                boot_s=parsed.boot_s,
                samples=parsed.samples,
                seed=1 if parsed.seed is None else parsed.seed,
                jobs=parsed.jobs,
                progress=show_progress,
            )
        if parsed.out is not None:
            result.write(parsed.out)
        if parsed.format == "json":
            commands.print_json(result.as_json(), self.app.stdout)
        else:
            console = Console(file=self.app.stdout)
            counts = {name: one for name, one in result.as_json().items() if name != "scores"}
            console.print(commands.summary_table(counts))
            console.print(_score_table(result.scores))
        return 0


def _score_table(scores: "Scores") -> Table:
    table = Table(title="Coverage of p50 and p90 (best: 0.5 and 0.9), pinball loss in seconds")
    for name in ("forecasts", "method"):
        table.add_column(name)
    for name in ("count", "cov. 50", "cov. 90", "pinball 50", "pinball 90", "width / wait"):
        table.add_column(name, justify="right")
    for group, methods in scores.items():
        for method, row in methods.items():
            cells = [f"{row[name]:.3f}" for name in ("coverage_50", "coverage_90")]
            cells += [f"{row[name]:,.0f}" for name in ("pinball_50_s", "pinball_90_s")]
            table.add_row(
                group, method, f"{row['count']:,.0f}", *cells, f"{row['width_by_wait']:.2f}"
            )
    return table
