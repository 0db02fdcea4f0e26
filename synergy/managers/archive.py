"""Keeps the store from growing without bound, in small steps beside everybody else's work.

Why: finished requests would slow down whatever reads tables, and fill the disk. A step is one short
transaction, and steps rest nine times as long as they took, longer while others write. Must not
know what a record holds.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from oslo_config import cfg

from synergy.core.declared import commands
from synergy.core.declared.answers import ends as answers
from synergy.managers.base import Manager, command
from synergy.managers.fairshare.rollups import oldest_hour
from synergy.ports import Clock, Store

LOG = logging.getLogger(__name__)
LONGEST_STEP_S: Final = 0.025  # a step that took longer is followed by smaller ones
MAX_AT_ONCE: Final = 500
REST_RATIO: Final = 9.0  # steps take a tenth of the time at most
BUSY_REST_S: Final = 5.0
CLASSES_AT_ONCE: Final = 200
HOURS_AT_ONCE: Final = 2000


class ArchiveManager(Manager):
    """Archives what is finished for long, and drops what nothing refers to."""

    name = "archive"
    options = (
        cfg.FloatOpt(
            "rate_s",
            default=3600.0,
            min=0.01,
            max=86_400,
            mutable=True,
            help="Seconds between two searches for requests to archive.",
        ),
        cfg.IntOpt(
            "quarantine_max",
            default=10_000,
            min=1,
            max=10_000_000,
            mutable=True,
            help="Maximum number of quarantined messages: those that are not what Nova sends. "
            "Beyond it, the oldest are removed with an error in the log; the archive keeps "
            "what was wrong with each and when, but not the message.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        store: Store,
        database: cfg.ConfigOpts.GroupAttr,
    ) -> None:
        self._conf, self._clock, self._store, self._database = conf, clock, store, database
        self._batch = 10
        self._looked_at = 0  # the last class that was looked at
        self.counts: Counter[str] = Counter()

    def task(self) -> float | None:
        for step in (self._archive, self._bound_quarantine, self._drop_classes, self._drop_hours):
            rest_s = step()
            if rest_s is not None:
                return rest_s
        return None

    def _archive(self) -> float | None:
        """Move some records; return how long to rest, or None when none is due."""
        if not self._database.keep_days:
            return None
        before = self._clock.now() - timedelta(days=self._database.keep_days)
        with self._store.reading() as uow:
            for kind in uow.archive.kinds:
                keys = uow.archive.due(kind, before, self._batch)
                if keys:
                    break
            else:
                return None
        return self._step(kind, lambda: self._move(kind, keys))

    def _move(self, kind: str, keys: list[str]) -> int:
        with self._store.writing() as uow:
            moved = uow.archive.move(kind, keys)
            uow.commit()
        return moved

    def _step(self, name: str, step: Callable[[], int]) -> float | None:
        """Do one step, size the next one by the time that it took, and return how long to rest;
        None when it did nothing, so that nobody tries it for ever."""
        began_s = self._clock.monotonic_s()
        done = step()
        took_s = self._clock.monotonic_s() - began_s
        self.counts[name] += done
        slow = took_s > LONGEST_STEP_S
        self._batch = max(1, self._batch // 2) if slow else min(MAX_AT_ONCE, self._batch + 5)
        if not done:
            return None
        # A step that is far too long waited for other writers: they go first.
        return BUSY_REST_S if took_s > 4 * LONGEST_STEP_S else max(0.01, REST_RATIO * took_s)

    def _bound_quarantine(self) -> float | None:
        with self._store.reading() as uow:
            surplus = uow.archive.oldest("quarantine", self._conf.quarantine_max, self._batch)
        if not surplus:
            return None
        rest_s = self._step("quarantine", lambda: self._move("quarantine", surplus))
        for key in surplus:
            LOG.error(
                "message %s is removed from the quarantine: there are more than [archive] "
                "quarantine_max=%d; the archive says what was wrong with it",
                key, self._conf.quarantine_max,
            )  # fmt: skip
        return rest_s

    def _drop_classes(self) -> float | None:
        """Look at some classes; return how long to rest, or None at the end of them."""
        with self._store.reading() as uow:
            unused, last = uow.archive.unused_classes(self._looked_at, CLASSES_AT_ONCE)
        self._looked_at = last or 0
        if unused:
            self._step("classes", lambda: self._drop(unused))
        return None if last is None else 0.1

    def _drop(self, unused: list[int]) -> int:
        with self._store.writing() as uow:
            dropped = uow.archive.drop_classes(unused)
            uow.commit()
        return dropped

    def _drop_hours(self) -> float | None:
        before = oldest_hour(self._clock.now())
        return self._step("hours", lambda: self._forget_hours(before))

    def _forget_hours(self, before: datetime) -> int:
        with self._store.reading() as uow:
            if not uow.rollups.has_hours(before):
                return 0
        with self._store.writing() as uow:
            gone = uow.rollups.forget_hours(before, HOURS_AT_ONCE)
            uow.commit()
        return gone

    @command(commands.COUNT_QUARANTINED)
    def do_quarantined(self) -> answers.QuarantineSize:
        """Show how many messages are quarantined, the maximum, and how many rows are damaged."""
        with self._store.reading() as uow:
            count = uow.archive.size("quarantine")
        return {
            "quarantined": count,
            "quarantine_max": self._conf.quarantine_max,
            "damaged": self._store.damaged(),
        }

    @command(beside=True)
    def do_status(self) -> answers.ArchiveStatus:
        """Show what was archived since the start, what the archive has, and what is quarantined."""
        with self._store.reading() as uow:
            return {
                "keep_days": self._database.keep_days,
                "since_start": dict(sorted(self.counts.items())),
                "archived": uow.archive.counts(),
                "quarantined": uow.archive.size("quarantine"),
                "quarantine_max": self._conf.quarantine_max,
            }
