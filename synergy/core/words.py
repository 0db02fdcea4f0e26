"""Answers in plain words: why a row of the share tree stands where it does, why a request waits.

Why: "level_fs 0.32" tells an operator nothing, and a user less. Must not know where names or
numbers come from.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synergy.core.explain import SERVERS, Bound, Scope
from synergy.core.fairshare import FairShare
from synergy.core.reasons import Reason
from synergy.core.shares import ShareTree
from synergy.core.usage import Fading, HalfLife

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def duration(seconds: float) -> str:
    """Return a duration in its largest whole unit, such as "7 days" or "90 minutes"."""
    whole = round(seconds)
    size, unit = next((u for u in _UNITS if whole >= u[0] and whole % u[0] == 0), _UNITS[-1])
    count = whole // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def window(fading: Fading) -> str:
    """Return the time that usage counts for, in words: one half-life, or all periods."""
    if isinstance(fading, HalfLife):
        if fading.half_life_s <= 0:
            return "so far"
        return f"in the last {duration(fading.half_life_s)}"
    return f"in the last {duration(fading.length_s * fading.count)}"


def standing(
    tree: ShareTree,
    computed: FairShare,
    row: int,
    names: Sequence[str],
    window: str,
    *,
    apart: bool = False,
) -> str:
    """Return why a row stands where it stands.

    names   n names, by row
    window  the time that usage counts for, in words
    apart   tell nothing of accounts above the user's own project, nor of how many users there are

    A user is told of its own usage first, then of accounts above that used more than their share:
    in Fair Tree these weigh more than anything the user does.
    """
    if row == 0:
        return "the whole cloud: every share and all usage"
    if not tree.is_user[row]:
        return f"{names[row]} {_clause(tree, computed, row, 'its', window)}"
    said = [f"you {_clause(tree, computed, row, 'your', window)}"]
    above = int(tree.parent[row])
    while above > 0:
        ratio = _ratio(computed, above)
        if not tree.inherits[above] and (ratio > 1 or computed.norm_shares[above] <= 0):
            said.append(f"{names[above]} {_clause(tree, computed, above, 'its', window)}")
        above = 0 if apart else int(tree.parent[above])
    if computed.rank[row] and not apart:
        said.append(_place(tree, computed, row))
    return "; ".join(said)


def _ratio(computed: FairShare, row: int) -> float:
    shares = float(computed.norm_shares[row])
    return float(computed.effective_usage[row]) / shares if shares > 0 else np.inf


def _clause(tree: ShareTree, computed: FairShare, row: int, whose: str, window: str) -> str:
    have = "have" if whose == "your" else "has"
    if tree.inherits[row]:
        return f"{have} no shares of {whose} own, and {_instead(bool(tree.is_user[row]))}"
    if computed.norm_shares[row] <= 0:
        come = "come" if whose == "your" else "comes"
        return f"{have} no shares, and {come} last among {whose} siblings"
    if computed.effective_usage[row] <= 0:
        return f"used nothing of {whose} share {window}"
    return f"used {_times(_ratio(computed, row))} {whose} share {window}"


def _instead(is_user: bool) -> str:
    if is_user:
        return "share those of the account"
    return "everyone in it competes one level up"


def _times(ratio: float) -> str:
    if ratio < 0.005:
        return "next to nothing of"
    if 0.95 <= ratio <= 1.05:
        return "just about"
    return f"{ratio:.2g} times" if ratio < 100 else f"{ratio:,.0f} times"


def _place(tree: ShareTree, computed: FairShare, row: int) -> str:
    users = int(np.count_nonzero(tree.is_user))
    ahead = users - int(computed.rank[row])
    if ahead == 0:
        return f"nobody of {users} users goes before you"
    return f"{ahead} of {users} users {'goes' if ahead == 1 else 'go'} before you"


def scheduling_stopped(*, stopped: bool) -> str:
    """Say to whoever waits that no request starts at all, "" when that is not so."""
    return "Scheduling is stopped: no waiting request starts until it goes on." if stopped else ""


def why_waiting(
    reason: Reason | None, bounds: Sequence[Bound], names: Mapping[str, str], *, ahead: int | None
) -> str:
    """Return why a request waits, in a sentence or two: words first, numbers after.

    names  of nodes of the account tree, for those that may be named
    ahead  how many requests go before it
    """
    said = [reason.meaning if reason else "It does not wait."]
    said += [_bound(bound, names) for bound in bounds]
    if ahead is not None and reason in (Reason.NO_FREE_QUOTA, Reason.PRIORITY):
        said.append("It is the first in line." if ahead == 0 else _behind(ahead))
    return " ".join(said)


def _behind(ahead: int) -> str:
    return f"{ahead:,} request{'s go' if ahead > 1 else ' goes'} before it."


def _bound(bound: Bound, names: Mapping[str, str]) -> str:
    what = {
        Scope.POOL: "the shared quota",
        Scope.PRIVATE: f"the private quota of {names.get(bound.node_id, 'its project')}",
        Scope.BORROW_LIMIT: f"what {names.get(bound.node_id, 'its account')} may borrow",
    }[bound.scope]
    one_server = bound.resource_class == SERVERS and bound.needed == 1
    needed = "a server" if one_server else f"{bound.needed:,} {bound.resource_class}"
    return (
        f"It needs {needed}, and of {what} {max(0, bound.free):,} "
        f"of {bound.limit:,} {'is' if bound.free == 1 else 'are'} free."
    )
