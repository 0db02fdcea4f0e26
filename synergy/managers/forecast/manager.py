"""Forecasts when waiting requests start, records it, and holds it against what happened.

Why: users plan by it, and a forecast that nobody scores is not to be trusted. It reads the store
beside the rounds, and the forecasts are drawn in a process of their own, so a round never waits for
them; how much is looked at is bounded. Must not decide anything.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

from oslo_config import cfg

from synergy.core.declared import commands
from synergy.core.declared.answers import forecasts as answers
from synergy.core.errors import Conflict, NotFound, UpstreamUnavailable
from synergy.core.events import FactorsChanged, QuotaChanged, QuotaReleased, RoundDecided
from synergy.core.forecasts.correction import NEEDED, Correction
from synergy.core.forecasts.drawing import Drawn, Line, Question, Queue
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.outlook import MAX_NOW
from synergy.core.forecasts.record import Recorded
from synergy.core.forecasts.refresh import is_due
from synergy.core.forecasts.score import ALL, METHODS, PastWaits, Resolved, score, table
from synergy.core.model import Request, State
from synergy.core.quota import QuotaState
from synergy.core.rounds.snapshot import NO_FACTORS
from synergy.managers.base import Manager, command, on
from synergy.managers.forecast.drawers import Drawer, Here
from synergy.managers.forecast.now import ids_of, read_holding, read_waiting
from synergy.managers.forecast.outlook import View, outlook
from synergy.managers.scheduler.latest import suspended_associations
from synergy.managers.scheduler.policy import policy_of
from synergy.managers.scheduler.what_if import owner_of
from synergy.ports import Clock, Flavor, Flavors, Reading, Store

LOG = logging.getLogger(__name__)
LEARNED_AT_START: Final = 5000  # servers that ended last
SCORED: Final = 10_000  # forecasts that were resolved last
_LOOK_S: Final = 0.2  # between two looks at what was drawn


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is being drawn: as of when, after which round, and quantiles of the last waits."""

    at: datetime
    round_id: str | None
    past_s: tuple[float, float]


