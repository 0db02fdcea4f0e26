"""What the contributor pages name is in the tree, and what they list about facts is complete.

Names are looked up in the source, so that a page names where something is defined and not where it
is passed on.
"""

import ast
import configparser
import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from synergy.service.options import manager_classes
from tests.loading import load

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "doc" / "source" / "contributor"
PAGES = [*sorted(FOLDER.glob("*.rst")), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
WALKS = (
    "The life of a build request",
    "The life of an API call",
    "The life of a round",
    "The life of a notification",
)
CHECKLISTS = (
    "A project setting",
    "A REST resource",
    "A column of the request class",
    "A reason",
    "A check",
    "A backfill policy",
    "A cloud driver",
    "A manager",
    "A migration",
    "A release",
)
NAME = re.compile(r"`(synergy(?:\.\w+)+)(?:\(\))?`")
FILE = re.compile(r"`([\w.-]+(?:/[\w.*-]+)*/?)`")
MADE = {"build", "dist", ".venv", ".openstack", ".tox"}  # not in a fresh clone
TOPS = {one.name for one in ROOT.iterdir()} - MADE


def namespaces() -> set[str]:
    """The names that look like modules and are those of entry points."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return set(setup["entry_points"])


@cache
def defined(path: Path) -> set[str]:
    """The names that a module defines, methods and class variables with their class."""
    found = set()

    def look(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                look(node.body, f"{prefix}{node.name}.")
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            found.update(prefix + one.id for one in targets if isinstance(one, ast.Name))

    look(ast.parse(path.read_text()).body, "")
    return found


def split(name: str) -> tuple[Path | None, str]:
    """The file of the module that a dotted name begins with, and the rest of the name."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:count])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path, ".".join(parts[count:])
    return None, name


def is_defined(name: str) -> bool:
    path, rest = split(name)
    return path is not None and (not rest or rest in defined(path))


def names_a_function(text: str) -> bool:
    return any(split(name)[1] and is_defined(name) for name in NAME.findall(text))


def sections(text: str) -> dict[str, str]:
    """The text of each section by its title."""
    parts = re.split(r"^(.+)\n(?:=|-|~){3,}\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def steps_of(text: str) -> list[str]:
    """The numbered steps of a section, each with the lines that belong to it."""
    return re.findall(r"^#\. (?:.+\n)(?:(?:   .*)?\n)*?(?=^#\. |^\S|\Z)", text + "\n", re.MULTILINE)


def facts() -> ModuleType:
    return load(ROOT / "doc" / "source" / "facts.py")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_module_or_function_that_a_page_names_is_defined_there(page: Path) -> None:
    named = set(NAME.findall(page.read_text())) - namespaces()
    assert sorted(name for name in named if not is_defined(name)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_a_page_names_exists(page: Path) -> None:
    found = [one for one in FILE.findall(page.read_text()) if "NAME" not in one]
    named = [one for one in found if one.split("/")[0] in TOPS]
    missing = [one for one in named if not ((ROOT / one).exists() or list(ROOT.glob(one)))]
    assert missing == []


@pytest.mark.parametrize("title", WALKS)
def test_each_step_of_a_walk_names_the_function_that_does_it(title: str) -> None:
    steps = steps_of(sections((FOLDER / "architecture.rst").read_text())[title])
    assert len(steps) >= 5
    assert [step for step in steps if not names_a_function(step)] == []


@pytest.mark.parametrize("title", CHECKLISTS)
def test_each_checklist_names_files_to_change_and_a_test_to_run(title: str) -> None:
    text = sections((FOLDER / "checklists.rst").read_text())[title]
    files = {one for one in FILE.findall(text) if one.split("/")[0] in TOPS}
    assert len(steps_of(text)) >= 3
    assert len(files) >= 2
    assert any(one.startswith(("tests", "Makefile")) for one in files)


def test_every_fact_is_published_and_heard_or_declared_to_be_for_others() -> None:
    found = facts()
    told, heard = found.publishers(), found.listeners(manager_classes())
    assert [name for name, modules in told.items() if not modules] == []
    unheard = {fact for name, fact in found.FACTS.items() if not heard[name]}
    assert unheard == found.FOR_OTHERS


def test_a_publisher_is_found_where_it_publishes_and_nowhere_else() -> None:
    source = """
def one(self):
    self._publish(OwnersGone(owners))
def two(self, publish):
    claimed = QuotaClaimed(())
    publish(claimed)
    other = RequestsQueued(())
def three(self):
    self._edge.publish(message)
    broker.send(ServersActive(()))
"""
    assert facts().published_in(source) == {"OwnersGone", "QuotaClaimed"}


def test_a_name_that_is_not_there_is_noticed() -> None:
    assert is_defined("synergy.core.rounds.decide.decide")
    assert is_defined("synergy.managers.queue.intake.BuildIntake.take_in")
    assert not is_defined("synergy.core.rounds.decide.decide_all")
    assert not is_defined("synergy.managers.queue.QueueManager")  # only passed on there
    assert not names_a_function("`synergy.core.rounds` decides")
    assert len(steps_of("#. one\n   more\n\n#. two\n\nrest\n")) == 2
