"""What the pages tell people to type is what the commands take.

Lines of code blocks have to parse as they stand, apart from placeholders; commands within a sentence
have to exist, and so have their options.
"""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

import pytest

from synergy.cli.commands import Commands
from synergy.cli.main import SynergyApp
from synergy.service import manage

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "doc" / "source").rglob("*.rst"))]
PROGRAM = re.compile(
    r"(?:\$ )?(?:\S*/)?(openstack synergy|synergy-manage|synergy-status|synergy)\s+(.*)"
)
GONE = (
    "DEFAULT lock_folder", "expiry warning_s", "forecast most_waiting"
)  # fmt: skip  # release notes say so
COMMANDS = {name.replace(" ", "_"): entry for name, entry in Commands().commands.items()}
IN_OPENSTACK = {entry.name for entry in entry_points(group="openstack.synergy.v1")}


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """The commands that stand in lines of code of their own, without their comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in re.findall(r"^ {2,}(\S.*)$", joined, re.MULTILINE):
        found = PROGRAM.fullmatch(re.sub(r"\s+# .*", "", line).strip())
        if found:
            yield found.group(1), found.group(2)


def mentions_of(text: str) -> Iterator[tuple[str, str]]:
    """The commands that a sentence or a table names, between backticks."""
    for quoted in re.findall(r"``?([^`]+)``?", text):
        found = PROGRAM.fullmatch(" ".join(quoted.split()))
        if found:
            yield found.group(1), found.group(2)


def every(kind: Callable[..., Any]) -> list[pytest.ParameterSet]:
    return [
        pytest.param(program, words, id=f"{page.name}: {program} {words}")
        for page in PAGES
        for program, words in kind(page.read_text())
    ]


class Refused(Exception):
    """What argparse has to say."""


def strict(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let a parser, and those below it, raise where it would print and exit."""

    def refuse(message: str) -> NoReturn:
        raise Refused(message)

    parser.error = refuse  # type: ignore[method-assign] # what argparse documents for that
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                strict(below)
    return parser


def manage_parser() -> argparse.ArgumentParser:
    parser = strict(argparse.ArgumentParser(prog="synergy-manage", add_help=False))
    parser.add_argument("--config-file", action="append")
    manage._add_actions(parser.add_subparsers(dest="action", required=True))
    return strict(parser)


def command_of(program: str, words: list[str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser of a command of `synergy`, and the words that are left for it."""
    for count in range(min(3, len(words)), 0, -1):
        name = "_".join(words[:count]).rstrip("_")
        if name in COMMANDS:
            if program == "openstack synergy":
                assert f"synergy_{name}" in IN_OPENSTACK
            made = COMMANDS[name].load()(SynergyApp([]), None)
            return strict(made.get_parser(name)), words[count:]
    if words[:1] in (["complete"], ["help"]):  # cliff's own
        return argparse.ArgumentParser(), words[1:]
    raise Refused(f"there is no command {words}")


def parse(program: str, line: str) -> None:
    """Parse a line as its program does; what is optional in it is taken as said."""
    words = shlex.split(re.sub(r"[\[\]]", "", line))
    if program == "synergy-manage":
        manage_parser().parse_args(in_numbers(words))
    elif program == "synergy-status":
        assert [word for word in words if not word.startswith("--")][-2:] == ["upgrade", "check"]
    elif words != ["--help"]:
        parser, rest = command_of(program, words)
        if "--help" not in rest:
            parser.parse_args(in_numbers(rest))


def in_numbers(words: Sequence[str]) -> list[str]:
    return ["7" if word in ("N", "SECONDS") else word for word in words]


@pytest.mark.parametrize(("program", "line"), every(lines_of))
def test_a_line_that_can_be_copied_parses(program: str, line: str) -> None:
    parse(program, line)


@pytest.mark.parametrize(("program", "words"), every(mentions_of))
def test_a_command_in_a_sentence_exists_with_its_options(program: str, words: str) -> None:
    if program.startswith("synergy-"):
        parse(program, words)
        return
    first, verbs, *rest = [*words.split(), ""]
    for verb in verbs.split("|"):
        parser, _ = command_of(program, [first, verb, *rest])
        for option in [one for word in rest if word.startswith("--") for one in word.split("|")]:
            assert option in parser._option_string_actions


def test_an_option_of_the_configuration_that_a_page_names_exists() -> None:
    sample = (ROOT / "etc" / "synergy" / "synergy.conf.sample").read_text()
    parts = re.split(r"^\[(\w+)\]$", sample, flags=re.MULTILINE)[1:]
    known = {
        section: set(re.findall(r"^#(\w+) =", text, re.MULTILINE))
        for section, text in zip(parts[::2], parts[1::2], strict=True)
    }
    named = [
        (page.name, section, option)
        for page in [*PAGES, *sorted((ROOT / "releasenotes" / "notes").glob("*.yaml"))]
        for section, option in re.findall(r"``\[(\w+)\]\s+(\w+)", page.read_text())
        if section in known and f"{section} {option}" not in GONE
    ]
    assert len(named) > 20
    assert [one for one in named if one[2] not in known[one[1]]] == []


def test_a_page_that_names_what_is_not_there_is_noticed() -> None:
    assert list(lines_of("::\n\n    $ synergy quota show --nothing   # why\n")) == [
        ("synergy", "quota show --nothing")
    ]
    for line in ("quota show --nothing", "quota tell", "request extend ID"):
        with pytest.raises(Refused):
            parse("synergy", line)
    with pytest.raises(Refused):
        parse("synergy-manage", "db heal")
