"""Keeps requests from being built outside the availability zone that they ask for.

Why: Nova checks a zone when a server is asked for, and not again when it is scheduled: of a zone
that is gone by then it builds the server anywhere. Must not know what becomes of such requests.
"""

from typing import Final

import numpy as np

from synergy.core.events import ZonesGone
from synergy.core.model import zone_in
from synergy.core.queue import Waiting
from synergy.core.reasons import Reason
from synergy.managers.base import Publish
from synergy.ports import Clock, Compute

KEPT_S: Final = 60.0  # how long a list of zones is good enough


class Zones:
    """The zones of the cloud, as a round needs them."""

    def __init__(self, compute: Compute, clock: Clock, publish: Publish) -> None:
        self._compute, self._clock, self._publish = compute, clock, publish
        self._listed: tuple[float, frozenset[str]] = (float("-inf"), frozenset())

    def resting(self, waiting: Waiting) -> dict[int, Reason]:
        """Return the class_ids of the queue whose zone is gone, and tell everyone of these."""
        present = {int(shape) for shape in np.unique(waiting.shape)}
        zone_of = {shape: zone_in(waiting.placement[shape]) for shape in present}
        asked = frozenset(zone for zone in zone_of.values() if zone is not None)
        if not asked:
            return {}
        gone = self._gone(asked)
        if not gone:
            return {}
        self._publish(ZonesGone(gone))
        return {
            int(key): Reason.FRAGMENTED
            for key, shape in zip(waiting.class_id, waiting.shape, strict=True)
            if zone_of[int(shape)] in gone
        }

    def _gone(self, asked: frozenset[str]) -> frozenset[str]:
        listed_s, zones = self._listed
        now_s = self._clock.monotonic_s()
        if now_s >= listed_s + KEPT_S:
            zones = self._compute.zones()
            self._listed = now_s, zones
        return asked - zones
