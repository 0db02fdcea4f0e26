from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.ids import as_stored, uuid_of

SPELLINGS = (
    str, lambda one: str(one).upper(), lambda one: one.hex, lambda one: one.hex.upper(),
    lambda one: f"{{{one}}}", lambda one: one.urn, lambda one: f"URN:UUID:{str(one).upper()}",
)  # fmt: skip


@given(st.uuids(), st.sampled_from(SPELLINGS))
def test_every_spelling_of_a_uuid_is_the_same_uuid(
    one: UUID, spell: type[str] | Callable[..., Any]
) -> None:
    assert uuid_of(spell(one)) == str(one) == as_stored(spell(one))


@pytest.mark.parametrize(
    "text",
    ["", "x", "not-a-uuid", "0" * 31, "0" * 33, "{" + "0" * 32, "1" + "-" * 31, "0x" + "0" * 30,
     "０" * 32, f" {UUID(int=1)}", f"{UUID(int=1)}\n", "_".join(["0" * 8] * 4), "a" * 5000],
)  # fmt: skip
def test_what_is_no_uuid_is_told_apart(text: str) -> None:
    assert uuid_of(text) is None
    assert as_stored(text) == text
