"""How long rests what Nova found no host for although Placement named one.

Must not know why a host was not good enough, or how a round decides.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Final

from synergy.core.backoff import Backoff
from synergy.core.model import Request
from synergy.core.rounds import shape_of
from synergy.core.rounds.snapshot import Tried

LOG = logging.getLogger(__name__)
REST: Final = Backoff(initial_s=60.0, max_s=3600.0)
GRACE: Final = timedelta(seconds=5)  # in which the news of a failed trial arrives


@dataclass(frozen=True, slots=True)
class _Rest:
    """tried  one was let go since; ended_at  when it was first seen to be on its way no longer"""

    until: datetime
    rest_s: float
    tried: bool = False
    ended_at: datetime | None = None


class NoHostBackoff:
    """What a user asks of a host rests for a minute, and twice as long each time that one was tried
    in vain. It goes by user and shape: a request that may use either quota changes its class when
    it is dispatched, and those of another lifetime meet the same hosts."""

    def __init__(self) -> None:
        self._rests: dict[Tried, _Rest] = {}

    def failed(self, requests: Sequence[Request], now: datetime) -> None:
        """Let what these asked for rest; several that fail together count once."""
        for key, request in {tried_by(one): one for one in requests}.items():
            known = self._rests.get(key)
            if known is not None and not known.tried and now < known.until:
                continue
            rest_s = REST.next_s(0.0 if known is None else known.rest_s)
            self._rests[key] = _Rest(now + timedelta(seconds=rest_s), rest_s)
            LOG.warning(
                "Nova found no host for request %s, although Placement did: others of its user "
                "that ask for the same wait %.0f s", request.request_id, rest_s,
            )  # fmt: skip

    def rests(
        self, now: datetime, in_flight: Callable[[], Sequence[Request]]
    ) -> Mapping[Tried, float]:
        """Return until when what rests does, epoch seconds, infinite while one is being tried;
        forget that of which the trial succeeded."""
        if not self._rests:
            return {}
        away = {tried_by(request) for request in in_flight()}
        seen = {key: _seen(rest, key in away, now) for key, rest in self._rests.items()}
        self._rests = {key: rest for key, rest in seen.items() if _is_kept(rest, now)}
        return {key: _until_s(rest, key in away) for key, rest in self._rests.items()}

    def tried(self, started: Collection[Tried]) -> None:
        """Note that some of these were let go."""
        for key in self._rests.keys() & set(started):
            self._rests[key] = replace(self._rests[key], tried=True, ended_at=None)


def tried_by(request: Request) -> Tried:
    """Return whom a build of a request is about."""
    kind = request.request_class
    return kind.association_id, shape_of(kind)


def _seen(rest: _Rest, away: bool, now: datetime) -> _Rest:
    if away or not rest.tried:
        return replace(rest, ended_at=None)
    return rest if rest.ended_at is not None else replace(rest, ended_at=now)


def _is_kept(rest: _Rest, now: datetime) -> bool:
    if rest.tried:
        return rest.ended_at is None or now < rest.ended_at + GRACE
    return now < rest.until + timedelta(seconds=REST.max_s)


def _until_s(rest: _Rest, away: bool) -> float:
    if away:
        return inf
    return (rest.until if rest.ended_at is None else rest.ended_at + GRACE).timestamp()
