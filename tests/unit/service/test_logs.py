"""What the log shows of what strangers send, and how often."""

import io
import logging
from collections.abc import Callable
from logging import Logger
from typing import Any

import pytest
from oslo_config import cfg
from oslo_log import log

from synergy.service.logs import PROJECT, PlainFormatter, RateLimitFilter


@pytest.fixture
def logged() -> tuple[Logger, Any]:
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    conf([], project=PROJECT, default_config_files=[], default_config_dirs=[])
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(PlainFormatter(project=PROJECT, version="1", config=conf))
    logger = logging.Logger("tests")  # noqa: LOG001 - one that no other test has
    logger.addHandler(handler)
    return logger, written


NASTY = "a\nERROR forged\r\x1b[31mred\x1b[0m\x00\x85\u2028\u202egnp\ud800"


@pytest.mark.parametrize("say", [lambda log: log.error("%s", NASTY), lambda log: log.error(NASTY)])
def test_a_record_is_one_line_and_says_nothing_to_a_terminal(
    logged: tuple[Logger, Any], say: Callable[..., Any]
) -> None:
    logger, written = logged
    say(logger)
    text = written.getvalue()
    assert text.count("\n") == 1
    assert len(text.splitlines()) == 1
    assert r"a\nERROR forged\r\x1b[31mred\x1b[0m\x00\x85\u2028\u202egnp\ud800" in text


def test_a_traceback_keeps_its_lines_and_each_says_what_it_is(logged: tuple[Logger, Any]) -> None:
    logger, written = logged
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("failed for %s", NASTY)
    head, *trace = written.getvalue().splitlines()
    assert r"failed for a\nERROR forged" in head
    assert len(trace) > 3
    assert all(" ERROR tests " in line for line in trace)
    assert not {"\x1b", "\r", "\u202e"} & set(written.getvalue())


def test_other_handlers_get_the_record_as_it_was(logged: tuple[Logger, Any]) -> None:
    logger, _ = logged
    kept: list[logging.LogRecord] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            kept.append(record)

    logger.addHandler(Keeping())
    logger.error("%s\n", "x")
    assert (kept[0].msg, kept[0].args) == ("%s\n", ("x",))


def test_what_strangers_cause_is_counted_instead_of_repeated() -> None:
    once = RateLimitFilter(3, 3600.0)
    records = [logging.makeLogRecord({"msg": f"{n}"}) for n in range(100)]
    assert sum(once.filter(record) for record in records) == 3
    again = RateLimitFilter(1, 0.0)
    assert again.filter(records[0])
    often = RateLimitFilter(1, 3600.0)
    assert [often.filter(record) for record in records[:3]] == [True, False, False]
    often._since_s -= 3600.0
    assert often.filter(records[3])
    assert records[3].getMessage() == "3 (2 more such lines were dropped before)"
