"""A site factor: who asks for an hour or less gets 50 points."""

import numpy as np


class ShortFirst:
    """Points by lifetime."""

    def points(self, waiting, associations, at_s):
        """Return the points to add to each class of equal requests."""
        short = (waiting.ttl_s > 0) & (waiting.ttl_s <= 3600)
        return np.where(short, 50.0, 0.0)
