"""Says when a request that still waits gets another forecast.

Why: what was forecast when it came is about a queue that has changed since; but each forecast is a
row, and is scored. So the next one follows the sooner, the nearer the start is, and a wait of weeks
has some dozens of them and not thousands. Must not know how a forecast is made or stored.
"""

from datetime import datetime
from typing import Final

from synergy.core.forecasts.record import Recorded

PART: Final = 1 / 8  # of the wait forecast last, after which it is forecast again
LONGEST_S: Final = 86_400.0  # between two, however long the wait


def is_due(last: Recorded, at: datetime, min_s: float, changed_at: datetime | None) -> bool:
    """Return whether a request whose forecast is `last` gets another one at an instant.

    min_s       shortest time between two of one request
    changed_at  when the cloud or its quotas changed last: what was forecast before that is due as
                soon
    """
    age_s = (at - last.made_at).total_seconds()
    part_s = min(last.published.p50_s * PART, LONGEST_S)
    if changed_at is not None and last.made_at < changed_at:
        part_s = 0.0
    return age_s >= max(min_s, part_s)
