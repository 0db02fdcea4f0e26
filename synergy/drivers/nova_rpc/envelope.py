"""What the relay reads of a message: whose it is, what it calls, and where an answer goes.

Must not know AMQP, nor what is inside the arguments. An envelope is JSON that carries the message
as a JSON text: {"oslo.version": "2.0", "oslo.message": "..."}.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synergy.core.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """The outside of a message.

    unique_id    stays the same when the broker delivers again
    reply_queue  where the caller waits, None for a cast; msg_id tells calls of one queue apart
    """

    method: str
    namespace: str | None
    project_id: str | None
    unique_id: str | None
    msg_id: str | None
    reply_queue: str | None


def _open(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        envelope = json.loads(body)
        message = json.loads(envelope["oslo.message"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"not an envelope of oslo.messaging: {error!r}"[:200]) from error
    if not isinstance(message, dict):
        raise InvalidInput("not an envelope of oslo.messaging: the message is no object")
    return envelope, message


def _close(envelope: Mapping[str, Any], message: Mapping[str, Any]) -> bytes:
    return json.dumps({**envelope, "oslo.message": json.dumps(message)}).encode()


def outline_of(body: bytes) -> Outline:
    """Return the outside of a request. Raises InvalidInput."""
    _, message = _open(body)
    called = bool(message.get("_msg_id"))
    return Outline(
        method=str(message.get("method", "")),
        namespace=message.get("namespace"),
        project_id=message.get("_context_project_id"),
        unique_id=message.get("_unique_id"),
        msg_id=message["_msg_id"] if called else None,
        reply_queue=message.get("_reply_q") if called else None,
    )


def with_reply_queue(body: bytes, queue: str) -> bytes:
    """Return a call that is answered to another queue."""
    envelope, message = _open(body)
    return _close(envelope, {**message, "_reply_q": queue})


def with_token(body: bytes, token: str) -> bytes:
    """Return a message whose context acts with another token."""
    envelope, message = _open(body)
    return _close(envelope, {**message, "_context_auth_token": token})


@dataclass(frozen=True, slots=True)
class Answer:
    """The outside of a reply; `ending` is False for a sign of life of a call that goes on."""

    msg_id: str
    ending: bool


def answer_of(body: bytes) -> Answer:
    """Return the outside of a reply. Raises InvalidInput."""
    _, message = _open(body)
    return Answer(str(message.get("_msg_id", "")), bool(message.get("ending", True)))
