"""Reads the body of a request as JSON, strictly: what two readers could take for two things is
refused with one sentence.

Must not know routes or schemas.
"""

import json
import re
from typing import Final, NoReturn

from synergy.core.errors import InvalidInput

MAX_DEPTH: Final = 32
LARGEST_NUMBER: Final = 2**63 - 1  # what the database and every client hold
_LONGEST_NUMBER: Final = 40  # digits
_JSON: Final = re.compile(r"application/json(?:\s*;\s*charset=\"?([\w-]+)\"?)?\s*;?", re.IGNORECASE)


def read_object(raw: bytes, content_type: str) -> dict[str, object]:
    """Return the object of a body; an empty body is an empty one. Raises InvalidInput."""
    _check_type(content_type)
    if not raw:
        return {}
    try:
        found = json.loads(
            raw.decode("utf-8"),
            parse_constant=_no_number,
            parse_float=_number,
            parse_int=_integer,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: byte {error.start} is wrong") from error
    except InvalidInput:
        raise
    except RecursionError as error:
        raise InvalidInput(_too_deep()) from error
    except ValueError as error:
        raise InvalidInput(f"the body is not JSON: {error}"[:200]) from error
    if not isinstance(found, dict):
        raise InvalidInput("the body must be a JSON object")
    _check_values(found)
    return found


def _check_type(content_type: str) -> None:
    """What a form of another site could send is no JSON, whatever it holds."""
    if not content_type:
        return
    matched = _JSON.fullmatch(content_type.strip())
    if matched is None:
        raise InvalidInput(f"Content-Type is {content_type[:80]!r}, but must be application/json")
    charset = matched[1]
    if charset is not None and charset.lower() not in ("utf-8", "utf8", "us-ascii"):
        raise InvalidInput(f"the charset of the body is {charset[:40]!r}, but must be utf-8")


def _check_values(found: object) -> None:
    """Look at every value, however deep, without recursion of our own."""
    level: list[object] = [found]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                _check_text(value)
        if not below:
            return
        level = below
    raise InvalidInput(_too_deep())


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        shown = ascii(text[:40])
        raise InvalidInput(f"{shown} holds half a character (a lone surrogate)") from error


def _too_deep() -> str:
    return f"the body is nested deeper than {MAX_DEPTH} levels"


def _number(text: str) -> float | int:
    """To JSON Schema 4.0 is an integer."""
    number = float(text)
    if not abs(number) <= LARGEST_NUMBER:
        raise InvalidInput(f"the number {text[:_LONGEST_NUMBER]} is too large")
    return int(number) if number.is_integer() else number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or abs(int(text)) > LARGEST_NUMBER:
        raise InvalidInput(f"the number {text[:_LONGEST_NUMBER]} is too large")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidInput(f"{twice[:80]!r} is given twice")
    return found
