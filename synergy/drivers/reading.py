"""Reads what others send: each field that Synergy uses has a type, a length and a form, in a table.

Why: a field that is not what it should be has to be noticed at the edge, where it concerns its own
message; in a transaction or a round it would stop everybody's. Lengths are at most those of the
columns that the values are stored in. Must not know who sends a message, nor what follows from it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from synergy.core.errors import InvalidInput
from synergy.core.ids import uuid_of

DATA: Final = "nova_object.data"  # where a primitive of Nova has its fields
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_MOST_AMOUNT: Final = 2**31 - 1  # Nova keeps what a flavor asks for in integers of 32 bits
_MOST_ENTRIES: Final = 1000
_SHOWN: Final = 60  # characters of a value that a reason repeats
_TRAIT: Final = re.compile(r"[A-Z0-9_]{1,255}")
_ODD: Final = re.compile("[\0\ud800-\udfff]")  # what a database's text column refuses


@dataclass(frozen=True, slots=True)
class Form:
    """What a field must look like.

    allowed   said to who sent something else
    read      returns the value as Synergy uses it; raises ValueError, and so it does for null
    optional  a field that is absent or null counts as `default`
    """

    allowed: str
    read: Callable[[object], object]
    optional: bool = False
    default: object = None


class Table:
    """The forms of the fields of one thing.

    They are kept as plain tuples: every message is read by several tables, and nothing is as quick
    to walk through.
    """

    __slots__ = ("allowed", "rows")

    def __init__(self, forms: Mapping[str, Form]) -> None:
        self.rows = tuple(
            (name, form.read, form.optional, form.default) for name, form in forms.items()
        )
        self.allowed = {name: form.allowed for name, form in forms.items()}


def optional(form: Form, default: object = None) -> Form:
    """Return the form of a field that may be absent."""
    return replace(form, optional=True, default=default)


def read_fields(table: Table, source: object, of: str) -> dict[str, Any]:
    """Return the fields of a table from an object. Raises InvalidInput naming what is wrong."""
    if not isinstance(source, dict):
        raise InvalidInput(f"{of} is {shown(source)}, but must be an object")
    found = {}
    name = ""
    try:
        for name, read, is_optional, default in table.rows:
            value = source.get(name)
            found[name] = default if value is None and is_optional else read(value)
    except ValueError:
        value = source.get(name)
        if value is None:
            raise InvalidInput(f"{of}: there is no {name!r}") from None
        raise InvalidInput(
            f"{of}: {name} is {shown(value)}, but must be {table.allowed[name]}"
        ) from None
    return found


def usable_fields(table: Table, source: Mapping[str, object]) -> dict[str, Any]:
    """Return the fields of a table, None for those that are not what they must be."""
    found = {}
    for name, read, _, _ in table.rows:
        value = source.get(name)
        try:
            found[name] = None if value is None else read(value)
        except ValueError:
            found[name] = None
    return found


def inside(source: Any, *names: str, of: str) -> dict[str, Any]:
    """Return the object that lies at the end of a path. Raises InvalidInput."""
    found = source
    try:
        for name in names:
            found = found[name]
    except (KeyError, TypeError):
        raise InvalidInput(_where_a_path_ends(source, names, of)) from None
    if not isinstance(found, dict):
        raise InvalidInput(_where_a_path_ends(source, names, of))
    return found


def _where_a_path_ends(source: object, names: Sequence[str], of: str) -> str:
    """Return what is wrong on a path that does not lead to an object."""
    place = of
    for name in names:
        if not isinstance(source, dict):
            break
        if name not in source:
            return f"{place}: there is no {name!r}"
        source, place = source[name], place if name == DATA else f"{place}.{name}"
    return f"{place} is {shown(source)}, but must be an object"


def shown(value: object) -> str:
    """Return a value as a reason repeats it: short, on one line, and with nothing odd in it."""
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
    """Return a text that only people read, so that every database can keep it."""
    return _ODD.sub("\ufffd", text[:longest])


# --- forms ----------------------------------------------------------------------------------------
# Every field of every message passes here: what is quick to ask, and nearly always so, is first.


def _of_text(text: str) -> str:
    if _ODD.search(text):
        raise ValueError
    return text


def _visible(longest: int, *, least: int = 1) -> Callable[[object], str]:
    """Return what reads texts of the characters from ! to ~ only."""

    def read(value: object) -> str:
        if (
            type(value) is str
            and least <= len(value) <= longest
            and value.isascii()
            and value.isprintable()
            and " " not in value
        ):
            return value
        raise ValueError

    return read


def _text(longest: int) -> Form:
    def read(value: object) -> str:
        if type(value) is str and len(value) <= longest:
            return value if value.isascii() and "\0" not in value else _of_text(value)
        raise ValueError

    return Form(f"a text of at most {longest} characters, without NUL or lone surrogates", read)


def _display(longest: int) -> Form:
    """A name that only people read: what is longer than its column is cut."""

    def read(value: object) -> str:
        if type(value) is str:
            return (value if value.isascii() and "\0" not in value else _of_text(value))[:longest]
        raise ValueError

    return Form("a text without NUL or lone surrogates", read)


def _trait(value: object) -> str:
    if type(value) is str and _TRAIT.fullmatch(value):
        return value
    raise ValueError


def _uuid(value: object) -> str:
    found = uuid_of(value) if type(value) is str else None
    if found is None:
        raise ValueError
    return found


def _amount(value: object) -> int:
    if type(value) is int and 0 <= value <= _MOST_AMOUNT:  # True is no amount
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
    # Compared before it is converted: the first and the last year have no UTC in other zones.
    if not _EARLIEST <= aware < _LATEST:
        raise ValueError
    return aware if aware.tzinfo is UTC else aware.astimezone(UTC)


def _texts(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MOST_ENTRIES:
        raise ValueError
    for key, text in value.items():
        if type(text) is not str or len(key) > 255 or len(text) > 65_535:
            raise ValueError
        _of_text(key)
        _of_text(text)
    return value


def _list_of(form: Form) -> Form:
    def read(value: object) -> tuple[object, ...]:
        if not isinstance(value, list) or len(value) > _MOST_ENTRIES:
            raise ValueError
        return tuple(map(form.read, value))

    return Form(f"a list of at most {_MOST_ENTRIES}, each {form.allowed}", read)


UUID: Final = Form("a uuid", _uuid)
ID: Final = Form("an id of 1 to 64 printable characters without blanks", _visible(64))
NAME: Final = _text(255)
DISPLAY_NAME: Final = _display(255)
AMOUNT: Final = Form(f"an integer from 0 to {_MOST_AMOUNT}", _amount)
FLAG: Final = Form("true or false", _flag)
INSTANT: Final = Form("an instant from 2000 to 2199, such as 2026-01-01T12:00:00Z", _instant)
TEXTS: Final = Form(f"an object of at most {_MOST_ENTRIES} texts", _texts)
_TOKEN_FORM: Final = Form("a token", _visible(65_536, least=0))
_TRAITS: Final = _list_of(Form("a trait such as HW_CPU_X86_VMX", _trait))
_HINT: Final = _list_of(NAME)
_HINTED: Final = Form(
    "a text, or a list of texts",
    lambda value: (NAME.read(value),) if isinstance(value, str) else _HINT.read(value),
)

# --- what Synergy reads of each thing -------------------------------------------------------------

OUTLINE: Final = Table(
    {  # of any request to a conductor; nothing of it is required
        "method": NAME,
        "namespace": NAME,
        "_context_project_id": ID,
        "_unique_id": ID,
        "_msg_id": ID,
        "_reply_q": Form("the name of a queue", _visible(255)),
    }
)
CONTEXT: Final = Table(
    {  # of a request that is kept
        "_unique_id": optional(ID),
        "_context_user_id": optional(ID),
        "_context_user_name": optional(DISPLAY_NAME, ""),
        "_context_auth_token": optional(_TOKEN_FORM, ""),
        "_context_roles": optional(_list_of(NAME), ()),
    }
)
REQUEST_SPEC: Final = Table(
    {
        "instance_uuid": UUID,
        "project_id": ID,
        "user_id": optional(ID),
        "is_bfv": optional(FLAG, False),
    }
)
SERVER: Final = Table({"instance_uuid": UUID})
SHAPE: Final = Table({"is_bfv": optional(FLAG, False)})  # of a server that exists
PLACEMENT: Final = Table(
    {  # what of a request spec binds the choice of a host
        "availability_zone": optional(NAME, ""),
    }
)
HINTS: Final = Table({"group": optional(_HINTED, ())})
IMAGE_PROPERTIES: Final = Table({"traits_required": optional(_TRAITS, ())})
FLAVOR: Final = Table(
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
NEW_INSTANCE: Final = Table(
    {
        "uuid": UUID,
        "display_name": optional(DISPLAY_NAME, ""),
        "created_at": INSTANT,
        "reservation_id": optional(ID),
        "metadata": optional(TEXTS, {}),
        "user_data": optional(_text(2**20)),
    }
)
CHANGED_INSTANCE: Final = Table(
    {
        "uuid": UUID,
        "project_id": ID,
        "image_ref": optional(NAME, ""),
    }
)
NOTIFICATION: Final = Table(
    {
        "event_type": NAME,
        "message_id": NAME,
        "timestamp": INSTANT,
        "publisher_id": optional(NAME, ""),
    }
)
NOTIFIED_SERVER: Final = Table(
    {  # versioned payloads use the first or second name
        "uuid": optional(UUID),
        "instance_uuid": optional(UUID),
        "instance_id": optional(UUID),
        "host": optional(NAME),
    }
)
MSG_ID: Final = Table({"_msg_id": ID})  # of a reply
OWNER: Final = Table({"project_id": ID})  # of a server that is to change
