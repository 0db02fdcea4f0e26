"""What is installed is enough and no more: the wheel, a client, and a service."""

import configparser
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, cwd: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def scripts() -> list[str]:
    """Return the names of the console scripts."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg")
    lines = declared["entry_points"]["console_scripts"].strip().splitlines()
    return [line.partition(" = ")[0] for line in lines]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (built,) = folder.glob("synergy-*.whl")
    return built


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


@pytest.mark.slow
def test_the_wheel_has_the_package_its_migrations_its_samples_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tracked = run("git", "ls-files", cwd=ROOT).splitlines()
    wanted = {path for path in tracked if path.startswith("synergy/")}
    (data,) = {name.partition("/")[0] for name in names if ".data/" in name}
    share = f"{data}/data/share/synergy"
    wanted |= {f"{share}/{path}" for path in tracked if re.match(r"alembic/(env|versions/)", path)}
    wanted |= {
        f"{share}/etc/{path.removeprefix('etc/synergy/')}"
        for path in tracked
        if path.startswith("etc/synergy/")
    }
    found = {name for name in names if ".dist-info/" not in name and not name.endswith("/")}
    assert found == wanted
    assert "synergy/py.typed" in found  # others may check against it


@pytest.mark.slow
def test_a_client_has_no_service_and_says_what_to_install(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "client")
    binaries = tmp_path / "client" / "bin"
    bare = megabytes(tmp_path / "client")
    run(binaries / "pip", "install", "--quiet", "-c", ROOT / "upper-constraints.txt", wheel)
    installed = run(binaries / "pip", "freeze").lower()
    assert megabytes(tmp_path / "client") - bare < 120
    for package in ("numpy", "matplotlib", "sqlalchemy", "oslo.config", "flask", "kombu"):
        assert f"{package}==" not in installed
    assert "request list" in run(binaries / "synergy", "--help")
    for script in scripts():
        assert script in run(binaries / script, "--version")
        if script != "synergy":
            refused = subprocess.run(
                [binaries / script, "--help"], capture_output=True, text=True, check=False
            )
            assert refused.returncode == 1
            (line,) = refused.stderr.splitlines()
            assert "pip install 'synergy[service]'" in line


@pytest.mark.slow
def test_a_wheel_in_an_empty_environment_runs_every_console_script(
    wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    binaries = tmp_path / "empty" / "bin"
    pip: list[str | Path] = [
        binaries / "pip", "install", "--quiet", "-c", ROOT / "upper-constraints.txt",
    ]  # fmt: skip
    run(*pip, f"{wheel}[service]")
    assert "matplotlib==" not in run(binaries / "pip", "freeze").lower()
    conf = tmp_path / "synergy.conf"
    conf.write_text(
        "[database]\nconnection = sqlite:///s.sqlite\nkeys_file = s.keys\n"
        "[api]\nauth_strategy = none\n"
    )
    for script in scripts():
        run(binaries / script, "--help", cwd=tmp_path)
    manage: list[str | Path] = [binaries / "synergy-manage", "--config-file", conf]
    run(*manage, "keys", "create", cwd=tmp_path)
    head = max(path.name[:4] for path in (ROOT / "alembic" / "versions").glob("[0-9]*.py"))
    assert head in run(*manage, "db", "upgrade", cwd=tmp_path)
    assert "as this Synergy needs" in run(*manage, "db", "check", cwd=tmp_path)
    run(binaries / "synergy-status", "--config-file", conf, "upgrade", "check", cwd=tmp_path)
    demo: list[str | Path] = [binaries / "synergy", "demo", "--hours", "0.2"]
    refused = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "pip install 'synergy[plots]'" in refused.stderr
    run(*pip, f"{wheel}[service,plots]")
    run(*demo, cwd=tmp_path)
