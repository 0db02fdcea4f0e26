"""Every option of every command can be reached, through `main` and beside the global options."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from synergy.cli.commands import Commands
from synergy.cli.main import SynergyApp, main

NOWHERE = "http://127.0.0.1:9"  # the discard service: nobody answers there
COMMANDS = sorted(name for name, _ in Commands())
LOCAL = (
    "demo",
    "simulate",
    "forecast replay",
    "fairshare compute",
    "priority compute",
)  # ask no service
OF_EVERYBODY = {"-h", "--help"}
BY_METAVAR = {
    "KEY=VALUE": "a=b",
    "POLICY,POLICY...": "fifo,easy",
    "PROJECT=N": "p=1",
    "PROJECT=CLASS=N,...": "p=VCPU=1",
    "NAME=VALUE": "discipline=fifo",
    "CLASS=N,...": "VCPU=1",
    "PROJECT:FLAVOR[:COUNT]": "p:large:1",
}
CANDIDATES = ("1", "VCPU=1", "a=b", "x")


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """cliff gives the root logger a handler each time it runs."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def parser_of(name: str) -> tuple[SynergyApp, argparse.ArgumentParser]:
    app = SynergyApp()
    factory, _, _ = app.command_manager.find_command(name.split())
    return app, factory(app, None).get_parser(f"synergy {name}")


def value_of(action: argparse.Action) -> list[str]:
    """Return a value that an option takes."""
    if action.choices:
        return [str(next(iter(action.choices)))]
    if action.nargs == 0:
        return []
    if action.metavar in BY_METAVAR:
        return [BY_METAVAR[action.metavar]]
    for text in CANDIDATES:
        try:
            _ = action.type(text) if callable(action.type) else text
        except (argparse.ArgumentTypeError, ValueError, TypeError):
            continue
        return [text]
    raise AssertionError(f"no value for {action.option_strings}")


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [one for one in parser._actions if one.option_strings and one.dest != "help"]


def positionals_of(parser: argparse.ArgumentParser) -> list[str]:
    found = [one for one in parser._actions if not one.option_strings]
    return [value_of(one)[0] for one in found if one.nargs not in ("*", "?")]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_is_taken_by_a_global_one(name: str) -> None:
    app, parser = parser_of(name)
    of_all = {text for one in app.parser._actions for text in one.option_strings}
    for action in options_of(parser):
        assert not (set(action.option_strings) - OF_EVERYBODY) & of_all, action.option_strings
        for text in action.option_strings:
            argv = [*name.split(), text, *value_of(action), *positionals_of(parser)]
            _, left = app.parser.parse_known_args(argv)
            assert left == argv  # everything arrives at the command


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of osc-lib itself
@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_the_plugin_is_taken_by_an_option_of_openstack(name: str) -> None:
    from openstackclient.shell import OpenStackShell

    shell = OpenStackShell()
    _, parser = parser_of(name)
    of_all = {text for one in shell.parser._actions for text in one.option_strings}
    for action in options_of(parser):
        assert not (set(action.option_strings) - OF_EVERYBODY) & of_all, action.option_strings


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in LOCAL])
def test_all_options_of_a_command_together_arrive_through_main(
    name: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # a command that reads a file reads one named as the value is
    (tmp_path / "1").write_text("[scheduler]\nweight_age = 1\n")
    _, parser = parser_of(name)
    others = [a for group in parser._mutually_exclusive_groups for a in group._group_actions[1:]]
    given = [
        part
        for action in options_of(parser)
        if action not in others
        for part in (max(action.option_strings, key=len), *value_of(action))
    ]
    code = main(["--endpoint", NOWHERE, *name.split(), *positionals_of(parser), *given])
    said = capsys.readouterr().err
    assert code == 1
    assert "does not answer" in said
    assert "Traceback" not in said


def test_an_end_is_no_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    report = ["usage", "report", "--end", "2026-01-31T12:00:00Z"]
    assert main(["--endpoint", NOWHERE, *report]) == 1
    said = capsys.readouterr().err
    assert "ambiguous" not in said
    assert "does not answer" in said
