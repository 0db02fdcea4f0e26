"""Options of the command line that are made from declarations."""

import argparse

import pytest

from synergy.cli.options import add_options, given
from synergy.core.declared.fields import Argument
from synergy.core.declared.kinds import Number, OrNone

TABLE = (
    Argument(name="ttl_s", kind=Number(1, 86_400, "seconds"), help="How long."),
    Argument(name="nice", kind=Number(-10, 10), help="Some."),
    Argument(name="most", kind=OrNone(Number(0, 5), "no limit"), help="At most."),
)


def parsed(*words: str) -> dict[str, object]:
    parser = argparse.ArgumentParser()
    add_options(parser, TABLE)
    return given(parser.parse_args(words), TABLE)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("--ttl-s=24h", {"ttl_s": 86_400}),
        ("--ttl-s=90", {"ttl_s": 90}),
        ("--nice=-10", {"nice": -10}),
        ("--most=none", {"most": None}),
        ("--most=5", {"most": 5}),
    ],
)
def test_numbers_and_durations_are_read(word: str, expected: dict[str, object]) -> None:
    assert parsed(word) == expected


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--ttl-s=0", "'0' must be a whole number of seconds, 1 to 86400, or a duration such as"),
        ("--ttl-s=25h", "'25h' must be a whole number of seconds, 1 to 86400"),
        ("--ttl-s=soon", "'soon' must be a whole number of seconds"),
        ("--nice=-11", "'-11' must be a whole number, -10 to 10"),
        ("--nice=1_0", "'1_0' must be a whole number, -10 to 10"),
        ("--nice=1.5", "'1.5' must be a whole number"),
        ("--nice=" + "9" * 5000, "must be a whole number, -10 to 10"),
        ("--most=6", "'6' must be a whole number, 0 to 5, or 'none'"),
    ],
)
def test_what_is_out_of_bounds_is_refused_with_the_bounds(
    word: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parsed(word)
    assert told in capsys.readouterr().err
