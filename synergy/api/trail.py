"""The trail of one change: written down before it is made, and settled with its outcome.

Why: no change without a trace, whatever ends it. When it cannot be written down, it is refused;
when its outcome cannot, the log has it all the same. Must not know what is changed.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from synergy.api.errors import status_of
from synergy.api.pace import Pace
from synergy.api.services import ServiceHost
from synergy.core.audit import AuditOutcome, difference
from synergy.core.errors import SynergyError

LOG: Final = logging.getLogger("synergy.audit")
_LONGEST: Final = 16_000  # characters of a value as JSON
_LONGEST_TEXT: Final = 1000
_LEFT_OUT: Final = ("users", "history", "commands", "revision")  # nouns of their own, or derived


class Trail:
    """One change that somebody asks for."""

    def __init__(self, host: ServiceHost, who: Mapping[str, object], refusals: Pace) -> None:
        """who  the fields of `core.audit.AuditEntry` that say who asks for what"""
        self._host, self._refusals = host, refusals
        self._entry = {name: _bounded(value) for name, value in who.items()}
        self._number: int | None = None
        self._before: Mapping[str, object] | None = None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Settle the change as refused or failed when it ends in an error."""
        try:
            yield
        except SynergyError as error:
            status = status_of(error)
            outcome = AuditOutcome.REFUSED if status < 500 else AuditOutcome.FAILED
            self._settle(outcome, status, str(error), None)
            raise
        except Exception as error:
            self._settle(AuditOutcome.FAILED, 500, type(error).__name__, None)
            raise

    def begin(self, before: Callable[[], Mapping[str, object] | None]) -> None:
        """Write down what is about to be done. Raises what keeps it from being known."""
        self._before = before()
        self._number = self._host.begin_change(
            {**self._entry, "before": _bounded(_shown(self._before))}
        )

    def done(self, status: int, after: Mapping[str, object] | None) -> None:
        """Settle the change as made."""
        self._settle(AuditOutcome.DONE, status, "", after)

    def _settle(
        self, outcome: AuditOutcome, status: int, why: str, after: Mapping[str, object] | None
    ) -> None:
        made = outcome is AuditOutcome.DONE
        was, now = difference(_shown(self._before), _shown(after)) if made else ({}, {})
        settled = {
            "outcome": outcome.value, "status": status, "why": why[:_LONGEST_TEXT],
            "before": _bounded(was), "after": _bounded(now),
        }  # fmt: skip
        if self._number is None and self._refusals.wait_s(str(self._entry["user_id"])) > 0:
            return  # anyone who is refused again and again does not fill log and table
        LOG.info("%s", json.dumps({**self._entry, **settled}, sort_keys=True, default=str))
        try:
            if self._number is None:
                self._host.begin_change({**self._entry, **settled})
            else:
                self._host.settle_change(self._number, settled)
        except SynergyError as error:
            LOG.error("the outcome above is not in the database: %s", error)


def _shown(thing: Mapping[str, object] | None) -> dict[str, object]:
    return {name: value for name, value in (thing or {}).items() if name not in _LEFT_OUT}


def _bounded(value: object) -> object:
    """Return a value that its column holds."""
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if isinstance(value, Mapping) and len(json.dumps(value, default=str)) > _LONGEST:
        return {"left_out": f"longer than {_LONGEST} characters"}
    return value
