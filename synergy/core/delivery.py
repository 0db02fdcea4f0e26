"""Compares what each had of a shared quota with what was promised, over windows of time.

Why: over a long time everybody gets what was asked for, so that only windows show who had to wait
for whom; the simulator and "what if" measure alike. Must not know requests or policies.
"""

import numpy as np

from synergy.core.shares import Floats


def error_of(had: Floats, asked: Floats, promised: Floats) -> float:
    """Return which part of what was used others had than those to whom it was promised, in [0, 1].

    In each window everybody is owed a part of what was used, in proportion to the shares, but no
    more than was asked for; what one does not ask for is owed to the others by their shares. The
    error of a window is what some had beyond what they were owed. The mean counts each window by
    what was used in it.

    had, asked  shape (w, p), amounts in each of w windows of p projects
    promised    shape (p,), fractions of the whole
    """
    owed = entitled(had.sum(axis=1), np.maximum(asked, had), promised)
    whole = float(had.sum())
    return float(np.maximum(had - owed, 0.0).sum()) / whole if whole else 0.0


def entitled(used: Floats, asked: Floats, promised: Floats) -> Floats:
    """Split what was used in each of w windows among p projects, shape (w, p).

    Nobody is owed more than was asked for; below that it is in proportion to what was promised, and
    anyone who was promised nothing is owed what the others leave.

    used      shape (w,), at most the sum of what is asked for, >= 0
    asked     shape (w, p), >= 0
    promised  shape (p,), fractions of the whole
    """
    owed = _filled(used, asked, promised)
    unpromised = np.where(promised > 0, 0.0, 1.0)
    return owed + _filled(used - owed.sum(axis=1), asked, unpromised)


def _filled(used: Floats, asked: Floats, weights: Floats) -> Floats:
    """Fill up to what is asked for by weights; what has no weight is left out."""
    asked = np.where(weights > 0, asked, 0.0)
    owed, left, open_ = np.zeros_like(asked), used.astype(np.float64), asked > 0
    while True:
        weight = np.where(open_, weights, 0.0)
        sums = weight.sum(axis=1, keepdims=True)
        part = np.divide(weight, sums, out=np.zeros_like(weight), where=sums > 0)
        offer = part * np.maximum(left, 0.0)[:, None]
        content = open_ & (asked <= offer)
        if not content.any():
            owed += offer
            return owed
        owed[content] = asked[content]
        left = left - np.where(content, asked, 0.0).sum(axis=1)
        open_ &= ~content


def amounts_in(begin_s: Floats, end_s: Floats, rates: Floats, edges_s: Floats) -> Floats:
    """Return the rate-seconds of h spans in each of w windows, shape (w,).

    begin_s, end_s, rates  shape (h,); no span ends before it begins
    edges_s                shape (w + 1,), in order
    """
    amounts: Floats = np.diff(_until(begin_s, rates, edges_s) - _until(end_s, rates, edges_s))
    return amounts


def _until(since_s: Floats, vcpus: Floats, at_s: Floats) -> Floats:
    """Return the VCPU seconds up to instants of what began then and never ended."""
    order = np.argsort(since_s, kind="stable")
    since_s, vcpus = since_s[order], vcpus[order]
    count = np.searchsorted(since_s, at_s, side="right")
    sums = np.concatenate([[0.0], np.cumsum(vcpus)])[count]
    moments = np.concatenate([[0.0], np.cumsum(vcpus * since_s)])[count]
    grown: Floats = at_s * sums - moments
    return grown
