"""A site factor: who asks for an hour or less gets 50 points."""

from collections.abc import Mapping

import numpy as np

from synergy.core.model import Association
from synergy.core.queue import Waiting
from synergy.core.shares import Floats


class ShortFirst:
    """Points by lifetime."""

    def points(
        self, waiting: Waiting, associations: Mapping[int, Association], at_s: float
    ) -> Floats:
        """Return the points to add to each class of equal requests."""
        short = (waiting.ttl_s > 0) & (waiting.ttl_s <= 3600)
        return np.where(short, 50.0, 0.0)