class ForecastManager(Manager):
    """Forecasts for each request that waits, and for those that wait on, again."""

    name = "forecast"
    stopped_means = "no start is forecast for what is queued from now on"
    options = (
        cfg.FloatOpt(
            "rate_s",
            default=60.0,
            min=0.01,
            max=86_400,
            mutable=True,
            help="Seconds between two passes over the waiting requests.",
        ),
        cfg.FloatOpt(
            "debounce_s",
            default=10.0,
            min=0,
            max=3600,
            mutable=True,
            help="Shortest time in seconds between two passes that events ask for.",
        ),
        cfg.FloatOpt(
            "refresh_s",
            default=900.0,
            min=1,
            max=30 * 86_400,
            mutable=True,
            help="Shortest time in seconds after which a request that still waits gets another "
            "forecast. A long wait is forecast again after an eighth of the wait that was "
            "forecast last, but at least once a day, and after this time if the cloud or "
            "its quotas have changed.",
        ),
        cfg.IntOpt(
            "samples",
            default=31,
            min=1,
            max=1000,
            mutable=True,
            help="How many times the queue is run forward for a forecast, each time with other "
            "lifetimes.",
        ),
        cfg.IntOpt(
            "max_requests",
            deprecated_name="most_waiting",
            default=10_000,
            min=1,
            max=100_000,
            mutable=True,
            help="Maximum number of waiting requests that are run forward. Those beyond it get a "
            "forecast when others have started.",
        ),
        cfg.FloatOpt(
            "budget_s",
            default=20.0,
            min=0.1,
            max=3600,
            mutable=True,
            help="Seconds after which a run draws no more samples, and goes by those that it has. "
            "One that has not ended a minute later is broken off.",
        ),
        cfg.IntOpt(
            "keep_days",
            default=90,
            min=1,
            max=36_600,
            mutable=True,
            help="Days for which a settled forecast is kept for the score.",
        ),
        cfg.IntOpt(
            "outlook_flavors",
            default=20,
            min=1,
            max=1000,
            mutable=True,
            help="Maximum number of flavors in an outlook, in the order of their names; the "
            "others are listed as left out.",
        ),
        cfg.FloatOpt(
            "outlook_budget_s",
            default=5.0,
            min=0.1,
            max=600,
            mutable=True,
            help="Seconds after which an outlook evaluates no more flavors; the others are "
            "listed as left out.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        scheduler_options: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        store: Store,
        flavors: Flavors,
        drawer: Drawer | None = None,
    ) -> None:
        """drawer draws the forecasts; None: this does itself, as a clock that is not real needs."""
        self._conf, self._scheduler, self._clock = conf, scheduler_options, clock
        self._store, self._flavors = store, flavors
        self._learning = Lock()  # held to learn, and to copy what was learned
        self._state: QuotaState | None = None
        self._changed_at: datetime | None = None  # when that became other than it was
        self._round_id: str | None = None
        self._factors = NO_FACTORS
        self._lifetimes = Lifetimes()
        self._correction, self._past = Correction(), PastWaits()
        self._resolved: deque[Resolved] = deque(maxlen=SCORED)
        self._standing: list[answers.MethodScore] = []  # is replaced as a whole
        self._drawer: Drawer = drawer or Here(clock.monotonic_s)
        self._asked: _Asked | None = None
        self._read = False  # whether what is stored was learned

    @on(QuotaChanged)
    def _size_by(self, fact: QuotaChanged) -> None:
        if self._state is not None and fact.state != self._state:
            self._changed_at = self._clock.now()
        self._state = fact.state

    @on(FactorsChanged)
    def _order_by(self, fact: FactorsChanged) -> None:
        self._factors = fact

    @on(RoundDecided)
    def _note_round(self, fact: RoundDecided) -> None:
        self._round_id = fact.round_id

    @on(QuotaReleased)
    def _learn(self, fact: QuotaReleased) -> None:
        for request in fact.requests:
            self._learn_from(request)

    def _learn_from(self, request: Request) -> None:
        if request.held_from is not None and request.released_at is not None:
            held_s = (request.released_at - request.held_from).total_seconds()
            with self._learning:
                self._lifetimes.learn(request.request_class, request.project_id, held_s)

    def task(self) -> float | None:
        if self._state is None:
            return None  # nothing is known of the cloud yet
        if not self._read:
            self._learn_stored()
        if not self._drawer.busy:
            self._settle()
            self._ask(self._state)
        for part in self._drawer.parts():
            self._record(part)
        return _LOOK_S if self._drawer.busy else None

    def destroy(self) -> None:
        self._drawer.close()

    def _learn_stored(self) -> None:
        with self._store.reading() as uow:
            ended = uow.requests.search(
                states=[State.DELETED], sort_key="changed_at", descending=True,
                limit=LEARNED_AT_START,
            )  # fmt: skip
            resolved = uow.forecasts.last(SCORED)
        for request in reversed(ended):
            self._learn_from(request)
        for one in resolved:
            self._resolve(one, one.wait_s or 0.0)
        self._stand_anew()
        self._read = True

    def _resolve(self, one: Recorded, wait_s: float) -> None:
        self._resolved.append(replace(one, wait_s=wait_s).resolved())
        with self._learning:
            self._correction.resolve(one.raw, one.published, wait_s)
        self._past.add(wait_s)

    def _settle(self) -> None:
        """Hold the forecasts of what waits no longer against what happened."""
        now = self._clock.now()
        with self._store.reading() as uow:
            over = [(one, _waited_s(one, began)) for one, began in uow.forecasts.over()]
        if not over:
            return
        with self._store.writing() as uow:
            uow.forecasts.settle([(one.forecast_id or 0, now, wait_s) for one, wait_s in over])
            uow.forecasts.forget(now - timedelta(days=self._conf.keep_days))
            uow.commit()
        for one, wait_s in over:
            if wait_s is not None:
                self._resolve(one, wait_s)
        self._stand_anew()

    def _stand_anew(self) -> None:
        rows = list(self._resolved)
        self._standing = [
            _score_json(ALL, method, score(rows, method).as_json()) for method in METHODS if rows
        ]

    def _ask(self, state: QuotaState) -> None:
        """Have the starts forecast of those that wait and have no forecast, or an old one."""
        now, round_id, refresh_s = self._clock.now(), self._round_id, self._conf.refresh_s
        with self._store.reading() as uow:
            lines = self._read_lines(uow, self._conf.max_requests)
            last = uow.forecasts.standing()
            wanted = frozenset(
                request_id
                for line in lines
                for request_id in ids_of(line)
                if (published := last.get(request_id)) is None
                or is_due(published, now, refresh_s, self._changed_at)
            )
            if not wanted:
                return
            queue = self._queue(uow, state, now, lines, more=1)
        self._asked = _Asked(at=now, round_id=round_id, past_s=self._past.quantiles_s())
        with self._learning:  # until it is asked: nothing is learned meanwhile
            question = Question(
                queue=queue, wanted=wanted, lifetimes=self._lifetimes,
                correction=self._correction, samples=self._conf.samples,
            )  # fmt: skip
            self._drawer.ask(question, self._conf.budget_s)

    def _read_lines(self, uow: Reading, maximum: int) -> list[Line]:
        projects = {one.association_id: one.project_id for one in uow.projects.associations()}
        return read_waiting(uow, projects, maximum)

    def _queue(
        self, uow: Reading, state: QuotaState, now: datetime, lines: Sequence[Line], more: int
    ) -> Queue:
        """Return what waits and holds quota; its policy starts `more` in a round than wait."""
        count = sum(len(line.queued_at_s) for line in lines)
        return Queue(
            at_s=now.timestamp(),
            state=state,
            policy=policy_of(self._scheduler, maximum=more + count),
            lines=lines,
            held=read_holding(uow, now),
            suspended=suspended_associations(uow),
            factors=self._factors,
        )

    def _record(self, part: Sequence[Drawn]) -> None:
        if (asked := self._asked) is None:
            return
        past_p50_s, past_p90_s = asked.past_s
        with self._store.writing() as uow:
            uow.forecasts.add(
                [
                    Recorded(
                        request_id=one.request_id,
                        project_id=one.project_id,
                        made_at=asked.at,
                        round_id=asked.round_id,
                        raw=one.raw,
                        published=one.published,
                        past_p50_s=past_p50_s,
                        past_p90_s=past_p90_s,
                    )
                    for one in part
                ]
            )
            uow.commit()

    @command(answers.SCORE_FORECASTS)
    def do_score(self, project_id: str | None = None) -> answers.ForecastScore:
        """Show how accurate forecasts of starts were, beside two simple baselines."""
        with self._store.reading() as uow:
            rows = [one.resolved() for one in uow.forecasts.last(SCORED, project_id)]
            waiting = uow.forecasts.count_open(project_id)
        return {
            "resolved": len(rows),
            "waiting": waiting,
            "needed": NEEDED,
            "text": _words(len(rows)),
            "scores": [
                _score_json(group, method, numbers)
                for group, methods in table(rows).items()
                for method, numbers in methods.items()
            ],
        }

    @command(commands.STANDING_OF_FORECASTS)
    def do_standing(self) -> list[answers.MethodScore]:
        """Show how accurate all forecasts were, as of the last run; empty while none is settled."""
        return self._standing

    @command(answers.FORESEE)
    def do_outlook(
        self, project_id: str, user_id: str | None = None, flavor: str | None = None
    ) -> answers.Outlook:
        """Show, by flavor, when further servers of a project would start."""
        if (state := self._state) is None:
            raise UpstreamUnavailable(
                "the capacity of the cloud has not been read yet: try again in a minute"
            )
        asked = self._flavors_asked(flavor)
        maximum, at = self._conf.max_requests, self._clock.now()
        with self._store.reading() as uow:
            project, owner = owner_of(uow, project_id, user_id)
            lines = self._read_lines(uow, maximum + 1)
            if sum(len(line.queued_at_s) for line in lines) > maximum:
                raise Conflict(
                    f"more requests wait than [forecast] max_requests ({maximum}), so what comes "
                    "behind them is not foreseen"
                )
            queue = self._queue(uow, state, at, lines, more=MAX_NOW)
        with self._learning:
            lifetimes, correction = deepcopy((self._lifetimes, self._correction))
        view = View(
            now=queue.now([name for one in asked for name in one.demand]),
            project=project, owner=owner, lifetimes=lifetimes, correction=correction,
            samples=self._conf.samples, elapsed_s=self._clock.monotonic_s,
        )  # fmt: skip
        return outlook(view, asked, self._conf.outlook_flavors, self._conf.outlook_budget_s)

    def _flavors_asked(self, name: str | None) -> list[Flavor]:
        found = sorted(self._flavors.flavors(), key=lambda one: one.name)
        if name is None:
            return found
        one = [one for one in found if one.name == name]
        if not one:
            raise NotFound(f"flavor {name!r} does not exist, or is not public")
        return one


def _waited_s(one: Recorded, began: datetime | None) -> float | None:
    """Return how long a request waited from its forecast on; None where it left without a start,
    or had one while the forecast was made."""
    wait_s = (began - one.made_at).total_seconds() if began is not None else -1.0
    return wait_s if wait_s >= 0 else None


def _score_json(group: str, method: str, numbers: Mapping[str, float]) -> answers.MethodScore:
    return {
        "group": group,
        "method": method,
        "count": int(numbers["count"]),
        "coverage_50": numbers["coverage_50"],
        "coverage_90": numbers["coverage_90"],
        "pinball_50_s": numbers["pinball_50_s"],
        "pinball_90_s": numbers["pinball_90_s"],
        "width_by_wait": numbers["width_by_wait"],
    }


def _words(count: int) -> str:
    if count < NEEDED:
        return f"Too little is known for a score: {count} of {NEEDED} forecasts are resolved."
    return f"Of the last {count} forecasts that were resolved."
