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
