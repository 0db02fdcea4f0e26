"""Which tests of Tempest are run, and what is known of them.

Why: a test that is left out without a reason judges nothing, so `tests.yaml` says of each why, and
all others are run, new ones of a later Tempest included. Must not know how tests are run.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml

PREFIX: Final = "tempest.api.compute."


class WrongList(Exception):
    """The list of tests says something that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Note:
    """What one entry of the list says.

    patterns  names of tests without PREFIX, with * for any part
    way       the way whose result is another one; "" in a note on tests that are left out
    why       for whoever reads the table
    """

    patterns: tuple[str, ...]
    way: str
    why: str

    def names(self, test: str) -> bool:
        """Tell whether the note is about a test."""
        return any(fnmatchcase(test, PREFIX + pattern) for pattern in self.patterns)


@dataclass(frozen=True, kw_only=True)
class ListOfTests:
    """What `tests.yaml` says: the tests that are left out, and the differences that are known."""

    left_out: tuple[Note, ...]
    explained: tuple[Note, ...]

    def selected(self, tests: Iterable[str]) -> list[str]:
        """Return the tests that are run. Raises WrongList where a note is about no test."""
        known = sorted(tests)
        for note in (*self.left_out, *self.explained):
            for pattern in note.patterns:
                if not any(fnmatchcase(test, PREFIX + pattern) for test in known):
                    raise WrongList(f"{pattern}: Tempest has no such test in {PREFIX}*")
        return [test for test in known if not any(note.names(test) for note in self.left_out)]

    def reasons(self, tests: Iterable[str]) -> dict[str, str]:
        """Return why each test that is left out is not run."""
        return {
            test: note.why
            for test in sorted(tests)
            for note in self.left_out[::-1]  # the first note about a test counts
            if note.names(test)
        }

    def explanation(self, test: str, way: str) -> str:
        """Return why a test may have another result in a way than without Synergy, or ""."""
        return next((n.why for n in self.explained if n.way == way and n.names(test)), "")


def read(path: Path, ways: Iterable[str]) -> ListOfTests:
    """Read the list. Raises WrongList with what is wrong in it."""
    given = yaml.safe_load(path.read_text()) or {}
    if not isinstance(given, dict) or set(given) != {"left_out", "explained"}:
        raise WrongList(f"{path}: give left_out and explained, and nothing else")
    known = sorted(ways)
    return ListOfTests(
        left_out=tuple(_note(one, path, ()) for one in given["left_out"] or ()),
        explained=tuple(_note(one, path, known) for one in given["explained"] or ()),
    )


def _note(given: Mapping[str, Any], path: Path, ways: Iterable[str]) -> Note:
    way = given.get("way", "")
    wanted = {"why", "tests"} | ({"way"} if ways else set())
    if set(given) != wanted or not given["why"] or not given["tests"]:
        raise WrongList(f"{path}: {given} has to have {', '.join(sorted(wanted))}")
    if ways and way not in ways:
        raise WrongList(f"{path}: way {way!r} is none of {', '.join(ways)}")
    return Note(patterns=tuple(given["tests"]), way=way, why=" ".join(given["why"].split()))
