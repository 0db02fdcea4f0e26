"""Bodies that two readers could take for two things, and those that are no JSON at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.api.body import LARGEST_NUMBER, MAX_DEPTH, read_object
from synergy.core.errors import InvalidInput


def nested(levels: int) -> bytes:
    return b'{"a": ' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b'{"a": 1e400}', "the number 1e400 is too large"),
        (b'{"a": -1e999}', "the number -1e999 is too large"),
        (b'{"a": 9223372036854775808}', "the number 9223372036854775808 is too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", f"the number {'9' * 40} is too large"),
        (b'{"a": 1e30}', "the number 1e30 is too large"),
        (b'{"a": NaN}', "NaN is no number of JSON"),
        (b'{"a": -Infinity}', "-Infinity is no number of JSON"),
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b'{"b": {"a": 1, "c": 0, "a": 1}}', "'a' is given twice"),
        (nested(MAX_DEPTH), "nested deeper than 32 levels"),
        (nested(100_000), "nested deeper than 32 levels"),
        (b'{"a": ' + b"[" * 33 + b"]" * 33 + b"}", "nested deeper than 32 levels"),
        (b'{"a": "\xff"}', "the body is not UTF-8: byte 7 is wrong"),
        ('{"a": 1}'.encode("utf-16"), "the body is not UTF-8"),
        ('{"a": 1}'.encode("utf-32-le"), "the body is not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "the body is not JSON"),
        (rb'{"a": "\ud800"}', "half a character"),
        (rb'{"\udfff": 1}', "half a character"),
        (b"{", "the body is not JSON"),
        (b"{'a': 1}", "the body is not JSON"),
        (b'{"a": 1}{"a": 2}', "the body is not JSON"),
        (b'{"a": "\n"}', "the body is not JSON"),
        (b"[]", "the body must be a JSON object"),
        (b'"a"', "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_body_that_cannot_be_taken_is_refused_with_one_sentence(raw: bytes, told: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_object(raw, "application/json")
    assert told in str(refused.value)
    assert len(str(refused.value)) <= 200
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "given_type",
    [
        "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/jsonp", "text/plain; application/json", "application/json, text/plain",
        "application/json; charset=utf-16", 'application/json; charset="latin-1"', "x" * 5000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("raw", [b"", b'{"a": 1}'])
def test_what_is_not_said_to_be_json_in_utf_8_is_refused(given_type: str, raw: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_object(raw, given_type)
    assert "but must be" in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "given_type",
    ["", "application/json", "Application/JSON;charset=UTF-8", 'application/json; charset="utf8"'],
)
def test_json_in_utf_8_is_taken(given_type: str) -> None:
    raw = '{"a": ["ü", 1, -2.5, 4.0, null, true]}'.encode()
    assert read_object(raw, given_type) == {"a": ["ü", 1, -2.5, 4, None, True]}
    assert read_object(b"", given_type) == {}


def test_the_largest_number_and_the_deepest_body_are_taken() -> None:
    assert read_object(b'{"a": %d}' % LARGEST_NUMBER, "") == {"a": LARGEST_NUMBER}
    assert read_object(nested(MAX_DEPTH - 1), "") == json.loads(nested(MAX_DEPTH - 1))


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    try:
        assert isinstance(read_object(raw, ""), dict)
    except InvalidInput as error:
        assert str(error)  # noqa: PT017
