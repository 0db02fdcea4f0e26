"""Runs a command so that Ctrl-C, or a closed pipe at its output, ends it quietly.

Why: the console scripts name this module, which imports next to nothing, so that Ctrl-C is caught
even while all other modules are being imported. Must not know what the commands do.
"""

import gc
import os
import signal
import sys
from importlib import import_module
from typing import Any

_BY_SIGNAL = 128  # a shell's exit code of a command ended by a signal is this plus the signal


def synergy() -> int:
    """Run `synergy`."""
    return run("synergy", "synergy.cli.main")


def service() -> int:
    """Run `synergy-service`."""
    return run("synergy-service", "synergy.service.main")


def manage() -> int:
    """Run `synergy-manage`."""
    return run("synergy-manage", "synergy.service.manage")


def status() -> int:
    """Run `synergy-status`."""
    return run("synergy-status", "synergy.service.status")


def run(name: str, module: str) -> int:
    """Call `main` of a module, and return the exit code."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # the caller closed it
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    try:
        if sys.argv[1:] == ["--version"]:  # before anything large is imported
            from synergy.packages import version

            sys.stdout.write(f"{name} {version()}\n")
            code = 0
        else:
            code = _code_of(module)
        sys.stdout.flush()  # here, where an error can still be reported
    except KeyboardInterrupt:
        return _BY_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        _write_nowhere()
        return _BY_SIGNAL + signal.SIGPIPE
    except ModuleNotFoundError as error:
        if (error.name or "synergy").partition(".")[0] == "synergy":
            raise
        from synergy.packages import missing_package

        sys.stderr.write(f"{name}: {missing_package(error)}\n")
        return 1
    except OSError as error:
        _write_nowhere()
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return code


def _code_of(module: str) -> int:
    try:
        code = _imported(module).main()
    except SystemExit as leaving:
        code = leaving.code
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        return 1
    return int(code or 0)


def _imported(module: str) -> Any:
    """Import a module and all that it needs. None of that is garbage, and the collector would look
    at all of it again and again: a seventh of the time until the service starts."""
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.enable()


def _write_nowhere() -> None:
    """Redirect standard output, so that Python's flush at exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
