"""The service's log: one line per record, without control characters, and limited in rate.

Why: names and answers from outside reach the log. They must not forge log lines or send control
sequences to a terminal, and messages that anybody can cause at will are counted instead of
repeated. Must not know who logs.
"""

import copy
import logging
import threading
import time
from typing import Final

from oslo_config import cfg
from oslo_log import log
from oslo_log.formatters import ContextFormatter

from synergy.client.plain import plain, plain_lines

PROJECT: Final = "synergy"
# Bytes on the wire cause their messages: anybody could cause any number of lines.
UNTRUSTED_LOGGERS: Final = ("uvicorn.error", "asyncio", "keystonemiddleware.auth_token")
BURST, PER_S = 10, 60.0


class PlainFormatter(ContextFormatter):
    """oslo.log's format, with line breaks and control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record, and the lines of its traceback."""
        kept = copy.copy(record)  # other handlers must get the record unchanged
        kept.msg, kept.args, kept.exc_text = plain(record.getMessage()), None, None
        text = str(super().format(kept))
        trace = str(vars(kept)["exc_text"] or "")
        if not trace:
            return plain(text)
        return f"{plain(text.removesuffix(trace).rstrip())}\n{plain_lines(trace)}"


class RateLimitFilter(logging.Filter):
    """Limits the rate of a logger's records, and adds how many were dropped to the next one."""

    def __init__(self, burst: int, per_s: float) -> None:
        super().__init__()
        self._burst, self._per_s = burst, per_s
        self._lock = threading.Lock()
        self._since_s, self._passed, self._dropped = float("-inf"), 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        with self._lock:
            now_s, dropped = time.monotonic(), 0
            if now_s >= self._since_s + self._per_s:
                dropped, self._dropped = self._dropped, 0
                self._since_s, self._passed = now_s, 0
            self._passed += 1
            if self._passed > self._burst:
                self._dropped += 1
                return False
        if dropped:
            record.msg = f"{record.getMessage()} ({dropped} more such lines were dropped before)"
            record.args = None
        return True


def set_up(conf: cfg.ConfigOpts) -> None:
    """Configure logging from [DEFAULT]."""
    quiet = ["alembic=WARN", "uvicorn=WARN", "oslo_config=ERROR"]  # `reload` logs what changed
    log.set_defaults(default_log_levels=[*log.get_default_log_levels(), *quiet])
    log.setup(conf, PROJECT)
    for handler in logging.getLogger().handlers:
        found: object = handler.formatter
        if type(found) is ContextFormatter:
            handler.setFormatter(
                PlainFormatter(
                    project=PROJECT, version=found.version, datefmt=found.datefmt, config=conf
                )
            )
    for name in UNTRUSTED_LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, RateLimitFilter) for one in logger.filters):
            logger.addFilter(RateLimitFilter(BURST, PER_S))
