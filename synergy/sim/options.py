"""The options that commands of the simulator share.

Must not know what a command does with them, and imports nothing of the simulator, which takes long.
"""

import argparse
from functools import partial
from typing import Any, Final

from synergy.core.discipline import Discipline
from synergy.core.numbers import integer, number

POLICIES: Final = tuple(one.value for one in Discipline)


def add_format(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of whatever simulates."""
    parser.add_argument(
        "-f",
        "--format",
        choices=["table", "json"],
        default="table",
        help="How to print the result (default: table). Progress goes to standard error.",
    )
    parser.add_argument(
        "--seed",
        type=partial(integer, what="--seed", lowest=0, highest=2**53 - 1),
        default=None,
        metavar="N",
        help="Makes the run repeatable (default: 1, or that of the scenario).",
    )


def add_file(parser: argparse.ArgumentParser, **how: Any) -> None:
    """Declare the log."""
    parser.add_argument(
        "file",
        metavar="FILE",
        help='The log, plain or gzip: a file, a pipe, or standard input for "-".',
        **how,
    )


def add_vcpus(parser: argparse.ArgumentParser, help_text: str, *, required: bool = False) -> None:
    """Declare the size of the pool."""
    parser.add_argument(
        "--vcpus",
        type=partial(integer, what="--vcpus", lowest=1, highest=2**31 - 1),
        required=required,
        metavar="N",
        help=help_text,
    )


def add_policy(to: argparse._ActionsContainer) -> None:
    """Declare the policy."""
    to.add_argument(
        "--policy",
        choices=list(POLICIES),
        default=Discipline.EASY.value,
        help="How to schedule past a request that does not fit (default: easy).",
    )


def add_replay(parser: argparse.ArgumentParser) -> None:
    """Declare how any command replays a log."""
    parser.add_argument(
        "--order",
        choices=["submit", "multifactor"],
        default="multifactor",
        help="Order of the queue (default: multifactor).",
    )
    parser.add_argument(
        "--boot-s",
        type=partial(number, what="--boot-s", lowest=0, highest=86_400),
        default=0.0,
        metavar="SECONDS",
        help="Seconds from dispatch until a server runs (default: 0; at most a day).",
    )
    parser.add_argument(
        "--skip-bad-lines",
        action="store_true",
        help="Skip invalid lines and count them by error, instead of stopping.",
    )
