"""Whether those who asked for servers may still have them, by Keystone.

Why: a request may wait for weeks, and its user or project may be gone by then; it would be built
with the token it came with. Must not know what becomes of such a request.
"""

from collections.abc import Collection, Sequence
from typing import Final

from oslo_config import cfg

from synergy.core.ask_each import Answers, ask_together
from synergy.core.ids import NOBODY
from synergy.ports import Clock, Identity

KEPT_S: Final = 60.0  # how long an answer of Keystone is good enough
Owner = tuple[str, str]  # project_id, user_id


class Owners:
    """What Keystone says of owners of requests, for everyone who asks; kept for KEPT_S."""

    def __init__(self, identity: Identity, clock: Clock, conf: cfg.ConfigOpts.GroupAttr) -> None:
        """conf is the option group of the project manager."""
        self._identity, self._clock, self._conf = identity, clock, conf
        self._known: dict[Owner, tuple[float, str]] = {}  # when it was asked, and why it is gone

    def forget(self) -> None:
        """Ask Keystone again from now on: it tells of a change."""
        self._known = {}

    def gone(self, owners: Collection[Owner]) -> Answers[Owner, str]:
        """Return why owners may have no servers any more, none if that is not to matter; the users
        of one domain may be in a directory that is away, and others do not wait for it.

        Raises what was raised when it can say it of nobody.
        """
        if self._conf.on_owner_gone == "build":
            return Answers({}, {})
        now_s = self._clock.monotonic_s()
        known = {key: said for key, said in self._known.items() if now_s < said[0] + KEPT_S}
        asked = sorted(set(owners) - known.keys())
        try:
            why, unanswered = ask_together(asked, self._ask, nothing=(NOBODY, NOBODY))
        except Exception as error:
            if len(asked) == len(set(owners)):
                raise
            why, unanswered = {}, dict.fromkeys(asked, error)
        known |= {owner: (now_s, said) for owner, said in why.items()}
        self._known = known
        gone = {owner: known[owner][1] for owner in owners if known.get(owner, (0.0, ""))[1]}
        return Answers(gone, unanswered)

    def _ask(self, owners: Sequence[Owner]) -> dict[Owner, str]:
        found = self._identity.gone(owners)
        return {owner: found.get(owner, "") for owner in owners}
