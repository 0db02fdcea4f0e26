"""What commands print: names come from users, and nothing of them is obeyed."""

import csv
import io
import json
import subprocess
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cliff import lister, show
from requests import Response

from synergy.cli.command import Lister, ShowOne
from synergy.cli.commands import Commands
from synergy.cli.render import Pairs, Table, pairs, rows, with_quota
from synergy.client.api import _error_of
from synergy.client.plain import csv_cell, plain

ESC = "\x1b[2J\x1b]0;owned\x07"
NASTY = f"{ESC}a\r\nb\u202egnp\x9b31m"
FORMULAS = [
    "=1+1",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    " =1",
    "=cmd|' /C calc'!A0",
    "|x",
    "%x",
]


def printed(
    found: Table | Pairs,
    form: str,
    kind: Any = Lister,  # or ShowOne: a base class that is chosen
) -> str:
    """Return what a command prints in a form."""

    class Made(kind):  # type: ignore[misc] # the base class is chosen
        """A command."""

        def take_action(self, parsed_args: Namespace) -> Table | Pairs:
            return found

    app = SimpleNamespace(stdout=io.StringIO())
    command = Made(app, None)
    command.run(command.get_parser("x").parse_args(["-f", form]))
    text: str = app.stdout.getvalue()
    return text


@pytest.mark.parametrize("name", FORMULAS)
def test_a_spreadsheet_takes_no_name_for_a_formula(name: str) -> None:
    text = printed(rows([{"name": name, "nice": -5}], ("name", "nice")), "csv")
    _, (cell, nice) = csv.reader(io.StringIO(text))
    assert cell[0] in "'\\"  # taken as text, or no longer a control character
    assert nice == "-5"  # a number stays one


def test_ordinary_cells_stay_as_they_are() -> None:
    text = printed(
        rows([{"name": "web-1", "host": None, "vcpus": 4}], ("name", "host", "vcpus")), "csv"
    )
    assert list(csv.reader(io.StringIO(text)))[1] == ["web-1", "", "4"]


@pytest.mark.parametrize(
    ("form", "kind"),
    [("csv", Lister)]  # cliff has it for lists only
    + [(form, kind) for form in ("table", "value", "json", "yaml") for kind in (Lister, ShowOne)],
)
def test_no_form_of_output_speaks_to_a_terminal(
    form: str, kind: type[Lister] | type[ShowOne]
) -> None:
    one = {"name": NASTY, "users": [{"name": NASTY}], "demand": {NASTY: 1}}
    found = rows([one], tuple(one)) if kind is Lister else pairs(one)
    text = printed(found, form, kind)
    assert not {"\x1b", "\r", "\x07", "\u202e", "\x9b"} & set(text)
    if form == "value" and kind is Lister:
        assert len(text.splitlines()) == 1
    if form == "json":
        assert json.loads(text)


def test_a_shell_does_not_run_a_name(tmp_path: Path) -> None:
    made = tmp_path / "made"
    name = f'$(touch {made})`touch {made}`\\$x"; touch {made} #'
    text = printed(pairs({"name": name}), "shell", ShowOne)
    done = subprocess.run(
        ["sh", "-c", f'{text}\nprintf %s "$name"'], capture_output=True, text=True, check=True
    )
    assert not made.exists()
    assert done.stdout == name


def test_every_command_that_shows_something_is_of_this_kind() -> None:
    commands = [one for one in Commands().commands.values() if "synergy.cli." in one.value]
    assert len(commands) > 20
    for one in commands:
        found = one.load()
        if issubclass(found, lister.Lister):
            assert issubclass(found, Lister), one.name
        if issubclass(found, show.ShowOne):
            assert issubclass(found, ShowOne), one.name


def test_an_error_of_the_api_is_one_plain_line() -> None:
    response = Response()
    response.status_code = 404
    error = _error_of(response, {"errors": [{"detail": NASTY, "code": "not_found"}]})
    assert str(error) == f"{plain(NASTY)} (not_found)"
    assert len(str(error).splitlines()) == 1


def test_plain_text_stays_plain() -> None:
    for text in ("", "web-1", "Zürich 日本 🎉", "a=b", r"C:\x"):
        assert plain(text) == text
        assert csv_cell(text) == text


def test_people_read_that_a_request_may_use_either_quota_and_programs_what_they_did() -> None:
    either = {"quota": "shared", "quotas": ["private", "shared"]}
    claimed, older = {"quota": "private", "quotas": ["private"]}, {"quota": "shared"}
    found = rows([with_quota(one) for one in (either, claimed, older)], ("quota",))
    assert "either" in printed(found, "table")
    assert json.loads(printed(found, "json")) == [
        {"quota": "shared"}, {"quota": "private"}, {"quota": "shared"}
    ]  # fmt: skip
    assert printed(found, "value").split() == ["shared", "private", "shared"]
