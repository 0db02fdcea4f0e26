"""The schema of an answer says what its type says."""

from collections.abc import Mapping
from typing import Annotated, Any, NotRequired, TypedDict

import pytest
from jsonschema import Draft202012Validator

from synergy.core.declared.answers import COMPONENTS
from synergy.core.declared.shapes import Also, Instead, answer_schema, fields_of, ref


class Inner(TypedDict):
    """Something that stands inside."""

    name: str


class Noun(TypedDict):
    """Something that has a name of its own."""

    id: str


class Answer(TypedDict):
    """Everything that an answer may hold."""

    text: str
    count: Annotated[int, Also({"minimum": 0})]
    ratio: float | None
    sure: bool
    parts: list[Inner]
    other: Noun
    amounts: dict[str, int]
    anything: dict[str, object]
    word: Annotated[int | str, Instead({"const": "x"}), Also({"x-marked": True})]
    more: NotRequired[str]


FIELDS = fields_of(Answer, {"Noun": Noun})


@pytest.mark.parametrize(
    ("name", "schema"),
    [
        ("text", {"type": "string"}),
        ("count", {"type": "integer", "minimum": 0}),
        ("ratio", {"anyOf": [{"type": "number"}, {"type": "null"}]}),
        ("sure", {"type": "boolean"}),
        ("other", ref("Noun")),
        ("amounts", {"type": "object", "additionalProperties": {"type": "integer"}}),
        ("anything", {"type": "object"}),
        ("word", {"const": "x", "x-marked": True}),
        ("more", {"type": "string"}),
    ],
)
def test_a_field_has_the_schema_of_its_type_and_marks(name: str, schema: Mapping[str, Any]) -> None:
    assert FIELDS[name] == schema


def test_an_object_inside_takes_its_own_fields_and_no_others() -> None:
    inner = Draft202012Validator(FIELDS["parts"])
    assert inner.is_valid([{"name": "a"}])
    assert not inner.is_valid([{"name": "a", "more": 1}])
    assert not inner.is_valid([{}])


def test_only_what_need_not_be_there_may_be_absent() -> None:
    assert set(FIELDS) - set(answer_schema(Answer, {})["required"]) == {"more"}


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_noun_has_a_schema_and_says_what_it_is(name: str) -> None:
    Draft202012Validator.check_schema(answer_schema(COMPONENTS[name], COMPONENTS))
    assert COMPONENTS[name].__doc__
