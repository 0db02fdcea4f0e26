"""Replays a log, and forecasts at each submission when the request will start.

Why: how good forecasts are is measured where the outcome is known. Only what the log shows until an
instant is used at it: servers that have ended teach lifetimes, starts teach the correction. First
the log is replayed, then the forecasts are drawn, in as many processes as are wanted, and then all
are corrected in the order of time. Must not print.
"""

import csv
import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from synergy.core.accounts import user_node
from synergy.core.errors import InvalidInput
from synergy.core.forecasts.correction import NEEDED, Correction, Interval, Raw, quantiles
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.score import PastWaits, Resolved, table
from synergy.core.forecasts.starts import Now, Server, Wanted, forecast_starts
from synergy.core.model import QuotaKind
from synergy.core.rounds.snapshot import NO_FACTORS
from synergy.core.rounds.timeline import Holding, LiveState
from synergy.sim import forward
from synergy.sim.records import Replay
from synergy.sim.swf import Workload

_REPLAYED: Final = 0.1  # what the replay without forecasts is of the whole, for progress
_PARTS: Final = 200  # into which the forecasts are cut, for progress and processes
Progress = Callable[[float, str], None]  # fraction done in [0, 1], and a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A forecast and what became of it, seconds of the log's own time.

    start_s  None for one that had not started when the replay ended
    """

    job: int
    made_s: float
    p50_s: float
    p90_s: float
    bound_s: float
    start_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """The forecasts of a replay, in the order in which they were made.

    refused          requests that ask for more than the pool has
    started_at_once  requests that waited for nothing, and of which there is no forecast
    uncorrected      forecasts that were made before enough were resolved
    """

    made: tuple[Forecast, ...]
    replay: Replay
    refused: int
    started_at_once: int
    uncorrected: int
    scores: Mapping[str, Mapping[str, Mapping[str, float]]]

    def as_json(self) -> dict[str, object]:
        """Return the summary in its published form."""
        return {
            "requests": len(self.replay.records),
            "refused": self.refused,
            "started_at_once": self.started_at_once,
            "forecasts": len(self.made),
            "resolved": sum(one.start_s is not None for one in self.made),
            "uncorrected": self.uncorrected,
            "skipped": dict(self.replay.skipped),
            "scores": {group: dict(methods) for group, methods in self.scores.items()},
        }

    def write(self, path: Path) -> None:
        """Write one row for each forecast. Raises InvalidInput."""
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["job", "made_s", "p50_s", "p90_s", "bound_s", "start_s"])
                for one in self.made:
                    times = (one.made_s, one.p50_s, one.p90_s, one.bound_s, one.start_s)
                    writer.writerow([one.job, *map(_cell, times)])
        except OSError as error:
            raise InvalidInput(f"--out {path}: {error.strerror}") from error


def _cell(at_s: float | None) -> str:
    if at_s is None or at_s == inf:
        return ""
    return f"{at_s:.3f}".rstrip("0").rstrip(".")


def run(
    workload: Workload,
    *,
    vcpus: int,
    discipline: str,
    order: str,
    boot_s: float = 0.0,
    samples: int = 31,
    seed: int = 1,
    jobs: int = 1,
    progress: Progress = lambda _part, _text: None,
) -> Forecasts:
    """Replay a workload, and forecast every start at its submission; see `forward.run`.

    jobs      processes that draw forecasts
    """
    replay = forward.run(
        workload, vcpus=vcpus, discipline=discipline, order=order, boot_s=boot_s,
        progress=lambda done, count: progress(
            _REPLAYED * done / count, f"{done:,} of {count:,} ended"
        ),
    )  # fmt: skip
    history = _History(replay, discipline, order, boot_s)
    places = history.waited
    size = max(1, -(-len(places) // _PARTS))
    parts = [places[start : start + size] for start in range(0, len(places), size)]
    drawn: list[_Drawn] = []
    for found in _drawn_in(history, parts, samples, seed, jobs):
        drawn += found
        part = _REPLAYED + (1 - _REPLAYED) * len(drawn) / len(places)
        progress(part, f"{len(drawn):,} of {len(places):,} forecasts drawn")
    return _corrected(history, drawn)


@dataclass(frozen=True, slots=True)
class _Drawn:
    """What was drawn for the request at a place of the log, seconds from its submission."""

    place: int
    raw: Raw


def _drawn_in(
    history: "_History", parts: Sequence[Sequence[int]], samples: int, seed: int, jobs: int
) -> Iterator[list[_Drawn]]:
    """Yield what is drawn for each part, in order."""
    if jobs == 1 or len(parts) < 2:
        walk = _Walk(history)
        yield from ([walk.drawn(place, samples, seed) for place in part] for part in parts)
        return
    draw = partial(_draw_part, samples=samples, seed=seed)
    context = get_context("spawn")  # a copy of a process with threads may hang
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin_process, initargs=(history,)
    ) as pool:
        try:
            yield from pool.map(draw, parts)
        except BrokenProcessPool as error:
            raise InvalidInput(
                f"a process of {jobs} ended before its forecasts were drawn, perhaps for want of "
                "memory: try it with --jobs 1"
            ) from error


_walks: list["_Walk"] = []  # of a process that draws: the one over its log


def _begin_process(history: "_History") -> None:
    _walks[:] = [_Walk(history)]


def _draw_part(part: Sequence[int], samples: int, seed: int) -> list[_Drawn]:
    return [_walks[0].drawn(place, samples, seed) for place in part]


class _History:
    """A replayed log, by the place of its jobs in the order of submission.

    waited  places of the jobs that waited, in the order of submission
    """

    def __init__(self, replay: Replay, discipline: str, order: str, boot_s: float) -> None:
        self.replay, self.records, self.boot_s = replay, replay.records, boot_s
        self.users = forward.users_of(self.records)
        self.order = order
        self.tree = forward.tree_of(self.users, replay.vcpus)
        self.policy = forward.policy_of(discipline, order, len(self.records))
        self.arrivals = tuple(forward.arrivals_of(self.records, self.users, boot_s))
        refused = {place for place, one in enumerate(self.records) if one.refused}
        self.waited = [
            place
            for place, one in enumerate(self.records)
            if place not in refused and (one.start_s is None or one.start_s > one.job.submit_s)
        ]
        self.starts = sorted(
            (one.start_s, place)
            for place, one in enumerate(self.records)
            if one.start_s is not None
        )
        self.ends = sorted(
            (one.end_s, place) for place, one in enumerate(self.records) if one.end_s is not None
        )


class _Walk:
    """Walks a replayed log in the order of time, and draws forecasts on its way."""

    def __init__(self, history: _History) -> None:
        self._history = history
        self._usage = forward.Usage(history.users) if history.order != "submit" else None
        self._lifetimes = Lifetimes()
        self._started = self._ended = self._arrived = 0
        self._holding: dict[int, Server] = {}
        self._waiting: dict[int, Wanted] = {}

    def drawn(self, place: int, samples: int, seed: int) -> _Drawn:
        """Return what is drawn for a job when it is submitted; of two calls, the second is about a
        later job."""
        history = self._history
        record = history.records[place]
        at_s = record.job.submit_s
        self._go_to(at_s)
        usage = self._usage
        if usage is not None and usage.due_s <= at_s:
            usage.at(at_s)
        now = Now(
            tree=history.tree,
            policy=history.policy,
            state=LiveState(at_s=at_s, factors=usage.factors if usage else NO_FACTORS),
            waiting=tuple(self._waiting.values()),
            holding=tuple(self._holding.values()),
        )
        request_id = history.arrivals[place].request_id
        found = forecast_starts(
            now, self._lifetimes, wanted={request_id}, samples=samples, seed=seed
        )
        p50_s, p90_s = quantiles(found.drawn[request_id] - at_s)
        bound_s = found.bound.get(request_id, inf) - at_s
        size = record.job.vcpus / history.replay.vcpus
        raw = Raw(p50_s=min(p50_s, bound_s), p90_s=min(p90_s, bound_s), bound_s=bound_s, size=size)
        return _Drawn(place, raw)

    def _go_to(self, at_s: float) -> None:
        """Take in what happened until an instant, its round included."""
        history = self._history
        while (
            self._arrived < len(history.arrivals) and history.arrivals[self._arrived].at_s <= at_s
        ):
            arrival, record = history.arrivals[self._arrived], history.records[self._arrived]
            if not record.refused:
                self._waiting[self._arrived] = Wanted(
                    key=self._arrived + 1, project_id=record.project, arrival=arrival
                )
            self._arrived += 1
        while self._started < len(history.starts) and history.starts[self._started][0] <= at_s:
            self._start(*history.starts[self._started])
            self._started += 1
        while self._ended < len(history.ends) and history.ends[self._ended][0] <= at_s:
            ended_s, which = history.ends[self._ended]
            server = self._holding.pop(which)
            self._lifetimes.learn(server.kind, server.project_id, ended_s - server.began_s)
            self._ended += 1

    def _start(self, start_s: float, place: int) -> None:
        history = self._history
        record, wanted = history.records[place], self._waiting.pop(place)
        kind = wanted.arrival.kind
        if self._usage is not None:
            self._usage.hold(kind.association_id, record)
        self._holding[place] = Server(
            key=wanted.key,
            kind=kind,
            project_id=record.project,
            holding=Holding(
                leaf=history.tree.row[user_node(kind.association_id)],
                demand=history.tree.amounts(kind.demand),
                quota=QuotaKind.SHARED,
                known_end_s=start_s + kind.ttl_s,
                end_s=inf,
            ),
            began_s=start_s,
        )


def _corrected(history: _History, drawn: Sequence[_Drawn]) -> Forecasts:
    """Correct what was drawn in the order of time, each by what was resolved by then."""
    correction, past = Correction(), PastWaits()
    coming: list[tuple[float, int]] = []  # when a forecast is resolved, and its position
    made: list[Forecast] = []
    resolved: list[Resolved] = []
    published: list[Interval] = []
    uncorrected = 0
    for position, one in enumerate(drawn):
        record = history.records[one.place]
        made_s = record.job.submit_s
        while coming and coming[0][0] <= made_s:
            start_s, at = heapq.heappop(coming)
            wait_s = start_s - made[at].made_s
            correction.resolve(drawn[at].raw, published[at], wait_s)
            past.add(wait_s)
        interval = correction.corrected(one.raw)
        uncorrected += correction.resolved < NEEDED
        published.append(interval)
        made.append(
            Forecast(
                job=record.job.number,
                made_s=made_s,
                p50_s=made_s + interval.p50_s,
                p90_s=made_s + interval.p90_s,
                bound_s=made_s + interval.bound_s,
                start_s=record.start_s,
            )
        )
        if record.start_s is not None:
            heapq.heappush(coming, (record.start_s, position))
            low_s, high_s = past.quantiles_s()
            resolved.append(
                Resolved(
                    p50_s=interval.p50_s,
                    p90_s=interval.p90_s,
                    bound_s=interval.bound_s,
                    past_p50_s=low_s,
                    past_p90_s=high_s,
                    wait_s=record.start_s - made_s,
                    size=one.raw.size,
                )
            )
    at_once = sum(
        one.start_s is not None and one.start_s <= one.job.submit_s for one in history.records
    )
    return Forecasts(
        made=tuple(made),
        replay=history.replay,
        refused=sum(one.refused for one in history.records),
        started_at_once=at_once,
        uncorrected=uncorrected,
        scores=table(resolved),
    )
