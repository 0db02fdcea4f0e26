"""Finds the migrations: beside the package in a source tree, under share/ once installed."""

import sysconfig
from pathlib import Path

from synergy.core.errors import ConfigurationInvalid


def migrations_folder() -> Path:
    """Return the folder with `env.py` and `versions/`. Raises ConfigurationInvalid."""
    beside = Path(__file__).resolve().parents[2] / "alembic"
    installed = Path(sysconfig.get_path("data")) / "share" / "synergy" / "alembic"
    for folder in (beside, installed):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationInvalid(
        [f"the migrations are neither in {beside} nor in {installed}: install Synergy again"]
    )


def revisions() -> list[str]:
    """Return the revisions of the tables, oldest first: each is the number its file begins with.

    Raises ConfigurationInvalid.
    """
    found = (migrations_folder() / "versions").glob("[0-9]*_*.py")
    return sorted(path.name.partition("_")[0] for path in found)
