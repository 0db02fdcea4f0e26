"""How long classes rest that Nova found no host for although Placement named one.

Must not know why a host was not good enough, or how a round decides.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Final

from synergy.core.model import Request
from synergy.managers.scheduler.facts import InFlight

LOG = logging.getLogger(__name__)
FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class _Rest:
    until: datetime
    rest_s: float
    tried: bool = False  # one of the class was let go since


class NoHostBackoff:
    """A class rests for a minute, and twice as long each time one of it was tried in vain."""

    def __init__(self) -> None:
        self._rests: dict[int, _Rest] = {}

    def failed(self, requests: Sequence[Request], now: datetime) -> None:
        """Let the classes of these rest; several that fail together count once."""
        for class_id, request in {one.class_id: one for one in requests}.items():
            known = self._rests.get(class_id)
            if known is not None and now < known.until:
                continue
            rest_s = FIRST_REST_S if known is None else min(2 * known.rest_s, LONGEST_REST_S)
            self._rests[class_id] = _Rest(now + timedelta(seconds=rest_s), rest_s)
            LOG.warning(
                "Nova found no host for request %s, although Placement did: others of its user "
                "that ask for the same wait %.0f s", request.request_id, rest_s,
            )  # fmt: skip

    def rests(self, now: datetime, in_flight: InFlight) -> Mapping[int, float]:
        """Return until when classes rest, epoch seconds by class_id, infinite while one of them is
        being tried; forget those of which the trial succeeded."""
        if not self._rests:
            return {}
        away = {request.class_id for request in in_flight()}
        self._rests = {
            key: rest
            for key, rest in self._rests.items()
            if key in away
            or (not rest.tried and now < rest.until + timedelta(seconds=LONGEST_REST_S))
        }
        return {
            key: inf if key in away else rest.until.timestamp() for key, rest in self._rests.items()
        }

    def tried(self, class_ids: Collection[int]) -> None:
        """Note that requests of these classes were let go."""
        for key in self._rests.keys() & set(class_ids):
            self._rests[key] = replace(self._rests[key], tried=True)
