"""Debian's packages of the servers and tools that are tested for real.

Why: a test whose server is missing is skipped, and what is skipped unseen is not checked. So
`make test` and the lab install what is missing. Must not know what is done with them.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

RABBIT: Final = Path("/usr/lib/rabbitmq/bin")
POSTGRESQL: Final = Path("/usr/lib/postgresql")  # below it a folder for each version
LAB: Final = ("mariadb-server-core", "mariadb-client-core", "rabbitmq-server")
TESTS: Final = (*LAB, "postgresql", "systemd")
# A program of each package; Debian keeps some where no search finds them.
_PROGRAM: Final = {
    "mariadb-server-core": "mariadbd",
    "mariadb-client-core": "mariadb",
    "rabbitmq-server": "rabbitmq-server",
    "postgresql": "initdb",
    "systemd": "systemd-analyze",
}
_NO_SERVICES: Final = Path("/usr/sbin/policy-rc.d")  # asked by Debian before it starts a service


def search_path() -> str:
    """Return where programs are, those for administrators included."""
    folders = [RABBIT, *sorted(POSTGRESQL.glob("*/bin"))]
    usual = "/usr/sbin:/usr/bin:/sbin:/bin"
    return os.pathsep.join([os.environ.get("PATH", ""), usual, *map(str, folders)])


def missing(packages: Sequence[str]) -> list[str]:
    """Return the packages whose program is not installed."""
    path = search_path()
    return [one for one in packages if shutil.which(_PROGRAM[one], path=path) is None]


def install(packages: Sequence[str]) -> list[str]:
    """Install those that are missing, and return them; no service is started.

    Raises RuntimeError where that cannot be done, with the command that failed.
    """
    wanted = missing(packages)
    if not wanted:
        return []
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise RuntimeError(f"install the Debian packages {' '.join(wanted)}, or run as root")
    with _no_services():
        _apt("update")
        _apt("install", "-y", "--no-install-recommends", *wanted)
    return wanted


@contextmanager
def _no_services() -> Iterator[None]:
    if _NO_SERVICES.exists():
        yield
        return
    _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
    _NO_SERVICES.chmod(0o755)
    try:
        yield
    finally:
        _NO_SERVICES.unlink()


def _apt(*words: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *words],
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"`apt-get {' '.join(words)}` failed:\n{done.stdout[-2000:]}")
