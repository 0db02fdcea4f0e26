"""Liveness while strangers attack the API: how late it answers, and what it costs in memory.

A real process on the embedded cloud and SQLite, over TLS and without. The baseline is the same
question while nobody attacks. Each attack has an end in time and in count, runs in a process of its
own so that it does not slow the one that asks, and stays on the loopback address.
"""

import asyncio
import contextlib
import http.client
import multiprocessing
import random
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.common import managers, show

BIN = Path(sys.executable).parent
SEED, ATTACK_S, ASK_EVERY_S, PATIENCE_S = 7, 8.0, 0.02, 10.0
DESCRIPTORS, SLOW, IDLE, HEADER_BYTES = 512, 400, 900, 300 * 1024 * 1024
CLOUD = """
hosts:
- {name: node1, inventory: {VCPU: 32, MEMORY_MB: 131072}}
flavors:
- {name: small, vcpus: 1, memory_mb: 2048}
projects:
- {project_id: p, name: p, users: {u1: u1}}
"""
CONF = f"""
[DEFAULT]
cloud = embedded
managers = {managers()}
[database]
connection = sqlite:///synergy.sqlite
keys_file = synergy.keys
[embedded]
cloud_file = cloud.yaml
[api]
port = 0
auth_strategy = none
"""


_opened: Any = None  # how many connections the attacker opened, in shared memory


# --- the attacks ----------------------------------------------------------------------------------


async def slow_headers(port: int, rng: random.Random) -> None:
    """Slowloris: headers that arrive a byte at a time and never end."""
    await _many(SLOW, port, b"GET /healthcheck/live HTTP/1.1\r\nHost: localhost\r\nX-A: ", rng)


async def slow_bodies(port: int, rng: random.Random) -> None:
    """Bodies that arrive a byte at a time and never end."""
    head = (
        b"POST /v1/projects HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000\r\n\r\n"
    )
    await _many(SLOW, port, head, rng)


async def idle_connections(port: int, rng: random.Random) -> None:
    """More connections than the service has file descriptors, which say nothing."""
    await _many(IDLE, port, b"", rng)


async def handshakes(port: int, rng: random.Random) -> None:
    """TLS connections that never finish the handshake."""
    await _many(SLOW, port, b"", rng)


async def endless_header(port: int, rng: random.Random) -> None:
    """Headers of 300 MB, as fast as they are taken."""

    async def one() -> None:
        left = HEADER_BYTES
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
            while left > 0 and not reader.at_eof():
                writer.write(b"a" * 65_536)
                await writer.drain()
                left -= 65_536
            writer.close()

    await asyncio.gather(*(_again(one, rng) for _ in range(8)))


async def _many(count: int, port: int, first: bytes, rng: random.Random) -> None:
    async def one() -> None:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            while not reader.at_eof():
                await asyncio.sleep(rng.uniform(0.2, 0.6))
                writer.write(b"a" if first else b"")
                await writer.drain()
            writer.close()

    await asyncio.gather(*(_again(one, rng) for _ in range(count)))


async def _again(one: Callable[[], Any], rng: random.Random) -> None:
    """Whoever is cut off comes back."""
    while True:
        _opened.value += 1
        await one()
        await asyncio.sleep(rng.uniform(0.2, 0.6))


def _attack(name: str, port: int, opened: Any) -> None:
    global _opened
    _opened = opened
    _, maximum = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(maximum, 4 * IDLE), maximum))
    attack = globals()[name](port, random.Random(SEED))
    with contextlib.suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(attack, ATTACK_S))


# --- who asks meanwhile ---------------------------------------------------------------------------


@dataclass
class Seen:
    """What a caller saw who asked all the time."""

    took_ms: list[float] = field(default_factory=list)
    failed: int = 0

    def told(self) -> dict[str, Any]:
        taken = sorted(self.took_ms)
        if not taken:
            return {"asked": self.failed, "failed": self.failed}
        return {
            "asked": len(taken) + self.failed,
            "failed": self.failed,
            "p50_ms": statistics.median(taken),
            "p99_ms": taken[int(len(taken) * 0.99)],
            "max_ms": taken[-1],
        }


