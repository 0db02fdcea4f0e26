"""The kinds of value that people and programs give: what each may be, in JSON and in words.

Why: the bounds of a value are checked, published, offered and documented in several places, which
must agree. Must not know what a value is for, nor how any of those places look.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Final, Self

from synergy.core.errors import InvalidInput

Schema = dict[str, Any]
# Python's $ also matches before a newline that ends the text; that of JSON Schema does not.
END: Final = r"$(?!\n)"
TEXT_PATTERN: Final = rf"^[^\x00-\x1f]+{END}"
RESOURCE_CLASS: Final = re.compile(r"[A-Z][A-Z0-9_]{0,254}")
RESOURCE_CLASS_PATTERN: Final = f"^{RESOURCE_CLASS.pattern}{END}"
MAX: Final = 2**31 - 1  # what a column of whole numbers holds
LONGEST_ID: Final = 64
DAY_S: Final = 86_400
_MAX_OF_A_CLASS: Final = 2**53 - 1
_MAX_CLASSES: Final = 100


def or_null(schema: Mapping[str, Any]) -> Schema:
    """Return a schema that null fits too."""
    return {"anyOf": [dict(schema), {"type": "null"}]}


def read_instant(name: str, text: str) -> datetime:
    """Read ISO 8601; without an offset it is UTC. Raises InvalidInput naming the parameter."""
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{name} is {text!r}, but must be an instant such as 2026-01-31T12:00:00Z"
        ) from error


class Explained(StrEnum):
    """Words, each declared with what it means."""

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> Self:
        """Make a member of the word and its meaning; a member is looked up by the word alone."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        return member


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value may be.

    schema        the JSON Schema of what may be given
    shown_schema  the JSON Schema of what answers show
    words         what may be given, in words
    read, show    JSON to the value and back; `read` expects what fits the schema, and raises
                  InvalidInput naming what the value is `of` where a schema cannot tell
    note          a sentence about a special value, "" without one
    nullable      whether the value may be None
    """

    nullable: ClassVar[bool] = False

    @property
    def note(self) -> str:
        return ""

    def schema(self) -> Schema:
        """Return the JSON Schema of what may be given."""
        raise NotImplementedError

    def shown_schema(self) -> Schema:
        """Return the JSON Schema of what answers show."""
        return self.schema()

    def words(self) -> str:
        """Return what may be given, in words."""
        raise NotImplementedError

    def read(self, given: object, of: str = "the value") -> object:
        """Return the value of what was given as JSON."""
        return given

    def show(self, value: object) -> object:
        """Return a value as JSON."""
        return value


@dataclass(frozen=True, slots=True)
class Number(Kind):
    """A whole number between two bounds, both included."""

    minimum: int
    maximum: int
    unit: str = ""

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}

    def words(self) -> str:
        of_unit = f" of {self.unit}" if self.unit else ""
        return f"a whole number{of_unit}, {self.minimum} to {self.maximum}"


@dataclass(frozen=True, slots=True)
class Flag(Kind):
    """True or false."""

    def schema(self) -> Schema:
        return {"type": "boolean"}

    def words(self) -> str:
        return "true or false"


@dataclass(frozen=True, slots=True)
class Switch(Flag):
    """True when it is given, and false otherwise."""


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    """One of several words; a member of an enum where the words are one."""

    among: Iterable[str]

    @property
    def texts(self) -> list[str]:
        """The words."""
        return [str(word) for word in self.among]

    def schema(self) -> Schema:
        said = "; ".join(f"{one}: {one.meaning}" for one in self._explained)
        about = {"description": f"{said}."} if said else {}
        return {"type": "string", "enum": self.texts, **about}

    def words(self) -> str:
        meanings = "; ".join(f"``{one}``: {one.meaning}" for one in self._explained)
        return meanings or "one of " + ", ".join(f"``{word}``" for word in self.texts)

    @property
    def _explained(self) -> list[Explained]:
        return [word for word in self.among if isinstance(word, Explained)]

    def read(self, given: object, of: str = "the value") -> object:
        return next(word for word in self.among if word == given)

    def show(self, value: object) -> object:
        return str(value)


@dataclass(frozen=True, slots=True)
class Text(Kind):
    """A line of text; control characters are in no name."""

    longest: int = 255
    pattern: str = TEXT_PATTERN

    def schema(self) -> Schema:
        return {
            "type": "string",
            "minLength": 1,
            "maxLength": self.longest,
            "pattern": self.pattern,
        }

    def words(self) -> str:
        return f"text of at most {self.longest} characters"


@dataclass(frozen=True, slots=True)
class ProjectId(Text):
    """The id of a project; the command line takes a name too."""

    longest: int = LONGEST_ID


@dataclass(frozen=True, slots=True)
class UserId(Text):
    """The id of a user; the command line takes a name too, where it can look one up."""

    longest: int = LONGEST_ID
    by_name: bool = True


@dataclass(frozen=True, slots=True)
class RequestId(Text):
    """The id of a request."""

    longest: int = LONGEST_ID


@dataclass(frozen=True, slots=True)
class Instant(Kind):
    """An instant in ISO 8601; without an offset it is UTC."""

    def schema(self) -> Schema:
        return {"type": "string", "format": "date-time", "minLength": 1, "maxLength": 40}

    def words(self) -> str:
        return "an instant such as 2026-01-31T12:00:00Z"

    def read(self, given: object, of: str = "the value") -> object:
        return read_instant(of, str(given))


@dataclass(frozen=True, slots=True)
class Shares(Kind):
    """Shares among siblings; None, `parent` in JSON, is none of its own."""

    nullable: ClassVar[bool] = True

    @property
    def note(self) -> str:
        return "parent: none of its own."

    def schema(self) -> Schema:
        return {
            "anyOf": [
                # The largest number that a column holds is how `parent` is stored.
                {"type": "integer", "minimum": 0, "maximum": MAX - 1},
                {"const": "parent", "type": "string"},
            ]
        }

    def words(self) -> str:
        return f"a whole number, 0 to {MAX - 1}, or ``parent``"

    def read(self, given: object, of: str = "the value") -> object:
        return None if given == "parent" else given

    def show(self, value: object) -> object:
        return "parent" if value is None else value


@dataclass(frozen=True, slots=True)
class Amounts(Kind):
    """Amounts by Placement resource class. What is given changes the classes that it names: null
    takes the bound of a class away, so the value depends on the one before, and is not read here.
    """

    def schema(self) -> Schema:
        amount = {"type": ["integer", "null"], "minimum": 0, "maximum": _MAX_OF_A_CLASS}
        return {
            "type": "object",
            "description": "Amounts by Placement resource class; null: not bounded. What is absent "
            "stays.",
            "patternProperties": {RESOURCE_CLASS_PATTERN: amount},
            "additionalProperties": False,
            "maxProperties": _MAX_CLASSES,
        }

    def shown_schema(self) -> Schema:
        return {
            "type": "object",
            "description": "Amounts by Placement resource class.",
            "patternProperties": {RESOURCE_CLASS_PATTERN: {"type": "integer"}},
            "additionalProperties": False,
        }

    def words(self) -> str:
        return "amounts by resource class"

    def show(self, value: Any) -> object:
        return dict(value)


@dataclass(frozen=True, slots=True)
class OrNone(Kind):
    """A kind or null; `means` says what null is: "no limit"."""

    kind: Kind
    means: str

    nullable: ClassVar[bool] = True

    @property
    def note(self) -> str:
        return f"null: {self.means}."

    def schema(self) -> Schema:
        return or_null(self.kind.schema())

    def shown_schema(self) -> Schema:
        return or_null(self.kind.shown_schema())

    def words(self) -> str:
        return f"{self.kind.words()}, or null"

    def read(self, given: object, of: str = "the value") -> object:
        return None if given is None else self.kind.read(given, of)

    def show(self, value: object) -> object:
        return None if value is None else self.kind.show(value)


@dataclass(frozen=True, slots=True)
class Several(Kind):
    """A list of a kind; of a `unique` one no value twice."""

    kind: Kind
    unique: bool = False

    def schema(self) -> Schema:
        found: Schema = {"type": "array", "items": self.kind.schema()}
        return found | ({"uniqueItems": True} if self.unique else {})

    def words(self) -> str:
        return f"{self.kind.words()}; may be given several times"

    def read(self, given: Any, of: str = "the value") -> object:
        return tuple(self.kind.read(one, of) for one in given)

    def show(self, value: Any) -> object:
        return [self.kind.show(one) for one in value]


@dataclass(frozen=True, slots=True)
class Properties(Kind):
    """The metadata of a server, as Nova bounds it."""

    def schema(self) -> Schema:
        text = {"type": "string", "maxLength": 255}
        return {"type": "object", "maxProperties": 128, "additionalProperties": text}

    def words(self) -> str:
        return "an object of texts"


def plain(kind: Kind) -> Kind:
    """Return the kind without its null."""
    return kind.kind if isinstance(kind, OrNone) else kind
