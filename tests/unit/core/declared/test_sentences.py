"""What a violation of a schema is told as."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from synergy.core.declared.kinds import TEXT_PATTERN, Amounts, Shares
from synergy.core.declared.sentences import LONGEST_SENTENCE, sentence_of

OBJECT = {
    "type": "object",
    "properties": {
        "state": {"type": "array", "items": {"enum": ["QUEUED", "HELD"]}},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000},
        "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": TEXT_PATTERN},
        "ttl_s": {"type": ["integer", "null"]},
        "private": Amounts().schema(),
        "shares": Shares().schema(),
    },
    "required": ["limit"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"limit": 1, "state": ["BOGUS"]}, 'state is "BOGUS", but must be one of QUEUED, HELD'),
        ({"limit": "many"}, 'limit is "many", but must be a whole number'),
        ({"limit": 0}, "limit is 0, but must be at least 1"),
        ({"limit": 1001}, "limit is 1001, but must be at most 1000"),
        ({"limit": 1, "ttl_s": "soon"}, 'ttl_s is "soon", but must be a whole number or null'),
        ({"limit": 1, "name": ""}, 'name is "", but must be at least 1 character long'),
        ({"limit": 1, "name": "abcdef"}, 'name is "abcdef", but must be at most 5 characters long'),
        ({"limit": 1, "name": "A\0"},
         'name is "A\\u0000", but must be text without control characters'),
        ({"limit": 1, "shares": "many"}, 'shares is "many", but must be a whole number or parent'),
        ({"limit": 1, "shares": -7}, "shares is -7, but must be at least 0"),
        ({}, "limit is missing"),
        ({"limit": 1, "colour": 2},
         "'colour' is unknown; there are state, limit, name, ttl_s, private, shares"),
        ({"limit": 1, "private": {"vcpu": 2}},
         "private: 'vcpu' is not the name of a resource class, such as VCPU or CUSTOM_GPU"),
        ({"limit": 1, "private": {"VCPU": -1}}, "private.VCPU is -1, but must be at least 0"),
        ([], "it is [], but must be an object"),
    ],
)  # fmt: skip
def test_a_violation_is_a_sentence_with_the_thing_the_value_and_what_is_allowed(
    value: Mapping[str, Any] | Sequence[Any], sentence: str
) -> None:
    error = best_match(Draft202012Validator(OBJECT).iter_errors(value))
    assert sentence_of(error) == sentence


def test_a_sentence_is_short_whatever_was_sent() -> None:
    values: tuple[object, ...] = (
        {"limit": "x" * 10_000},
        {"limit": 1, "y" * 10_000: 1},
        {"limit": [[]] * 9999},
    )
    for value in values:
        error = best_match(Draft202012Validator(OBJECT).iter_errors(value))
        assert len(sentence_of(error)) <= LONGEST_SENTENCE
