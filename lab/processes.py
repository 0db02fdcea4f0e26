"""Starts processes that outlive this one, and stops them later by their pid files."""

import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


class Processes:
    """The processes of one folder: each has a pid file in run/ and a log in log/."""

    def __init__(self, folder: Path) -> None:
        self._run, self._log = folder / "run", folder / "log"
        for made in (self._run, self._log):
            made.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """Return the processes that were started and not stopped, latest first."""
        files = sorted(self._run.glob("*.pid"), key=lambda path: path.stat().st_mtime_ns)
        return [path.stem for path in reversed(files)]

    def alive(self, name: str) -> int | None:
        """Return the process id if the process still runs; a reused id of another process is
        None."""
        path = self._run / f"{name}.pid"
        if not path.exists():
            return None
        pid, started = path.read_text().split()
        return int(pid) if _started(int(pid)) == started else None

    def start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None
    ) -> None:
        """Start a process unless it is running."""
        if self.alive(name):
            return
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        # Not subprocess.Popen, which warns about a child that outlives it.
        pid = os.posix_spawnp(
            command[0],
            list(command),
            {**os.environ, **(env or {})},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log(name)), append, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        (self._run / f"{name}.pid").write_text(f"{pid} {_started(pid)}")

    def stop(self, names: Sequence[str], *, timeout_s: float = 20.0) -> None:
        """Stop processes and their children: SIGTERM first, then SIGKILL."""
        pids = {name: pid for name in names if (pid := self.alive(name))}
        for pid in pids.values():
            _signal_group(pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while any(map(self.alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.1)
        for name, pid in pids.items():
            if self.alive(name):
                _signal_group(pid, signal.SIGKILL)
        for name in names:
            (self._run / f"{name}.pid").unlink(missing_ok=True)

    def log(self, name: str) -> Path:
        """Return the log file of a process."""
        return self._log / f"{name}.log"

    def wait_for_port(self, name: str, port: int, *, timeout_s: float = 90.0) -> None:
        """Wait until a process listens. Raises RuntimeError with the end of its log."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if not self.alive(name):
                break
            time.sleep(0.2)
        raise RuntimeError(f"{name} does not listen on port {port}:\n{self.tail(name)}")

    def tail(self, name: str, lines: int = 15) -> str:
        """Return the end of a log."""
        path = self.log(name)
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _started(pid: int) -> str | None:
    """Return a process's start time, in clock ticks; None if it does not exist or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return
