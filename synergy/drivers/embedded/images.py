"""The images that snapshots of servers become, after a while.

Must not know servers.
"""

import random
from uuid import UUID

from synergy.core.errors import NotFound
from synergy.drivers.embedded.timers import Timers


class Images:
    """Images by id. boot_s: how long one takes to be complete."""

    def __init__(self, timers: Timers, rng: random.Random, boot_s: float) -> None:
        self._timers, self._rng, self._boot_s = timers, rng, boot_s
        self._complete: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._complete)

    def start(self) -> str:
        """Start an image, and return its id."""
        image_id = str(UUID(int=self._rng.getrandbits(128), version=4))
        self._complete[image_id] = False
        self._timers.after(self._boot_s, lambda: self._complete.update({image_id: True}))
        return image_id

    def is_ready(self, image_id: str) -> bool:
        """Return whether an image is complete. Raises NotFound."""
        if image_id not in self._complete:
            raise NotFound(f"image {image_id!r} does not exist")
        return self._complete[image_id]
