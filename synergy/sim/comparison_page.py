"""Shows what policies delivered on the same arrivals on a page with plots.

Must not measure anything.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from synergy.core.shares import Floats
from synergy.sim import page
from synergy.sim.compare import Comparison, Policy
from synergy.sim.comparison import headline, policy_table, project_table
from synergy.sim.measures import Outcomes, held_by_project, waiting_at
from synergy.sim.page import Plot, plt

_MAX_PROJECTS: Final = 8  # that have a colour of their own
_MAX_BARS: Final = 10  # of those who gain, and of those who lose
_POINTS: Final = 400
_SMOOTHED: Final = 5  # windows
_HOUR_S: Final = 3600.0


def write(found: Comparison, path: Path) -> None:
    """Write the page. Raises InvalidInput."""
    with page.naming("--report", path):
        path.write_text(html_of(found), encoding="utf-8")


def html_of(found: Comparison) -> str:
    """Return the page."""
    first = found.policies[0]
    body = [
        page.paragraph(headline(found)),
        page.paragraph(
            f"{found.of}: {first.measured.whole.requests:,} requests of "
            f"{len(first.measured.projects):,} projects on {found.vcpus:,} VCPUs, order "
            f"{found.order}. Fixed quotas have the same arrivals, and reject what does not fit."
        ),
        page.table(*policy_table(found)),
        *(page.shown(one) for one in plots(found)),
        "<h2>Projects</h2>",
        page.table(*project_table(found)),
    ]
    return page.page("policies compared", "".join(body))


# --- plots ----------------------------------------------------------------------------------------


def plots(found: Comparison) -> list[Plot]:
    """Return the plots of a comparison."""
    drawn = [waits_plot(found.policies), use_plot(found), queue_plot(found.policies)]
    drawn.append(share_plot(found))
    if len(found.policies) > 1:
        drawn.append(gains_plot(found.policies[0], found.policies[1:]))
    return drawn


def waits_plot(policies: Sequence[Policy]) -> Plot:
    """Draw how many requests waited no longer than a time."""
    figure, axes = plt.subplots(figsize=(9, 4))
    labels, lines = [], []
    parts = np.linspace(0, 1, _POINTS)
    for one in policies:
        outcomes = one.outcomes
        waits_s = outcomes.waited_s[outcomes.started]
        if not len(waits_s):
            continue
        ordered = np.quantile(waits_s, parts)
        lines += axes.step(np.maximum(ordered, 1.0), parts * len(waits_s) / _asked(outcomes),
                           where="post")  # fmt: skip
        labels.append(one.name)
    axes.set(xscale="log", xlabel="wait", ylabel="part of the requests", ylim=(0, 1.02))
    _durations(axes.xaxis, axes.get_xlim())
    axes.grid(alpha=0.3)
    axes.legend(lines, labels, loc="lower right")
    return page.plot("How many requests started within a time; a line further up is better", figure)


def _asked(outcomes: Outcomes) -> int:
    return max(1, len(outcomes.submit_s))


def use_plot(found: Comparison) -> Plot:
    """Draw the use of the capacity over time."""
    figure, axes = plt.subplots(figsize=(9, 4))
    lines, labels = [], []
    for one in (*found.policies, found.fixed):
        edges_s = one.outcomes.edges_s()
        widths_s = np.diff(edges_s)
        used = held_by_project(one.outcomes, edges_s).sum(axis=1) / (widths_s * found.vcpus)
        dashed = one is found.fixed
        lines += axes.plot(
            _days(edges_s), _smoothed(used), linestyle="--" if dashed else "-",
            color="black" if dashed else None,
        )  # fmt: skip
        labels.append(one.name)
    axes.set(xlabel=_unit(edges_s), ylabel="part of the capacity in use", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(lines, labels, loc="lower right")
    return page.plot("Use of the capacity over time; dashed: fixed quotas, same arrivals", figure)


def queue_plot(policies: Sequence[Policy]) -> Plot:
    """Draw how many requests wait over time."""
    figure, axes = plt.subplots(figsize=(9, 3))
    lines, labels = [], []
    for one in policies:
        edges_s = one.outcomes.edges_s()
        middle_s = (edges_s[1:] + edges_s[:-1]) / 2
        lines += axes.plot(_days(edges_s), waiting_at(one.outcomes, middle_s))
        labels.append(one.name)
    axes.set(xlabel=_unit(edges_s), ylabel="requests that wait", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(lines, labels)
    return page.plot("Length of the queue over time", figure)


def share_plot(found: Comparison) -> Plot:
    """Draw what each project had of what was used, over time, for each policy."""
    shown = found.policies
    figure, rows = plt.subplots(
        len(shown), 1, figsize=(9, 1 + 2.4 * len(shown)), sharex=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    largest = _largest(shown[0].outcomes)
    names = [shown[0].outcomes.projects[place] for place in largest]
    more = len(shown[0].outcomes.projects) - len(largest)
    for one, axes in zip(shown, rows[:, 0], strict=True):
        edges_s = one.outcomes.edges_s()
        had = held_by_project(one.outcomes, edges_s)
        columns = [had[:, place] for place in largest]
        if more:
            columns.append(had.sum(axis=1) - np.sum(columns, axis=0))
        smooth = [_smoothed(column) for column in columns]
        whole = np.maximum(np.sum(smooth, axis=0), 1e-9)
        areas = axes.stackplot(_days(edges_s), [column / whole for column in smooth])
        axes.set(ylim=(0, 1), ylabel=one.name)
    rows[-1, 0].set(xlabel=_unit(edges_s))
    labels = [*names, *([f"{more:,} others"] if more else [])]
    figure.legend(areas, labels, loc="outside right upper", fontsize="small")
    return page.plot("Share of each project in what was used, over time", figure)


def gains_plot(base: Policy, others: Sequence[Policy]) -> Plot:
    """Draw by how much the projects wait less or longer than under the first policy."""
    figure, row = plt.subplots(1, len(others), figsize=(9, 5), squeeze=False)
    for one, axes in zip(others, row[0], strict=True):
        changes = changes_s(base, one)
        names, values_s = [name for name, _ in changes], [change for _, change in changes]
        colours = ["tab:green" if value < 0 else "tab:red" for value in values_s]
        unit_s, unit = _unit_of(max((abs(value) for value in values_s), default=0.0))
        axes.barh(range(len(names)), [value / unit_s for value in values_s], color=colours)
        axes.set_yticks(range(len(names)), [_short(name) for name in names], fontsize="small")
        axes.axvline(0, color="gray", linewidth=0.8)
        axes.set(xlabel=f"change of the mean wait, {unit}", title=one.name)
    return page.plot(
        f"Who gains and who loses against {base.name}: green waits less, red longer", figure
    )


def changes_s(base: Policy, other: Policy) -> list[tuple[str, float]]:
    """Return by how many seconds the mean wait of projects differs: those who gain most and those
    who lose most, in order."""
    before = {group.name: group.waits.mean for group in base.measured.projects if group.started}
    found = sorted(
        (
            (group.name, group.waits.mean - before[group.name])
            for group in other.measured.projects
            if group.started and group.name in before
        ),
        key=lambda change: (-change[1], change[0]),
    )
    lose = [one for one in found if one[1] > 0][:_MAX_BARS]
    gain = [one for one in found if one[1] < 0][-_MAX_BARS:]
    return lose + gain


def _largest(outcomes: Outcomes) -> list[int]:
    amounts = np.bincount(
        outcomes.project,
        weights=np.nan_to_num(outcomes.end_s - outcomes.start_s) * outcomes.vcpus,
        minlength=len(outcomes.projects),
    )
    order = np.argsort(-amounts, kind="stable")
    count = _MAX_PROJECTS if len(order) > _MAX_PROJECTS + 1 else len(order)
    return [int(place) for place in order[:count]]


def _smoothed(column: Floats) -> Floats:
    """Return the mean with the windows before and after, and less of them at both ends."""
    kernel = np.ones(min(_SMOOTHED, len(column)))
    sums = np.convolve(column, kernel, mode="same")
    counts = np.convolve(np.ones(len(column)), kernel, mode="same")
    smooth: Floats = sums / counts
    return smooth


def _days(edges_s: Floats) -> Floats:
    middle_s: Floats = (edges_s[1:] + edges_s[:-1]) / 2 - edges_s[0]
    return middle_s / _unit_of(float(edges_s[-1] - edges_s[0]))[0]


def _unit(edges_s: Floats) -> str:
    return _unit_of(float(edges_s[-1] - edges_s[0]))[1]


def _unit_of(span_s: float) -> tuple[float, str]:
    """Return a unit in which a span has a readable number, in seconds and in words."""
    if span_s >= 4 * 24 * _HOUR_S:
        return 24 * _HOUR_S, "days"
    return (_HOUR_S, "hours") if span_s >= 4 * _HOUR_S else (60.0, "minutes")


def _durations(axis: Any, bounds_s: tuple[float, float]) -> None:
    """Label an axis of seconds by durations that people say."""
    said = {1: "at once", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 6 * 3600: "6 h",
            86_400: "1 day", 7 * 86_400: "1 week", 30 * 86_400: "1 month",
            365 * 86_400: "1 year"}  # fmt: skip
    axis.set_ticks([at_s for at_s in said if at_s <= max(10.0, bounds_s[1])])
    axis.set_major_formatter(_said(said))
    axis.set_minor_formatter(_said({}))


def _said(words: dict[int, str]) -> Callable[[float, int], str]:
    return lambda value, _place: words.get(round(value), "")


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"
