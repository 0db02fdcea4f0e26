"""The command line of the lab."""

import argparse
import sys
import time

from lab.settings import read_settings
from lab.steps import Lab


def main() -> int:
    """Run a command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="A real OpenStack on loopback."
    )
    parser.add_argument("command", choices=["up", "down", "status", "env"], help="What to do.")
    command = parser.parse_args().command
    began_s = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

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


if __name__ == "__main__":
    sys.exit(main())
