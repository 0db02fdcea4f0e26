"""Where the recordings are, and how to read one."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# More recordings of the same form, where there are any: a clone has a part of them only.
BESIDE = Path(os.environ.get("SLURM_RECORDINGS", HERE.parents[2] / "shared" / "slurm-golden"))


def recordings(folder: str, pattern: str = "*") -> list[Path]:
    """Return the files of a folder by name, each once; those of the project go first."""
    found: dict[str, Path] = {}
    for root in (HERE, BESIDE):
        for path in sorted((root / folder).glob(f"{pattern}.json*")):
            found.setdefault(path.name.removesuffix(".gz"), path)
    return list(found.values())


def name_of(path: Path) -> str:
    return path.name.split(".")[0]


def read(path: Path) -> dict[str, Any]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt") as file:
        recorded: dict[str, Any] = json.load(file)
    return recorded
