"""Shows the result of a demo: tables for the terminal, and an HTML report with plots."""

import html
import io
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from synergy.sim import bursts, comparison, comparison_page, page
from synergy.sim.compare import Comparison
from synergy.sim.demo import DemoResult
from synergy.sim.page import plt
from synergy.sim.text import duration, percent


def print_tables(result: DemoResult, console: Console) -> None:
    """Print promised and delivered shares."""
    projects = Table(title=f"Projects, {result.algorithm}, seed {result.seed}")
    for column in ("project", "promised", "delivered", "servers run", "wait median", "wait p95"):
        projects.add_column(column, justify="left" if column == "project" else "right")
    for project in result.projects:
        projects.add_row(
            project.name,
            percent(project.promised_share),
            percent(project.delivered_share),
            f"{project.servers_run:,}",
            duration(project.waits.median),
            duration(project.waits.p95),
        )
    users = Table(title="Users")
    for column in ("project", "user", "promised", "delivered"):
        users.add_column(column, justify="right" if column[-1] == "d" else "left")
    for user in result.users:
        users.add_row(
            user.project, user.name, percent(user.promised_share), percent(user.delivered_share)
        )
    cloud = Table(title="Utilisation of the shared quota")
    cloud.add_column("with Synergy", justify="right")
    cloud.add_column("with fixed quotas alone", justify="right")
    cloud.add_row(percent(result.utilisation_synergy), percent(result.utilisation_fixed_quota))
    for table in (projects, users, cloud):
        console.print(table)
    console.print(
        f"{result.servers_run:,} servers in {duration(result.virtual_s)} of virtual time, "
        f"simulated in {result.wall_s:.0f} s."
    )


def check(folder: Path) -> None:
    """Create the folder before a long run, and check that it is writable. Raises InvalidInput."""
    with page.naming("--output", folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def write(result: DemoResult, second: Comparison, folder: Path) -> Path:
    """Write the report into `folder`, and return its path. Raises InvalidInput."""
    path = folder / f"report-{result.algorithm}-{result.user_shares}-{result.seed}.html"
    with page.naming("--output", folder):
        path.write_text(_page(result, second), encoding="utf-8")
    return path


def _page(result: DemoResult, second: Comparison) -> str:
    console = Console(record=True, width=100, file=io.StringIO())
    print_tables(result, console)
    tables = html.escape(console.export_text())
    told = page.paragraph(
        "The Padova experiment of 2017 under a virtual clock: two projects with shares 70/30 "
        "compete for the shared quota."
    )
    plots = "".join(page.shown(one) for one in _plots(result))
    return page.page("Promised and delivered", f"{told}<pre>{tables}</pre>{plots}{_second(second)}")


def _second(found: Comparison) -> str:
    """Return what became of demand that alternates and comes in bursts, as HTML."""
    drawn = [bursts_plot(found), comparison_page.use_plot(found), comparison_page.share_plot(found)]
    return "".join(
        [
            "<h1>Where fixed quotas fail</h1>",
            page.paragraph(bursts.headline(found)),
            *(page.table(*rows) for _, rows in comparison.tables(found)),
            *(page.shown(one) for one in drawn),
        ]
    )


def bursts_plot(found: Comparison) -> page.Plot:
    """Draw what is rejected, what is used, and how long requests wait."""
    every = [found.fixed, *reversed(found.policies)]
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
    bars: list[tuple[str, list[float], str]] = [
        ("requests rejected", [one.measured.whole.refused for one in every], "{:,.0f}"),
        ("used, % of the cloud", [100 * one.measured.utilisation for one in every], "{:.0f} %"),
        ("mean wait, min", [one.measured.whole.waits.mean / 60 for one in every], "{:.0f} min"),
    ]
    for one, (label, values, form) in zip(axes, bars, strict=True):
        drawn = one.barh(range(len(every)), values, color=["gray", "tab:orange", "tab:blue"])
        one.bar_label(drawn, [form.format(value) for value in values], padding=3)
        one.set(xlabel=label, xlim=(0, 1.35 * max([*values, 1.0])))
    axes[0].set_yticks(range(len(every)), [one.name for one in every])
    return page.plot("Rejected, used and waited for: what is rejected does not wait", figure)


def _plots(result: DemoResult) -> list[page.Plot]:
    series = result.series
    drawn = []
    figure, axes = plt.subplots(figsize=(9, 4))
    for project in result.projects:
        key = f"project-{project.name}"
        parts = [d.get(key, 0.0) / (sum(d.values()) or 1.0) for d in series.delivered]
        axes.plot(series.hours[1:], parts[1:], label=f"{project.name} delivered")
        axes.axhline(project.promised_share, linestyle=":", color="gray")
    axes.set(xlabel="virtual hours", ylabel="part of all VCPU time since the start", ylim=(0, 1))
    axes.legend()
    drawn.append(page.plot("Share over time; dotted: promised", figure, form="png"))
    figure, axes = plt.subplots(figsize=(9, 4))
    axes.step(series.hours, series.in_use, where="post")
    axes.set(xlabel="virtual hours", ylabel="VCPU", ylim=(0, None))
    drawn.append(page.plot("Shared quota in use", figure, form="png"))
    figure, axes = plt.subplots(figsize=(9, 4))
    axes.plot(series.hours, series.queued)
    axes.set(xlabel="virtual hours", ylabel="requests", ylim=(0, None))
    drawn.append(page.plot("Queue length", figure, form="png"))
    return drawn
