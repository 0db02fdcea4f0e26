"""Every pattern that the API publishes means the same to a reader of JSON Schema and to Python."""

import re
from collections.abc import Iterator

import pytest

from synergy.api.app import ROUTES
from synergy.api.openapi import document


def patterns(part: object) -> Iterator[str]:
    """Yield each pattern, and each name of patternProperties, below a part of the document."""
    if isinstance(part, dict):
        if isinstance(pattern := part.get("pattern"), str):
            yield pattern
        yield from part.get("patternProperties", {})
        for inner in part.values():
            yield from patterns(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from patterns(inner)


PUBLISHED = sorted(set(patterns(document(ROUTES, "0", secured=True))))
FITS = ("science", "VCPU", "1.0", "listed", "domains:Default")


@pytest.mark.parametrize("pattern", PUBLISHED)
def test_a_newline_at_the_end_is_part_of_the_text(pattern: str) -> None:
    fits = [text for text in FITS if re.search(pattern, text)]
    assert fits, "give a text that fits this pattern"
    ended = [text for text in fits if text != "domains:Default"]
    assert not [text for text in ended if re.search(pattern, f"{text}\n")]
