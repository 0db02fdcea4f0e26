"""When servers of a project would start that nobody asked for yet, flavor by flavor.

Why: anyone who chooses a flavor wants to see what each of them costs in time. What is looked at is
bounded, and what was not looked at is named. Must not know the store or who asks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import inf

from synergy.core.accounts import user_node
from synergy.core.declared.answers import forecasts as answers
from synergy.core.forecasts.correction import NEEDED, Correction, Interval
from synergy.core.forecasts.drawing import size_in
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.outlook import COUNTS, Foreseen, foresee
from synergy.core.forecasts.starts import Now
from synergy.core.model import Association, Project, RequestClass
from synergy.core.never import Ceilings
from synergy.managers.scheduler.what_if import class_asked
from synergy.managers.support.render import instant_json
from synergy.ports import Flavor

_NEVER: Interval = Interval(p50_s=inf, p90_s=inf, bound_s=inf)
_NOTHING = Foreseen(starts_now=0, starts=(_NEVER,) * len(COUNTS))


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """What an outlook is made from.

    now        what waits and holds quota; its policy leaves room for more
    owner      whose servers they would be
    elapsed_s  a monotonic clock
    """

    now: Now
    project: Project
    owner: Association
    lifetimes: Lifetimes
    correction: Correction
    samples: int
    elapsed_s: Callable[[], float]


def outlook(
    view: View, flavors: Sequence[Flavor], maximum: int, budget_s: float
) -> answers.Outlook:
    """Return the outlook of at most `maximum` flavors, and of those that the budget suffices for;
    the first is looked at in any case, with a sample at least."""
    until_s = view.elapsed_s() + budget_s
    found: list[answers.OutlookFlavor] = []
    for place, flavor in enumerate(flavors[:maximum]):
        began_s = view.elapsed_s()
        if place and began_s >= until_s:
            break
        part_s = (until_s - began_s) / (min(maximum, len(flavors)) - place)
        found.append(_of_flavor(view, flavor, began_s + part_s))
    left_out = [one.name for one in flavors[len(found) :]]
    return {
        "project_id": view.project.project_id,
        "at": _at(view, 0.0) or "",
        "flavors": found,
        "left_out": left_out,
        "text": _words(left_out),
    }


def _of_flavor(view: View, flavor: Flavor, until_s: float) -> answers.OutlookFlavor:
    kind = class_asked(view.project, view.owner, flavor, {})
    text, foreseen = _closed(view, kind), _NOTHING
    known = view.correction.resolved
    if not text:
        foreseen = foresee(
            view.now, kind, view.project.project_id, view.lifetimes, view.correction,
            size=size_in(flavor.demand, view.now.tree), samples=view.samples,
            go_on=lambda: view.elapsed_s() < until_s,
        )  # fmt: skip
        text = f"no forecast yet: {known} of {NEEDED} needed" if known < NEEDED else ""
    return {
        "flavor": flavor.name,
        "demand": dict(flavor.demand),
        "quota": kind.quota.value,
        "starts_now": foreseen.starts_now,
        "starts": [
            {
                "servers": servers,
                "p50_at": _at(view, one.p50_s) if known >= NEEDED else None,
                "p90_at": _at(view, one.p90_s) if known >= NEEDED else None,
                "latest_at": _at(view, one.bound_s),
            }
            for servers, one in zip(COUNTS, foreseen.starts, strict=True)
        ],
        "text": text,
    }


def _closed(view: View, kind: RequestClass) -> str:
    """Return why nothing of a class would ever start as things are, "" if something could."""
    if kind.association_id in view.now.state.suspended:
        return "The project is suspended: it takes no new servers."
    why = Ceilings(view.now.tree).why(user_node(kind.association_id), kind)
    return f"It would be refused: it {why}." if why else ""


def _at(view: View, wait_s: float) -> str | None:
    """Return the instant after a wait, None for never."""
    if wait_s == inf:
        return None
    at = datetime.fromtimestamp(view.now.state.at_s, UTC) + timedelta(seconds=wait_s)
    return instant_json(at.replace(microsecond=0))


def _words(left_out: Sequence[str]) -> str:
    if not left_out:
        return ""
    return (
        f"{len(left_out)} flavors were not looked at, since time and number are bounded: ask for "
        "one of them by name."
    )
