"""Whatever happens to its streams, or on Ctrl-C, a command ends without a traceback."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

COMMANDS = ["synergy", "manage", "service", "status"]


def started(command: str, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
    code = f"import sys; from synergy.entry import {command}; sys.exit({command}())"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True, **streams
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_goes_away_ends_it_quietly(command: str) -> None:
    process = started(command, "--help", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert said == ""
    assert process.returncode in (0, 141)  # the help of cliff counts as shown


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_full_disk_is_one_sentence(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = started(command, "--help", stdout=full)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    (line,) = said.splitlines()
    assert "No space left on device" in line


def test_an_interrupt_while_modules_are_loaded_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    code = "import sys; from synergy.entry import run; sys.exit(run('x', 'interrupted'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "")


def test_a_closed_output_is_nothing_to_fail_over() -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$0" -c "$1" --help >&-', sys.executable,
         "import sys; from synergy.entry import synergy; sys.exit(synergy())"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_loaded_before_an_interrupt_is_caught_is_next_to_nothing() -> None:
    code = "import sys, synergy.entry; print([m for m in sys.modules if m.startswith('synergy')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['synergy', 'synergy.entry']"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_says_its_version_without_importing_what_it_runs(command: str) -> None:
    code = (
        f"import sys; from synergy.entry import {command}; code = {command}(); "
        "assert not {'oslo_config', 'cliff', 'numpy'} & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    name = "synergy" if command == "synergy" else f"synergy-{command}"
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{name} {metadata.version('synergy')}\n"


@pytest.mark.parametrize(
    ("package", "extra"), [("oslo_config", "service"), ("matplotlib.pyplot", "plots")]
)
def test_a_package_that_is_not_installed_is_one_line_that_names_its_extra(
    tmp_path: Path, package: str, extra: str
) -> None:
    (tmp_path / "lacking.py").write_text(f"raise ModuleNotFoundError('no', name={package!r})")
    code = "import sys; from synergy.entry import run; sys.exit(run('synergy-x', 'lacking'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    said = f"the Python package '{package.partition('.')[0]}' is not installed"
    assert done.returncode == 1
    assert done.stderr == f"synergy-x: {said}: pip install 'synergy[{extra}]'\n"


def test_a_module_of_our_own_that_is_missing_is_a_fault_and_keeps_its_traceback() -> None:
    code = "import sys; from synergy.entry import run; sys.exit(run('x', 'synergy.nowhere'))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
