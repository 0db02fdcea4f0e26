"""The command line of the lab."""

import argparse
import os
import sys
import time
from collections.abc import Callable

from lab import packages
from lab.settings import read_settings
from lab.steps import Lab


def main() -> int:
    """Run a command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="A real OpenStack on loopback."
    )
    parser.add_argument(
        "command",
        choices=["up", "down", "status", "env", "packages"],
        help="What to do; packages: install the servers that tests start, where that can be done.",
    )
    command = parser.parse_args().command
    began_s = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    if command == "packages":
        return _packages(say)
    lab = Lab(read_settings(), say)
    if command == "up":
        try:
            lab.up()
        except RuntimeError as error:
            sys.stderr.write(f"lab: {error}\n")
            return 1
        say(f"OpenStack is up after {time.monotonic() - began_s:.0f} s, in {lab.settings.folder}")
    elif command == "down":
        lab.down()
        say(f"OpenStack is down; its data remain in {lab.settings.folder}")
    elif command == "status":
        states = lab.status()
        for name, pid in states.items():
            say(f"{name}\t{pid or 'died, see its log'}")
        return 0 if states and all(states.values()) else 1
    else:
        for name, value in lab.client_env().items():
            say(f"export {name}={value}")
    return 0


def _packages(say: Callable[[str], None]) -> int:
    wanted = packages.missing(packages.TESTS)
    if wanted and os.geteuid() != 0:
        say(f"Tests that need the Debian packages {' '.join(wanted)} will be skipped")
        return 0
    if wanted:
        say(f"Installing the Debian packages {' '.join(wanted)}")
    try:
        packages.install(wanted)
    except RuntimeError as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
