import json
from collections.abc import Mapping
from typing import Any

import pytest

from synergy.core.errors import InvalidInput
from synergy.drivers import envelope


def body(**message: Any) -> bytes:
    return json.dumps({"oslo.version": "2.0", "oslo.message": json.dumps(message)}).encode()


def inner(found: bytes) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(json.loads(found)["oslo.message"])
    return message


def test_a_cast_has_no_one_waiting_for_an_answer() -> None:
    cast = body(method="m", namespace="n", _context_project_id="p", _unique_id="1", args={})
    found = envelope.read_header(envelope.open_body(cast))
    assert (found.method, found.namespace, found.project_id) == ("m", "n", "p")
    assert (found.unique_id, found.msg_id, found.reply_queue) == ("1", None, None)


def test_a_call_says_where_its_answer_goes() -> None:
    call = body(method="m", _msg_id="7", _reply_q="reply_a", args={"x": [1]}, _timeout=5)
    opened = envelope.open_body(call)
    found = envelope.read_header(opened)
    assert (found.msg_id, found.reply_queue) == ("7", "reply_a")
    changed = opened.with_changes(_reply_q="reply_b")
    assert inner(changed) == {**inner(call), "_reply_q": "reply_b"}
    assert json.loads(changed)["oslo.version"] == "2.0"


def test_a_token_is_replaced_and_nothing_else() -> None:
    message = body(method="m", _context_auth_token="old", args={"token": "old"})
    assert inner(envelope.with_token(message, "new")) == {
        "method": "m", "_context_auth_token": "new", "args": {"token": "old"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "ending"), [({"ending": True}, True), ({"ending": False}, False), ({}, True)]
)
def test_an_answer_says_whether_more_follows(message: Mapping[str, bool], ending: bool) -> None:
    assert envelope.read_reply_header(body(_msg_id="7", **message)) == envelope.ReplyHeader(
        "7", ending
    )


@pytest.mark.parametrize(
    "wrong",
    [b"", b"\xff", b"[]", b"5", b"null", b"{}", b'{"oslo.message": 5}', b'{"oslo.message": "["}',
     b'{"oslo.message": "[1]"}', b'{"oslo.message": "' + b"[" * 9999 + b'"}'],
)  # fmt: skip
def test_what_is_no_envelope_is_told_without_its_content(wrong: bytes) -> None:
    for read in (envelope.open_body, envelope.read_reply_header):
        with pytest.raises(InvalidInput, match="not an envelope of oslo.messaging") as caught:
            read(wrong)
        assert len(str(caught.value)) <= 200
