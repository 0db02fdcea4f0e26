"""What a test does where a server or tool from Debian is not installed."""

import os
from typing import NoReturn

import pytest


def absent(program: str) -> NoReturn:
    """Skip the test; in CI, where all is installed, fail it, so that nothing is skipped unseen."""
    if os.environ.get("CI"):
        pytest.fail(f"{program} is not installed: python -m lab packages")
    pytest.skip(f"{program} is not installed: python -m lab packages")
