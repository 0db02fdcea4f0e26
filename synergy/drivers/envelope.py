"""The outside of a message of oslo.messaging: whose it is, what it calls, where an answer goes.

Must not know AMQP, nor what is inside the arguments. An envelope is JSON that carries the message
as a JSON text: {"oslo.version": "2.0", "oslo.message": "..."}.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from synergy.core.errors import InvalidInput
from synergy.drivers.reading import MSG_ID, OUTLINE, usable_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The outside of a message.

    unique_id    stays the same when the broker delivers again
    called       somebody waits for an answer, even where msg_id and reply_queue cannot be used
    reply_queue  where the caller waits, None for a cast; msg_id tells calls of one queue apart
    """

    method: str
    namespace: str | None
    project_id: str | None
    unique_id: str | None
    called: bool
    msg_id: str | None
    reply_queue: str | None


@dataclass(frozen=True, slots=True)
class Opened:
    """An envelope, opened once: the body as it came, and the message in it."""

    body: bytes
    envelope: Mapping[str, object]
    message: dict[str, Any]

    def closed(self, **changes: object) -> bytes:
        """Return the body with other values in the message. Raises InvalidInput."""
        try:
            inner = json.dumps({**self.message, **changes})
            return json.dumps({**self.envelope, "oslo.message": inner}).encode()
        except RecursionError as error:  # what orjson could read may be nested too deep to write
            raise InvalidInput("a message that is nested too deep to be changed") from error


def open_body(body: bytes) -> Opened:
    """Open an envelope. Raises InvalidInput."""
    try:
        envelope = _parsed(body)
        message = _parsed(envelope["oslo.message"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"no {error.args[0]!r}" if isinstance(error, KeyError) else str(error)
        raise InvalidInput(
            f"not an envelope of oslo.messaging: {ascii(what)[1:-1]}"[:200]
        ) from error
    if not isinstance(message, dict):
        raise InvalidInput("not an envelope of oslo.messaging: the message is no object")
    return Opened(body, envelope, message)


def _parsed(text: bytes | str) -> Any:
    """Parse with orjson, which is three times as quick; what it finds too strict or too big for
    itself, such as NaN, is for the standard library."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def outline_of(opened: Opened) -> Outline:
    """Return the outside of a request; what is not as oslo.messaging sends it counts as absent."""
    message = opened.message
    usable = usable_fields(OUTLINE, message)
    return Outline(
        method=usable["method"] or "",
        namespace=usable["namespace"],
        project_id=usable["_context_project_id"],
        unique_id=usable["_unique_id"],
        called=bool(message.get("_msg_id")),
        msg_id=usable["_msg_id"],
        reply_queue=usable["_reply_q"] if usable["_msg_id"] else None,
    )


def with_token(body: bytes, token: str) -> bytes:
    """Return a message whose context acts with another token. Raises InvalidInput."""
    return open_body(body).closed(_context_auth_token=token)


@dataclass(frozen=True, slots=True)
class Answer:
    """The outside of a reply; `ending` is False for a sign of life of a call that goes on."""

    msg_id: str
    ending: bool


def answer_of(body: bytes) -> Answer:
    """Return the outside of a reply. Raises InvalidInput."""
    message = open_body(body).message
    msg_id = usable_fields(MSG_ID, message)["_msg_id"]
    return Answer(msg_id or "", bool(message.get("ending", True)))
