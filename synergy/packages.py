"""What of Synergy is installed: its version, and which extra brings a package that is missing.

Why: the package alone is the client; the service needs the extra `service`, and a report with plots
needs `plots`. A user who lacks one should read that, not a traceback. Must not import anything
large.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as of_package
from typing import Final

_EXTRAS: Final = {"matplotlib": "plots"}  # every other package belongs to `service`


def version() -> str:
    """Return the version, "unknown" for a source tree that was never installed."""
    try:
        return of_package("synergy")
    except PackageNotFoundError:
        return "unknown"


def missing_package(error: ImportError) -> str:
    """Say which package is missing and how to install it; the error names a module of it."""
    package = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(package, "service")
    return f"the Python package {package!r} is not installed: pip install 'synergy[{extra}]'"
