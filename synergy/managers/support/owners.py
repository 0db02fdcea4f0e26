"""Whether those who asked for servers may still have them, by Keystone.

Why: a request may wait for weeks, and its user or project may be gone by then; it would be built
with the token it came with. Must not know what becomes of such a request.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final

from oslo_config import cfg

from synergy.core.errors import error_line
from synergy.ports import Clock, Identity

SILENT: Final = 5  # owners in a row without an answer, then it is Keystone that is away
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

    def gone(self, owners: Collection[Owner]) -> tuple[dict[Owner, str], dict[Owner, str]]:
        """Return why owners may have no servers any more, by owner, none if that is not to matter;
        and those of whom Keystone cannot say it now, with its error.

        Raises what was raised when it can say it of nobody.
        """
        if self._conf.on_owner_gone == "build":
            return {}, {}
        now_s = self._clock.monotonic_s()
        known = {key: said for key, said in self._known.items() if now_s < said[0] + KEPT_S}
        asked = sorted(set(owners) - known.keys())
        try:
            why, unanswered = self._ask(asked)
        except Exception as error:
            if len(asked) == len(set(owners)):
                raise
            why, unanswered = {}, dict.fromkeys(asked, error_line(error))
        known |= {owner: (now_s, said) for owner, said in why.items()}
        self._known = known
        gone = {owner: known[owner][1] for owner in owners if known.get(owner, (0.0, ""))[1]}
        return gone, unanswered

    def _ask(self, owners: Sequence[Owner]) -> tuple[dict[Owner, str], dict[Owner, str]]:
        """Ask about all at once; where that fails, about each: the users of one domain may be in a
        directory that is away, and others do not wait for it."""
        if not owners:
            return {}, {}
        try:
            found = self._identity.gone(owners)
            return {owner: found.get(owner, "") for owner in owners}, {}
        except Exception:
            if len(owners) == 1:
                raise
        return ask_each(owners, lambda owner: self._identity.gone([owner]).get(owner, ""))


def ask_each(
    owners: Sequence[Owner], ask: Callable[[Owner], str]
) -> tuple[dict[Owner, str], dict[Owner, str]]:
    """Return what is answered by owner, and the errors of the others.

    Raises the first error when there is no answer at all; after SILENT of them no more are asked.
    """
    answers: dict[Owner, str] = {}
    failed: dict[Owner, str] = {}
    for asked, owner in enumerate(owners, start=1):
        try:
            answers[owner] = ask(owner)
        except Exception as error:
            failed[owner] = error_line(error)
            if len(failed) == asked >= min(SILENT, len(owners)):
                raise
    return answers, failed
