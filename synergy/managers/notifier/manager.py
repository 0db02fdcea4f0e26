"""Sends a notification for each change of a request, and for a shortfall of the cloud.

Why: mailers, Aodh and bots react to what Synergy does, and none of them may hold it up. So what is
sent is read from the ledger, behind the position that was reached: a listener that is away gets it
later and costs no memory, and no transaction waits for a broker. Must not know how a notification
travels.
"""

import logging
from datetime import timedelta
from typing import Final

from oslo_config import cfg

from synergy.core.declared import commands
from synergy.core.declared.answers import ends as answers
from synergy.core.declared.notifications import (
    RECOVERED,
    SHORTFALL,
    of_step,
    request_payload,
    shortfall_payload,
)
from synergy.core.errors import UpstreamUnavailable
from synergy.core.events import ShortfallChanged
from synergy.core.model import Request
from synergy.core.outbox import Gaps
from synergy.managers.base import Manager, command, on
from synergy.managers.support.render import instant_json
from synergy.ports import Clock, LedgerEntry, NotificationSink, Store

LOG = logging.getLogger(__name__)
NAME: Final = "notifications"  # of its position in the store
PAGE: Final = 200
PAGES_A_RUN: Final = 10  # then the manager looks whether it is to stop


class NotifierManager(Manager):
    """Sends what the ledger says, at least once and in its order."""

    name = "notifier"
    stopped_means = "no notifications are sent; they are sent once it goes on"
    options = (
        cfg.FloatOpt(
            "rate_s",
            default=1.0,
            min=0.01,
            max=86_400,
            mutable=True,
            help="Seconds between two reads of the ledger for entries to send.",
        ),
        cfg.FloatOpt(
            "max_age_s",
            default=86_400.0,
            min=1,
            max=366 * 86_400,
            mutable=True,
            help="Seconds after which a notification that could not be sent is dropped, counted "
            "and logged.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        store: Store,
        notification_sink: NotificationSink,
    ) -> None:
        self._conf, self._clock, self._store = conf, clock, store
        self._sink = notification_sink
        self._position: int | None = None  # in the ledger; None before it is read
        self._gaps = Gaps()
        self._shortfall: ShortfallChanged | None = None  # that is still to be sent
        self._sent = self._dropped = 0
        self._behind = 0  # entries that were not sent at the last look
        self._last_error = ""

    @on(ShortfallChanged)
    def _note_shortfall(self, fact: ShortfallChanged) -> None:
        """Only the latest is worth sending; it keeps what was before all that was not sent."""
        waiting = self._shortfall
        before = waiting.before if waiting else fact.before
        self._shortfall = ShortfallChanged(fact.shortfall, before)

    def resync(self) -> None:
        self._position = None

    def hindrance(self) -> str:
        if not self._last_error:
            return ""
        return f"{self._behind} entries of the ledger are not sent: {self._last_error}"

    def task(self) -> float | None:
        if not self._sink.active:
            return None
        if self._position is None:
            self._position = self._first_position()
        try:
            self._send_shortfall()
            for _ in range(PAGES_A_RUN):
                if not self._send_page(self._position):
                    self._last_error = ""
                    return None
        except UpstreamUnavailable as error:
            self._last_error = str(error)
            raise
        return 0.0

    def _first_position(self) -> int:
        """Return where to go on. A new listener gets what happens from now on."""
        with self._store.reading() as uow:
            position, newest = uow.outbox.position(NAME), uow.outbox.newest()
        if position is not None and position <= newest:
            return position
        if position is not None:
            LOG.error(
                "notifications were sent up to entry %d of the ledger, which has only %d: the "
                "database is an older one. What happened in between is not sent",
                position, newest,
            )  # fmt: skip
        self._move(newest)
        return newest

    def _move(self, position: int) -> None:
        with self._store.writing() as uow:
            uow.outbox.move(NAME, position)
            uow.commit()
        self._position = position

    def _send_shortfall(self) -> None:
        fact = self._shortfall
        if fact is not None:
            declared = SHORTFALL if fact.shortfall else RECOVERED
            payload = shortfall_payload(declared, self._clock.now(), fact.shortfall, fact.before)
            self._sink.send(declared.name, declared.priority, payload)
            self._shortfall, self._sent = None, self._sent + 1

    def _send_page(self, position: int) -> bool:
        """Send what follows a position in the ledger; return whether more may follow."""
        with self._store.reading() as uow:
            page = uow.requests.events(limit=PAGE, after=position)
            found = uow.requests.find([entry.step.request_id for entry in page])
            newest = uow.outbox.newest()
        self._behind = newest - position
        if not page:
            return False
        numbers = [entry.number for entry in page]
        ready = self._gaps.ready(position, numbers, self._clock.monotonic_s())
        dropped = self._dropped
        try:
            for entry in page[:ready]:
                self._send(entry, found.get(entry.step.request_id))
                position = entry.number
        finally:
            if position != self._position:
                self._move(position)
            if dropped != self._dropped:
                LOG.warning(
                    "%d notification(s) up to entry %d of the ledger are dropped: they are older "
                    "than [notifier] max_age_s=%g, or cannot be made",
                    self._dropped - dropped, position, self._conf.max_age_s,
                )  # fmt: skip
        self._behind = newest - position
        return ready == PAGE

    def _send(self, entry: LedgerEntry, request: Request | None) -> None:
        """Send an entry, or drop it. Raises UpstreamUnavailable when it is not sent."""
        declared = of_step(entry.step)
        if declared is None:
            return
        oldest = self._clock.now() - timedelta(seconds=self._conf.max_age_s)
        if request is None or entry.step.at < oldest:
            self._dropped += 1
            return
        try:
            payload = request_payload(declared, entry.number, entry.step, request)
            self._sink.send(declared.name, declared.priority, payload)
            self._sent += 1
        except UpstreamUnavailable:
            raise
        except Exception:  # of this entry alone: it keeps no other from being sent
            LOG.exception("entry %d of the ledger cannot be sent", entry.number)
            self._dropped += 1

    @command(commands.SHOW_NOTIFIER)
    def do_show(self) -> answers.Notifier:
        """Show how far notifications are sent, how many wait, and what was dropped."""
        with self._store.reading() as uow:
            position, newest = uow.outbox.position(NAME), uow.outbox.newest()
            after = newest if position is None else position
            waiting = uow.requests.events(limit=1, after=after) if self._sink.active else []
        oldest_at = waiting[0].step.at if waiting else None
        lag = self._clock.now() - oldest_at if oldest_at else timedelta()
        return {
            "active": self._sink.active,
            "position": position,
            "waiting": max(0, newest - after) if waiting else 0,
            "oldest_waiting_at": instant_json(oldest_at),
            "lag_s": max(0.0, lag.total_seconds()),
            "sent": self._sent,
            "dropped": self._dropped,
            "not_posted": self._sink.dropped,
            "last_error": self._last_error,
        }
