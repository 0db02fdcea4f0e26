"""Validates the fields of foreign messages: each field that Synergy uses has a type and a length.

Why: a wrong field must fail at the edge, where it concerns only its own message. In a transaction
or a round it would stop everybody's requests. Lengths are at most those of the database columns
that hold the values. Must not know who sends a message, nor what follows from it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from synergy.core.errors import InvalidInput
from synergy.core.ids import uuid_of

DATA: Final = "nova_object.data"  # where a primitive of Nova keeps its fields
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_MAX_AMOUNT: Final = 2**31 - 1  # Nova stores the numbers of a flavor in 32 bits
_MAX_ENTRIES: Final = 1000
_SHOWN: Final = 60  # characters of a value that an error repeats
TRAIT_NAME: Final = re.compile(r"[A-Z0-9_]{1,255}")
_ODD: Final = re.compile("[\0\ud800-\udfff]")  # characters that a database's text column refuses


@dataclass(frozen=True, slots=True)
class FieldType:
    """The type of a field.

    allowed   describes valid values in an error message
    read      returns the value as Synergy uses it; raises ValueError, also for null
    optional  a field that is absent or null counts as `default`
    """

    allowed: str
    read: Callable[[object], object]
    optional: bool = False
    default: object = None


class Schema:
    """The fields of one object, with their types.

    Kept as plain tuples, because every message is read with several schemas and a tuple is the
    fastest to loop over.
    """

    __slots__ = ("allowed", "rows")

    def __init__(self, types: Mapping[str, FieldType]) -> None:
        self.rows = tuple(
            (name, one.read, one.optional, one.default) for name, one in types.items()
        )
        self.allowed = {name: one.allowed for name, one in types.items()}


def optional(field_type: FieldType, default: object = None) -> FieldType:
    """Return the type of a field that may be absent."""
    return replace(field_type, optional=True, default=default)


def read_fields(schema: Schema, source: object, of: str) -> dict[str, Any]:
    """Return an object's fields as its schema reads them. Raises InvalidInput naming what is
    wrong."""
    if not isinstance(source, dict):
        raise InvalidInput(f"{of} is {shown(source)}, but must be an object")
    found = {}
    name = ""
    try:
        for name, read, is_optional, default in schema.rows:
            value = source.get(name)
            found[name] = default if value is None and is_optional else read(value)
    except ValueError:
        value = source.get(name)
        if value is None:
            raise InvalidInput(f"{of}: there is no {name!r}") from None
        raise InvalidInput(
            f"{of}: {name} is {shown(value)}, but must be {schema.allowed[name]}"
        ) from None
    return found


def usable_fields(schema: Schema, source: Mapping[str, object]) -> dict[str, Any]:
    """Return an object's fields as its schema reads them, None for each invalid one."""
    found = {}
    for name, read, _, _ in schema.rows:
        value = source.get(name)
        try:
            found[name] = None if value is None else read(value)
        except ValueError:
            found[name] = None
    return found


def object_at(source: Any, *names: str, of: str) -> dict[str, Any]:
    """Return the nested object at the end of a path of names. Raises InvalidInput."""
    found = source
    try:
        for name in names:
            found = found[name]
    except (KeyError, TypeError):
        raise InvalidInput(_path_error(source, names, of)) from None
    if not isinstance(found, dict):
        raise InvalidInput(_path_error(source, names, of))
    return found


def _path_error(source: object, names: Sequence[str], of: str) -> str:
    """Return why a path does not lead to an object."""
    place = of
    for name in names:
        if not isinstance(source, dict):
            break
        if name not in source:
            return f"{place}: there is no {name!r}"
        source, place = source[name], place if name == DATA else f"{place}.{name}"
    return f"{place} is {shown(source)}, but must be an object"


def shown(value: object) -> str:
    """Return a value as an error message repeats it: short, on one line, in ASCII."""
    if isinstance(value, str):
        cut = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
        return ascii(cut)
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 4 * _SHOWN else "a huge number"
    if isinstance(value, float):
        return repr(value)
    return "a list" if isinstance(value, list) else "an object"


def storable(text: str, longest: int) -> str:
    """Return a text for people, cut and cleaned so that every database can store it."""
    return _ODD.sub("\ufffd", text[:longest])


# --- field types ----------------------------------------------------------------------------------
# This is a hot path, for every field of every message: the cheap test that nearly always holds is
# first.


def _of_text(text: str) -> str:
    if _ODD.search(text):
        raise ValueError
    return text


def _visible(longest: int, *, min_chars: int = 1) -> Callable[[object], str]:
    """Return a reader of texts that consist of the characters from ! to ~."""

    def read(value: object) -> str:
        if (
            type(value) is str
            and min_chars <= len(value) <= longest
            and value.isascii()
            and value.isprintable()
            and " " not in value
        ):
            return value
        raise ValueError

    return read


def _text(longest: int) -> FieldType:
    def read(value: object) -> str:
        if type(value) is str and len(value) <= longest:
            return value if value.isascii() and "\0" not in value else _of_text(value)
        raise ValueError

    return FieldType(
        f"a text of at most {longest} characters, without NUL or lone surrogates", read
    )


def _display(longest: int) -> FieldType:
    """A name that only people read: it is cut to the length of its column."""

    def read(value: object) -> str:
        if type(value) is str:
            return (value if value.isascii() and "\0" not in value else _of_text(value))[:longest]
        raise ValueError

    return FieldType("a text without NUL or lone surrogates", read)


