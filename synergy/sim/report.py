"""Shows the result of a demo: tables for the terminal, and an HTML report with plots."""

import base64
import html
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from rich.console import Console
from rich.table import Table

from synergy.core.errors import InvalidInput
from synergy.sim.demo import DemoResult

matplotlib.use("Agg")  # before pyplot is imported: there may be no display
from matplotlib import pyplot as plt


def percent(part: float) -> str:
    """Return a fraction as a percentage."""
    return f"{100 * part:.2f} %"


def duration(seconds: float) -> str:
    """Return seconds in a readable unit."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


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
    with _named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


def write(result: DemoResult, folder: Path) -> Path:
    """Write the report into `folder`, and return its path. Raises InvalidInput."""
    path = folder / f"report-{result.algorithm}-{result.user_shares}-{result.seed}.html"
    with _named(folder):
        path.write_text(_page(result), encoding="utf-8")
    return path


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"--output {folder}: {reason}") from error


def _page(result: DemoResult) -> str:
    console = Console(record=True, width=100, file=io.StringIO())
    print_tables(result, console)
    tables = html.escape(console.export_text())
    plots = "\n".join(
        f'<figure><img alt="{html.escape(title)}" src="data:image/png;base64,{image}">'
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
        for title, image in _plots(result)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<title>Synergy: promised and delivered</title>"
        "<style>body{font:16px sans-serif;max-width:60rem;margin:auto;padding:1rem}"
        "img{width:100%}pre{overflow-x:auto}figure{margin:1rem 0}</style>"
        "<h1>Promised and delivered</h1>"
        "<p>The Padova experiment of 2017 under a virtual clock: two projects with shares 70/30 "
        f"compete for the shared quota.</p><pre>{tables}</pre>{plots}</html>\n"
    )


def _plots(result: DemoResult) -> list[tuple[str, str]]:
    series = result.series
    figures: list[tuple[str, object]] = []
    figure, axes = plt.subplots(figsize=(9, 4))
    for project in result.projects:
        key = f"project-{project.name}"
        parts = [d.get(key, 0.0) / (sum(d.values()) or 1.0) for d in series.delivered]
        axes.plot(series.hours[1:], parts[1:], label=f"{project.name} delivered")
        axes.axhline(project.promised_share, linestyle=":", color="gray")
    axes.set(xlabel="virtual hours", ylabel="part of all VCPU time since the start", ylim=(0, 1))
    axes.legend()
    figures.append(("Share over time; dotted: promised", figure))
    figure, axes = plt.subplots(figsize=(9, 4))
    axes.step(series.hours, series.in_use, where="post")
    axes.set(xlabel="virtual hours", ylabel="VCPU", ylim=(0, None))
    figures.append(("Shared quota in use", figure))
    figure, axes = plt.subplots(figsize=(9, 4))
    axes.plot(series.hours, series.queued)
    axes.set(xlabel="virtual hours", ylabel="requests", ylim=(0, None))
    figures.append(("Queue length", figure))
    return [(title, _png(figure)) for title, figure in figures]


def _png(figure: Any) -> str:
    image = io.BytesIO()
    figure.tight_layout()
    figure.savefig(image, format="png", dpi=100, metadata={"Software": None})
    plt.close(figure)
    return base64.b64encode(image.getvalue()).decode()
