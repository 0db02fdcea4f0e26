"""schemathesis against the running service: what it publishes is what it does, whatever is sent."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import BIN, Running, serving

pytestmark = pytest.mark.slow
# `starts` and `stops` would end the very managers that the other operations ask.
CONFIG = Path(__file__).with_name("schemathesis.toml")
LEFT_OUT = ("start_manager", "stop_manager", "execute_command", "metrics")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with serving(tmp_path_factory.mktemp("fuzz")) as running:
        running.cli("project", "add", "science", "--ttl-s", "3600")
        running.execute(
            "embedded", "create_server", "project=science", "user=alice", "flavor=large",
            "count=30", 'metadata={"quota": "shared"}',
        )  # fmt: skip
        yield running


def test_no_case_finds_an_error_of_the_service_or_an_answer_that_is_not_published(
    service: Running,
) -> None:
    left_out = [word for name in LEFT_OUT for word in ("--exclude-operation-id", name)]
    done = subprocess.run(
        [BIN / "schemathesis", "--config-file", CONFIG, "run", f"{service.url}/v1/openapi.json",
         "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "40", "--seed", "1",
         "--generation-database", "none", "--no-color", *left_out],
        cwd=service.folder, capture_output=True, text=True, timeout=540, check=False,
        env=os.environ | {"COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases is not None, done.stdout[-3000:]
    assert int(cases.group(1)) > 1000
    assert "ERROR synergy.api" not in service.text()
