"""synergy-manage db archive, purge and rebuild-usage: the archive manager's work, by hand.

Why: an operator with years of data must not wait for the service to archive it. Each step is its
own transaction, so a command that was interrupted can simply be run again. Must not know tables.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from oslo_config import cfg

from synergy.core.errors import Conflict, InvalidInput
from synergy.db import engine as database
from synergy.db.key_file import read_keys
from synergy.db.store import SqlStore
from synergy.db.vault import Vault
from synergy.managers.fairshare import rollups
from synergy.managers.fairshare.charging import read_tariff
from synergy.ports import UNREADABLE_PROGRESS

_BATCH_ROWS: Final = 200
_PROGRESS_EVERY_S: Final = 2.0


@contextmanager
def _store_of(conf: cfg.ConfigOpts) -> Iterator[SqlStore]:
    engine = database.open_engine(conf.database)
    database.check(engine)
    store = SqlStore(engine, Vault(read_keys(Path(conf.database.keys_file))))
    try:
        yield store
    finally:
        store.close()


def instant_of(text: str, now: datetime) -> datetime:
    """Parse a date or an instant. Raises InvalidInput."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"--before {text!r} is not a date such as 2026-01-31, or an instant such as "
            "2026-01-31T12:00:00+00:00"
        ) from error
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    if at > now:
        raise InvalidInput(f"--before {text} is in the future: it is {now.isoformat()} now")
    return at


def _archive(conf: cfg.ConfigOpts) -> None:
    """Move finished requests, and what belongs to them, into the archive."""
    now = datetime.now(UTC)
    if conf.action.before is not None:
        before = instant_of(conf.action.before, now)
    elif conf.database.keep_days:
        before = now - timedelta(days=conf.database.keep_days)
    else:
        raise InvalidInput(
            "[database] keep_days is 0, so everything is kept: give --before DATE to archive what "
            "was finished before that date"
        )
    with _store_of(conf) as store:
        for _ in range(2):  # the second pass counts what came during the first
            rollups.count_only(store)
        if conf.action.dry_run:
            with store.reading() as uow:
                due = {kind: uow.archive.due_count(kind, before) for kind in uow.archive.kinds}
            _report(conf, "would archive", due, before)
            return
        with store.reading() as uow:
            kinds = list(uow.archive.kinds)
        counts = dict.fromkeys(kinds, 0)
        progress = _Progress(conf, "archived")
        for kind in kinds:
            while limit := _left(conf, counts):
                with store.reading() as uow:
                    keys = uow.archive.due(kind, before, limit)
                if not keys:
                    break
                with store.writing() as uow:
                    moved = uow.archive.move(kind, keys)
                    uow.commit()
                if not moved:
                    break  # the service archived them first
                counts[kind] += moved
                progress.show(counts)
        _report(conf, "archived", counts, before)


def _purge(conf: cfg.ConfigOpts) -> None:
    """Delete archived records for good; daily sums of their usage stay."""
    before = instant_of(conf.action.before, datetime.now(UTC))
    with _store_of(conf) as store:
        with store.reading() as uow:
            due = uow.archive.counts(before)
        if conf.action.dry_run:
            _report(conf, "would purge", due, before)
            return
        progress, counts = _Progress(conf, "purged"), {"rows": 0}
        while limit := _left(conf, counts):
            with store.writing() as uow:
                gone = uow.archive.purge(before, limit)
                uow.commit()
            if not gone:
                break
            counts["rows"] += gone
            progress.show(counts)
        _report(conf, "purged", counts, before)


def _rebuild(conf: cfg.ConfigOpts) -> None:
    """Recompute the sums of usage from the spans of all requests, including archived ones."""
    now, tariff = datetime.now(UTC), read_tariff(conf.fairshare)
    with _store_of(conf) as store:
        with store.writing() as uow:
            stored = uow.rollups.progress()
            if stored is UNREADABLE_PROGRESS:
                raise Conflict(
                    "the row of table growth cannot be read, so it is unknown which sums cannot "
                    "be recomputed: restore it from a backup. Until then reports are computed "
                    "from the spans"
                )
            # What was purged has no spans any more: its sums cannot be recomputed, so they stay.
            restarted = replace(
                stored,
                rolled_until=stored.purged_until,
                hours_from=None,
                edition=stored.edition + 1,
            )
            uow.rollups.save_progress(stored, restarted)
            uow.commit()
        progress, counts = _Progress(conf, "summed up"), {"hours and days": 0}
        while True:
            try:
                if not rollups.advance(store, tariff, now):
                    break
            except Conflict:
                continue  # the service summed up the same hour first
            counts["hours and days"] += 1
            progress.show(counts)
        _report(conf, "summed up", counts, now)


def _left(conf: cfg.ConfigOpts, counts: dict[str, int]) -> int:
    """Return how many rows the next step may handle."""
    max_rows: int | None = conf.action.max_rows
    return (
        _BATCH_ROWS
        if max_rows is None
        else max(0, min(_BATCH_ROWS, max_rows - sum(counts.values())))
    )


class _Progress:
    """Prints progress every few seconds."""

    def __init__(self, conf: cfg.ConfigOpts, done: str) -> None:
        self._quiet, self._done = conf.action.format == "json", done
        self._shown_s = time.monotonic()

    def show(self, counts: dict[str, int]) -> None:
        if not self._quiet and time.monotonic() >= self._shown_s + _PROGRESS_EVERY_S:
            self._shown_s = time.monotonic()
            sys.stderr.write(f"{self._done} so far: {_summary(counts)}\n")


def _summary(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())) or "nothing"


def _report(conf: cfg.ConfigOpts, done: str, counts: dict[str, int], before: datetime) -> None:
    if conf.action.format == "json":
        text = json.dumps({"before": before.isoformat(), "action": done, "counts": counts})
    else:
        text = f"{done}, before {before.isoformat()}: {_summary(counts)}"
    sys.stdout.write(f"{text}\n")


_ACTIONS: Final[dict[str, Callable[[cfg.ConfigOpts], None]]] = {
    "archive": _archive,
    "purge": _purge,
    "rebuild-usage": _rebuild,
}


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 10**12:
        raise ValueError(text)
    return int(text)


# argparse shows the name of a type in its error message.
_count.__name__ = "number of rows from 1 on"


def add_actions(below: Any) -> None:
    """Add the commands below `synergy-manage db`."""
    for verb, action in _ACTIONS.items():
        parser = below.add_parser(verb, help=action.__doc__)
        parser.set_defaults(run=action)
        parser.add_argument("-f", "--format", choices=["text", "json"], default="text")
        if action is _rebuild:
            continue
        parser.add_argument(
            "--before", metavar="DATE", required=action is _purge,
            help="Only what was finished before this date or time, UTC."
            + ("" if action is _purge else " Default: [database] keep_days ago."),
        )  # fmt: skip
        parser.add_argument(
            "--max-rows", type=_count, metavar="N", help="Stop after this many records."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Only print how many records it would be."
        )
