"""Shared by all commands: the client, common arguments, and the watch mode."""

import argparse
import signal
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

from cliff import lister, show

from synergy.cli.render import EscapingFormatter
from synergy.client import ApiError, Client

CLEAR_SCREEN: Final = "\x1b[2J\x1b[H"
POLL_S: Final = 0.1  # how often to check for Ctrl-C


def client_of(command: Any) -> Client:
    """Return the client of the application that a cliff command belongs to."""
    return cast(Client, command.app.client_manager.synergy)


def project_id_of(client: Client, name_or_id: str | None) -> str | None:
    """Return the id of a managed project, None for None."""
    return None if name_or_id is None else client.projects.show(name_or_id)["id"]


def user_id_of(client: Client, project: str | None, name_or_id: str | None) -> str | None:
    """Return the id of a user of a managed project, or of any that may be seen; None stays None.

    Raises ApiError for a user of none of them: an empty list would hide a misspelt name.
    """
    if name_or_id is None:
        return None
    projects = [project] if project else [one["id"] for one in client.projects.list()]
    users = [user for one in projects for user in client.projects.users(one)]
    found = {user["user_id"] for user in users if name_or_id in (user["user_id"], user["name"])}
    if len(found) > 1:
        raise ApiError(f"user name {name_or_id!r} is not unique: give one of {sorted(found)}")
    if not found:
        raise ApiError(f"user {name_or_id!r} is of no managed project that you may see")
    return found.pop()


def add_project(parser: argparse.ArgumentParser) -> None:
    """Add --project."""
    parser.add_argument("--project", metavar="PROJECT", help="Only this project; a name or an id.")


def add_limit(parser: argparse.ArgumentParser, what: str, *, usual: int | None = 100) -> None:
    """Add --limit; `usual` is how many are listed without it, None for all."""
    parser.add_argument(
        "--limit",
        type=positive,
        default=usual,
        metavar="N",
        help=f"Maximum number of {what} to list (default: {usual or 'all'}); 'all' lists all.",
    )


def positive(text: str) -> int | None:
    """Parse a count, or `all`. Raises ArgumentTypeError."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 1, or 'all'")
    return int(text)


class Lister(lister.Lister):
    """A list whose cells are escaped for what displays them."""

    def produce_output(
        self,
        parsed_args: argparse.Namespace,
        column_names: Sequence[str],
        data: Iterable[Sequence[object]],
    ) -> int:
        self.formatter = cast(Any, EscapingFormatter(self.formatter, parsed_args.formatter))
        return int(super().produce_output(parsed_args, column_names, data))


class ShowOne(show.ShowOne):
    """One object, escaped for what displays it."""

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[object]
    ) -> int:
        self.formatter = cast(Any, EscapingFormatter(self.formatter, parsed_args.formatter))
        return int(super().produce_output(parsed_args, column_names, data))


class WatchedLister(Lister):
    """A list that --watch repeats."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--watch",
            type=_seconds,
            nargs="?",
            const=5.0,
            metavar="SECONDS",
            help="Repeat the list every SECONDS seconds (default: 5) until Ctrl-C.",
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.watch is None:
            return int(super().run(parsed_args))
        with _Interrupt() as interrupt:
            while not interrupt.requested:
                if self.app.stdout.isatty():
                    self.app.stdout.write(CLEAR_SCREEN)
                super().run(parsed_args)
                self.app.stdout.flush()
                interrupt.wait(parsed_args.watch)
        return 0


class _Interrupt:
    """Ctrl-C as a flag. As an exception it could be lost, or be reported as an error, when it
    arrives while a library cleans up. A second Ctrl-C is an exception, for when no answer comes."""

    def __enter__(self) -> "_Interrupt":
        self.requested = False
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until Ctrl-C."""
        until_s = time.monotonic() + seconds
        while not self.requested and (left_s := until_s - time.monotonic()) > 0:
            time.sleep(min(left_s, POLL_S))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds") from error
    if not 0.1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} must be from 0.1 to 86400 seconds")
    return seconds