def _trait(value: object) -> str:
    if type(value) is str and TRAIT_NAME.fullmatch(value):
        return value
    raise ValueError


def _uuid(value: object) -> str:
    found = uuid_of(value) if type(value) is str else None
    if found is None:
        raise ValueError
    return found


def _amount(value: object) -> int:
    if (
        type(value) is int and 0 <= value <= _MAX_AMOUNT
    ):  # bool is an int in Python, but True is not an amount
        return value
    raise ValueError


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _instant(value: object) -> datetime:
    if type(value) is not str or len(value) > 64:
        raise ValueError
    instant = datetime.fromisoformat(value)
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    # Compare before converting: the first and the last year of datetime overflow in other zones.
    if not _EARLIEST <= aware < _LATEST:
        raise ValueError
    return aware if aware.tzinfo is UTC else aware.astimezone(UTC)


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MAX_ENTRIES:
        raise ValueError
    for key, text in value.items():
        if type(text) is not str or len(key) > 255 or len(text) > 65_535:
            raise ValueError
        _of_text(key)
        _of_text(text)
    return value


def _list_of(item: FieldType) -> FieldType:
    def read(value: object) -> tuple[object, ...]:
        if not isinstance(value, list) or len(value) > _MAX_ENTRIES:
            raise ValueError
        return tuple(map(item.read, value))

    return FieldType(f"a list of at most {_MAX_ENTRIES}, each {item.allowed}", read)


UUID: Final = FieldType("a uuid", _uuid)
ID: Final = FieldType("an id of 1 to 64 printable characters without blanks", _visible(64))
NAME: Final = _text(255)
DISPLAY_NAME: Final = _display(255)
AMOUNT: Final = FieldType(f"an integer from 0 to {_MAX_AMOUNT}", _amount)
FLAG: Final = FieldType("true or false", _flag)
INSTANT: Final = FieldType("an instant from 2000 to 2199, such as 2026-01-01T12:00:00Z", _instant)
TEXTS: Final = FieldType(f"an object of at most {_MAX_ENTRIES} texts", _texts)
_TOKEN_FORM: Final = FieldType("a token", _visible(65_536, min_chars=0))
_TRAITS: Final = _list_of(FieldType("a trait such as HW_CPU_X86_VMX", _trait))
_HINT: Final = _list_of(NAME)
_HINTED: Final = FieldType(
    "a text, or a list of texts",
    lambda value: (NAME.read(value),) if isinstance(value, str) else _HINT.read(value),
)

# --- the schema of each object --------------------------------------------------------------------

HEADER: Final = Schema(
    {  # of any request to a conductor; no field is required
        "method": NAME,
        "namespace": NAME,
        "_context_project_id": ID,
        "_unique_id": ID,
        "_msg_id": ID,
        "_reply_q": FieldType("the name of a queue", _visible(255)),
    }
)
CONTEXT: Final = Schema(
    {  # of a request that Synergy stores
        "_unique_id": optional(ID),
        "_context_user_id": optional(ID),
        "_context_user_name": optional(DISPLAY_NAME, ""),
        "_context_auth_token": optional(_TOKEN_FORM, ""),
        "_context_roles": optional(_list_of(NAME), ()),
    }
)
REQUEST_SPEC: Final = Schema(
    {
        "instance_uuid": UUID,
        "project_id": ID,
        "user_id": optional(ID),
        "is_bfv": optional(FLAG, False),
    }
)
SERVER: Final = Schema({"instance_uuid": UUID})
SHAPE: Final = Schema({"is_bfv": optional(FLAG, False)})  # of a server that exists
PLACEMENT: Final = Schema(
    {  # the part of a request spec that restricts the choice of a host
        "availability_zone": optional(NAME, ""),
    }
)
HINTS: Final = Schema({"group": optional(_HINTED, ())})
IMAGE_PROPERTIES: Final = Schema({"traits_required": optional(_TRAITS, ())})
FLAVOR: Final = Schema(
    {
        "name": NAME,
        "vcpus": AMOUNT,
        "memory_mb": AMOUNT,
        "root_gb": optional(AMOUNT, 0),
        "ephemeral_gb": optional(AMOUNT, 0),
        "swap": optional(AMOUNT, 0),
        "extra_specs": optional(TEXTS, {}),
    }
)
NEW_INSTANCE: Final = Schema(
    {
        "uuid": UUID,
        "display_name": optional(DISPLAY_NAME, ""),
        "created_at": INSTANT,
        "reservation_id": optional(ID),
        "metadata": optional(TEXTS, {}),
        "user_data": optional(_text(2**20)),
    }
)
CHANGED_INSTANCE: Final = Schema(
    {
        "uuid": UUID,
        "project_id": ID,
        "image_ref": optional(NAME, ""),
    }
)
NOTIFICATION: Final = Schema(
    {
        "event_type": NAME,
        "message_id": NAME,
        "timestamp": INSTANT,
        "publisher_id": optional(NAME, ""),
    }
)
NOTIFIED_SERVER: Final = Schema(
    {  # versioned payloads use the first or second name
        "uuid": optional(UUID),
        "instance_uuid": optional(UUID),
        "instance_id": optional(UUID),
        "host": optional(NAME),
    }
)
MSG_ID: Final = Schema({"_msg_id": ID})  # of a reply
OWNER: Final = Schema({"project_id": ID})  # of a server that is to change
