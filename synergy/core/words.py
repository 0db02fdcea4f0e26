"""Explanations as sentences: why a row of the share tree has its rank, why a request waits.

Why: "level_fs 0.32" tells an operator little, and a user nothing. Must not know where names or
numbers come from.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from synergy.core.explain import SERVERS, Bound, Scope
from synergy.core.fairshare import FairShare
from synergy.core.reasons import Reason
from synergy.core.shares import ShareTree
from synergy.core.usage import Decay, HalfLife

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def duration(seconds: float) -> str:
    """Return a duration in its largest whole unit, such as "7 days" or "90 minutes"."""
    whole = round(seconds)
    size, unit = next((u for u in _UNITS if whole >= u[0] and whole % u[0] == 0), _UNITS[-1])
    count = whole // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def window(decay: Decay) -> str:
    """Return how long usage counts, as a phrase: one half-life, or all periods."""
    if isinstance(decay, HalfLife):
        if decay.half_life_s <= 0:
            return "so far"
        return f"in the last {duration(decay.half_life_s)}"
    return f"in the last {duration(decay.length_s * decay.count)}"


def standing(
    tree: ShareTree,
    computed: FairShare,
    row: int,
    names: Sequence[str],
    window: str,
    *,
    own_only: bool = False,
) -> str:
    """Return why a row has its rank.

    names   n names, by row
    window  how long usage counts, as a phrase
    own_only  leave out accounts above the user's own project, and the number of users

    For a user it begins with its own usage, then names the accounts above that used more than their
    share: in Fair Tree these matter more than anything the user does.
    """
    if row == 0:
        return "the whole cloud: every share and all usage"
    if not tree.is_user[row]:
        return f"{names[row]} {_usage_clause(tree, computed, row, 'its', window)}"
    parts = [f"you {_usage_clause(tree, computed, row, 'your', window)}"]
    above = int(tree.parent[row])
    while above > 0:
        ratio = _ratio(computed, above)
        if not tree.inherits[above] and (ratio > 1 or computed.norm_shares[above] <= 0):
            parts.append(f"{names[above]} {_usage_clause(tree, computed, above, 'its', window)}")
        above = 0 if own_only else int(tree.parent[above])
    if computed.rank[row] and not own_only:
        parts.append(_place(tree, computed, row))
    return "; ".join(parts)


def _ratio(computed: FairShare, row: int) -> float:
    shares = float(computed.norm_shares[row])
    return float(computed.effective_usage[row]) / shares if shares > 0 else np.inf


def _usage_clause(tree: ShareTree, computed: FairShare, row: int, whose: str, window: str) -> str:
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
    """Return a notice that no request starts at all, "" unless scheduling is stopped."""
    return "Scheduling is stopped: no waiting request starts until it goes on." if stopped else ""


def why_waiting(
    reason: Reason | None, bounds: Sequence[Bound], names: Mapping[str, str], *, ahead: int | None
) -> str:
    """Return why a request waits, in a sentence or two: the meaning first, then numbers.

    names  names of those nodes of the account tree that may be shown
    ahead  how many requests are ahead of it
    """
    parts = [reason.meaning if reason else "It does not wait."]
    parts += [_bound(bound, names) for bound in bounds]
    if ahead is not None and reason in (Reason.NO_FREE_QUOTA, Reason.PRIORITY):
        parts.append("It is the first in line." if ahead == 0 else _ahead_clause(ahead))
    return " ".join(parts)


def _ahead_clause(ahead: int) -> str:
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
