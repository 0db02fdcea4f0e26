"""What is installed is enough: a wheel in an empty environment runs every console script."""

import configparser
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, cwd=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_runs_every_console_script(tmp_path):
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT)
    (wheel,) = (tmp_path / "dist").glob("synergy-*.whl")
    assert "synergy/py.typed" in zipfile.ZipFile(wheel).namelist()  # others may check against it
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    binaries = tmp_path / "empty" / "bin"
    run(binaries / "pip", "install", "--quiet", wheel)
    conf = tmp_path / "synergy.conf"
    conf.write_text("[database]\nconnection = sqlite:///s.sqlite\nkeys_file = s.keys\n")
    scripts = configparser.ConfigParser()
    scripts.read(ROOT / "setup.cfg")
    for line in scripts["entry_points"]["console_scripts"].split():
        if line.startswith("synergy") and "." not in line:
            run(binaries / line, "--help", cwd=tmp_path)
    manage = [binaries / "synergy-manage", "--config-file", conf]
    run(*manage, "keys", "create", cwd=tmp_path)
    head = max(path.name[:4] for path in (ROOT / "alembic" / "versions").glob("[0-9]*.py"))
    assert head in run(*manage, "db", "upgrade", cwd=tmp_path)
    assert "as this Synergy needs" in run(*manage, "db", "check", cwd=tmp_path)
    run(binaries / "synergy", "demo", "--hours", "0.2", cwd=tmp_path)
