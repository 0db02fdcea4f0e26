"""What tests that run a command in this process need."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def no_handlers_of_other_tests() -> Iterator[None]:
    """Each call of cliff adds a log handler that writes to the standard error of that test."""
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers[:] = [one for one in before if type(one) is not logging.StreamHandler]
    yield
    root.handlers[:] = before