def asking(port: int, context: ssl.SSLContext | None, during_s: float) -> Seen:
    """Ask whether the service lives, each time on a connection of its own."""
    seen, end_s = Seen(), time.monotonic() + during_s
    while time.monotonic() < end_s:
        began_s = time.perf_counter()
        try:
            connection = (
                http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
                if context is None
                else http.client.HTTPSConnection(
                    "127.0.0.1", port, timeout=PATIENCE_S, context=context
                )
            )
            connection.request("GET", "/healthcheck/live")
            connection.getresponse().read()
            connection.close()
            seen.took_ms.append((time.perf_counter() - began_s) * 1e3)
        except (OSError, http.client.HTTPException):
            seen.failed += 1
        time.sleep(ASK_EVERY_S)
    return seen


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def measured(name: str, port: int, pid: int, context: ssl.SSLContext | None) -> dict[str, Any]:
    """Return what a caller saw, and the most memory that was used, during one attack."""
    attacker, spawning = None, multiprocessing.get_context("spawn")
    opened = spawning.Value("i")
    if name != "none":
        attacker = spawning.Process(target=_attack, args=(name, port, opened))
        attacker.start()
        time.sleep(1.5)  # a new interpreter, then the connections
    most_mb, stop = [resident_mb(pid)], threading.Event()

    def watch() -> None:
        while not stop.wait(0.1):
            most_mb.append(resident_mb(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    seen = asking(port, context, ATTACK_S - 2)
    stop.set()
    watcher.join()
    if attacker is not None:
        attacker.join(ATTACK_S + 10)
        attacker.kill()
    return seen.told() | {"resident_mb": max(most_mb), "connections_of_the_attack": opened.value}


# --- the service ----------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(folder: Path, *, tls: bool) -> Iterator[tuple[int, int, Path]]:
    """Start the service with few file descriptors; yield port, process id and log."""
    (folder / "cloud.yaml").write_text(CLOUD)
    conf = folder / "synergy.conf"
    files = certificate(folder) if tls else None
    more = f"tls_cert_file = {files[0]}\ntls_key_file = {files[1]}\n" if files else ""
    conf.write_text(CONF + more)
    for words in (("keys", "create"), ("db", "upgrade")):
        subprocess.run(
            [BIN / "synergy-manage", "--config-file", conf, *words],
            cwd=folder, check=True, capture_output=True,
        )  # fmt: skip
    log_file = folder / "service.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [BIN / "synergy-service", "--config-file", conf], cwd=folder, stdout=log, stderr=log
        )
    try:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        told = "the API listens on "
        while told not in log_file.read_text():
            if process.poll() is not None:
                raise SystemExit(log_file.read_text())
            time.sleep(0.1)
        url = log_file.read_text().partition(told)[2].split()[0]
        yield int(url.rpartition(":")[2]), process.pid, log_file
    finally:
        process.terminate()
        process.wait(30)


def certificate(folder: Path) -> tuple[Path, Path]:
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


def main() -> None:
    found: dict[str, Any] = {}
    for tls, attacks in (
        (False, ("none", "slow_headers", "slow_bodies", "endless_header", "idle_connections")),
        (True, ("none", "handshakes", "idle_connections")),
    ):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            with serving(folder, tls=tls) as (port, pid, log):
                context = ssl.create_default_context(cafile=folder / "cert.pem") if tls else None
                rows = {name: measured(name, port, pid, context) for name in attacks}
                lines = len(log.read_text().splitlines())
        quiet = rows["none"]
        for row in rows.values():
            if "p99_ms" in row and "p99_ms" in quiet:
                row["ratio_of_p99"] = row["p99_ms"] / quiet["p99_ms"]
        found["https" if tls else "http"] = rows | {"log_lines": lines}
    show({
        "benchmark": "frontdoor",
        "baseline": "the same question while nobody attacks (none)",
        "seed": SEED,
        "attack_s": ATTACK_S,
        "descriptors_of_the_service": DESCRIPTORS,
        **found,
    })  # fmt: skip


if __name__ == "__main__":
    main()
