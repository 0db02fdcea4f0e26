"""Says what policies delivered on the same arrivals: a sentence, and tables as text.

Why: the terminal and the page show the same numbers. Must not know either of them.
"""

from collections.abc import Sequence
from typing import Final

from synergy.sim.compare import Comparison
from synergy.sim.measures import Group
from synergy.sim.text import duration, percent

Rows = tuple[Sequence[str], Sequence[Sequence[str]]]  # the head, and the rows
_MAX_PROJECTS: Final = 5


def tables(found: Comparison) -> list[tuple[str, Rows]]:
    """Return the tables for a terminal, each with its title."""
    count = len(found.policies[0].measured.projects)
    title = "Projects" if count <= _MAX_PROJECTS else (
        f"The {_MAX_PROJECTS} projects of {count:,} with the most requests"
    )  # fmt: skip
    return [
        (f"Policies, order {found.order}", policy_table(found)),
        (title, project_table(found, _MAX_PROJECTS)),
    ]


def headline(found: Comparison) -> str:
    """Say in one sentence which policy lets wait least, and what fixed quotas would do."""
    best = min(found.policies, key=lambda one: one.measured.whole.waits.mean)
    fixed = found.fixed.measured
    told = (
        f"Fixed quotas reject {fixed.whole.refused:,} of {fixed.whole.requests:,} requests and "
        f"use {percent(fixed.utilisation)} of the capacity; {best.name} starts "
        f"{best.measured.whole.started:,} of them, after "
        f"{duration(best.measured.whole.waits.mean)} on average, and uses "
        f"{percent(best.measured.utilisation)}"
    )
    others = [one for one in found.policies if one is not best]
    if others:
        worst = max(others, key=lambda one: one.measured.whole.waits.mean)
        told += f"; with {worst.name} they wait {duration(worst.measured.whole.waits.mean)}"
    return f"{told}."


def policy_table(found: Comparison) -> Rows:
    """Return the head and the rows: a policy in each, fixed quotas in the last."""
    head = ["policy", "wait", "p95", "longest", "slowdown", "used", "share error", "rejected"]
    rows = []
    for one in (*found.policies, found.fixed):
        measured, whole = one.measured, one.measured.whole
        row = [one.name, *_waits(whole), percent(measured.utilisation)]
        rows.append([*row, percent(measured.share_error), f"{whole.refused:,}"])
    return head, rows


def project_table(found: Comparison, maximum: int | None = None) -> Rows:
    """Return the head and the rows: a project and a policy in each, the projects with the most
    requests first."""
    head = ["project", "policy", "wait", "p95", "longest", "slowdown", "share", "promised",
            "rejected"]  # fmt: skip
    every = (*found.policies, found.fixed)
    by_name = [{group.name: group for group in one.measured.projects} for one in every]
    order = sorted(by_name[0].values(), key=lambda group: (-group.requests, group.name))
    rows = []
    for name in (group.name for group in order[:maximum]):
        for one, groups in zip(every, by_name, strict=True):
            group, first = groups[name], one is every[0]
            shares = [percent(group.delivered), percent(group.promised)]
            row = [name if first else "", one.name, *_waits(group), *shares, f"{group.refused:,}"]
            rows.append(row)
    return head, rows


def _waits(group: Group) -> list[str]:
    waits = (group.waits.mean, group.waits.p95, group.starvation_s)
    return [*map(duration, waits), f"{group.slowdown:,.2f}"]
