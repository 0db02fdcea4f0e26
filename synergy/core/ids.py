"""Normalises a server's uuid.

Why: the same uuid may come in capitals, without dashes, in braces or as a URN, and must always name
the same request. Must not know where an id came from.
"""

import re
from typing import Final

_CANONICAL: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN: Final = re.compile(r"[0-9a-f]{32}")


def uuid_of(text: str) -> str | None:
    """Return the uuid in lower case with dashes, None when the text is not a uuid."""
    if _CANONICAL.fullmatch(text):
        return text
    if len(text) > 64:  # no form of a uuid is that long
        return None
    plain = text.lower().removeprefix("urn:").removeprefix("uuid:")
    if plain.startswith("{") and plain.endswith("}"):
        plain = plain[1:-1]
    if _CANONICAL.fullmatch(plain):
        return plain
    if _PLAIN.fullmatch(plain):
        return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))
    return None


def as_stored(text: str) -> str:
    """Return an id from a caller in its stored form: a uuid is normalised."""
    return uuid_of(text) or text
