"""Whether those who asked for servers may still have them, by Keystone.

Why: a request may wait for weeks, and its user or project may be gone by then; it would be built
with the token it came with. Must not know what becomes of such a request.
"""

from collections.abc import Collection
from typing import Final

from oslo_config import cfg

from synergy.ports import Clock, Identity

KEPT_S: Final = 60.0  # how long an answer of Keystone is good enough
Owner = tuple[str, str]  # project_id, user_id


class Owners:
    """What Keystone says of owners of requests, for everyone who asks; kept for KEPT_S."""

    def __init__(self, identity: Identity, clock: Clock, conf: cfg.ConfigOpts.GroupAttr) -> None:
        """conf is the option group of the project manager."""
        self._identity, self._clock, self._conf = identity, clock, conf
        self._known: dict[Owner, tuple[float, str]] = {}  # when it was said, and why it is gone

    def forget(self) -> None:
        """Ask Keystone anew from now on: it tells of a change."""
        self._known = {}

    def gone(self, owners: Collection[Owner]) -> dict[Owner, str]:
        """Return why owners may have no servers any more, by owner; none if that is not to matter.

        Raises UpstreamUnavailable.
        """
        if self._conf.on_owner_gone == "build":
            return {}
        now_s = self._clock.monotonic_s()
        known = {key: said for key, said in self._known.items() if now_s < said[0] + KEPT_S}
        asked = set(owners) - known.keys()
        if asked:
            why = self._identity.gone(asked)
            known |= {owner: (now_s, why.get(owner, "")) for owner in asked}
        self._known = known
        return {owner: known[owner][1] for owner in owners if known[owner][1]}
