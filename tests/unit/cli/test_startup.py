"""What a command imports, and so how soon it starts; and that nothing is missed for it."""

import argparse
import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from openstack.config import OpenStackConfig

from synergy.cli.auth_options import add_auth_options
from synergy.cli.commands import Commands, NotInstalled
from synergy.cli.main import SynergyApp, main

HEAVY = {
    "openstack", "keystoneauth1", "requests", "numpy", "matplotlib", "sqlalchemy", "rich",
    "oslo_config", "oslo_log", "flask", "kombu", "orjson", "yaml",
}  # fmt: skip
ROOT = Path(__file__).parents[3]


def started(code: str, **environment: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that knows no cloud, and return what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


def imported_by(*argv: str, **environment: Any) -> tuple[set[str], str]:
    """Return the packages that a command line imports, and what it prints before."""
    code = (
        "import sys, json\nfrom synergy.cli.main import main\n"
        f"try:\n    main({list(argv)!r})\nexcept SystemExit:\n    pass\n"  # so does help end
        "print('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = started(code, **environment)
    shown, _, packages = done.stdout.rstrip().rpartition("\n")
    return set(json.loads(packages)), shown


@pytest.mark.parametrize("argv", [("--help",), ("-h",)])
def test_help_imports_nothing_large_and_shows_every_command(argv: tuple[str]) -> None:
    packages, shown = imported_by(*argv)
    assert packages & HEAVY == set()
    for name, entry in Commands():
        summary = (entry.load().__doc__ or "").strip().partition("\n")[0].rstrip(".")
        assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.MULTILINE), name


def test_help_is_the_same_beside_the_environment_of_a_cloud() -> None:
    packages, shown = imported_by("--help", OS_CLOUD="devstack", OS_AUTH_URL="http://127.0.0.1:9")
    assert packages & HEAVY == set()
    assert "--os-auth-url" in shown


def test_a_command_without_a_cloud_does_without_openstacksdk_and_the_service() -> None:
    packages, _ = imported_by("--endpoint", "http://127.0.0.1:9", "quota", "show")
    assert "requests" in packages  # it really asked
    assert packages & (HEAVY - {"requests", "keystoneauth1"}) == set()


def test_the_modules_of_a_client_never_import_what_only_the_service_has() -> None:
    found = {entry.value.partition(":")[0] for _, entry in Commands()}
    modules = sorted(name for name in found if name.startswith("synergy.cli."))
    done = started(
        "import sys, json\n"
        + "".join(f"import {name}\n" for name in [*modules, "synergy.cli.plugin", "synergy.client"])
        + "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    assert len(modules) > 5
    assert set(json.loads(done.stdout)) & (HEAVY - {"requests", "keystoneauth1"}) == set()


def test_the_declared_options_are_those_of_openstacksdk() -> None:
    ours, theirs = (argparse.ArgumentParser(add_help=False) for _ in range(2))
    add_auth_options(ours)
    OpenStackConfig(load_yaml_config=False, load_envvars=False).register_argparse_arguments(
        theirs, []
    )

    def table(parser: ArgumentParser) -> list[tuple[Any, ...]]:
        return sorted(
            (tuple(one.option_strings), one.dest, one.default, one.nargs, one.choices)
            for one in parser._actions
        )

    assert table(ours) == table(theirs)


def test_a_cloud_is_named_by_an_option_or_by_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    assert "--os-application_credential_id" not in _flags([])
    named = ["--os-auth-type", "v3applicationcredential"]
    assert "--os-application_credential_id" in _flags(named)
    assert "--os-application_credential_id" in _flags(["--os_auth_type", named[1]])
    monkeypatch.setenv("OS_AUTH_TYPE", named[1])
    assert "--os-application_credential_id" in _flags([])


def _flags(argv: list[str]) -> set[str]:
    return {flag for one in SynergyApp(argv).parser._actions for flag in one.option_strings}


def test_an_unknown_authentication_type_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--os-auth-type", "password-of-paper", "quota", "show"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "password-of-paper" in line


@pytest.mark.parametrize(
    ("command", "package", "extra"),
    [
        ("fairshare compute", "numpy", "service"),
        ("demo", "rich", "service"),
        ("simulate", "numpy", "service"),
    ],
)
def test_a_command_that_a_client_cannot_run_says_what_to_install(
    tmp_path: Path, command: str, package: str, extra: str
) -> None:
    """As where the package was never installed: a module of that name that is not found."""
    (tmp_path / f"{package}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name={package!r})"
    )
    done = started(
        f"import sys\nfrom synergy.cli.main import main\nsys.exit(main({command.split()!r}))",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert f"{package!r}" in line
    assert f"synergy[{extra}]" in line


def test_an_unknown_command_is_not_taken_for_a_missing_package() -> None:
    with pytest.raises(ValueError, match="Unknown command"):
        Commands().find_command(["quota", "tell"])
    assert not issubclass(NotInstalled, ValueError)
