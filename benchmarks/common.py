"""What every measurement says about itself."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from synergy.service.options import SERVICE_OPTIONS

ASSOCIATIONS, SHAPES = 5_000, 50
Figures = dict[str, Any]  # what a measurement found, by name, as JSON shows it


def machine() -> Figures:
    """Return what the figures were measured on."""
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def managers(*left_out: str) -> str:
    """Return the option `managers` of a service on the embedded cloud: those of every service, less
    some."""
    (option,) = (one for one in SERVICE_OPTIONS if one.name == "managers")
    return ",".join(name for name in (*option.default, "embedded") if name not in left_out)


def timed_s(work: Callable[[], Any], *, times: int) -> dict[str, float]:
    """Run `work` some times; return the median and the extremes in seconds."""
    taken = []
    for _ in range(times):
        began_s = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began_s)
    return {"median": statistics.median(taken), "min": min(taken), "max": max(taken)}


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def show(result: Figures) -> None:
    """Print a result."""
    json.dump(result | {"machine": machine()}, sys.stdout, indent=2)
    print()
