"""What answers are made of: counts, instants, amounts, and the words of our enumerations.

Must not know any answer.
"""

from enum import StrEnum
from typing import Annotated, Final

from synergy.core.declared import kinds
from synergy.core.declared.kinds import RESOURCE_CLASS_PATTERN
from synergy.core.declared.shapes import Also, Instead
from synergy.core.lifecycle import Event as LifecycleEvent
from synergy.core.model import QuotaKind, State
from synergy.core.reasons import Reason

OPERATORS_ONLY: Final = "x-operators-only"
FOREIGN_TEXT: Final = "x-foreign-text"
OPERATORS: Final = Also({OPERATORS_ONLY: True})  # null for everybody who does not operate the cloud
FOREIGN: Final = Also({FOREIGN_TEXT: True})  # beside an `event` or a `state`, in words of others


def words(kind: type[StrEnum]) -> Also:
    """Return that a text is one of the words of `kind`."""
    return Also({"enum": [one.value for one in kind]})


Count = Annotated[int, Also({"minimum": 0})]
At = Annotated[str, Instead(kinds.Instant().schema())]
Amounts = Annotated[dict[str, int], Instead(kinds.Amounts().shown_schema())]
Hours = Annotated[
    dict[str, float],
    Instead(
        {
            "type": "object",
            "patternProperties": {RESOURCE_CLASS_PATTERN: {"type": "number"}},
            "additionalProperties": False,
        }
    ),
]
Limits = Annotated[
    dict[str, int | None],
    Instead({"type": "object", "additionalProperties": {"type": ["integer", "null"]}}),
]
RawShares = Annotated[int | str, Instead(kinds.Shares().schema())]
StateWord = Annotated[str, words(State)]
QuotaWord = Annotated[str, words(QuotaKind)]
# The quotas that a request may start on; once it is dispatched, the one that it claims.
QuotaWords = Annotated[list[str], Instead({"type": "array", "items": {"enum": [*QuotaKind]}})]
EventWord = Annotated[str, words(LifecycleEvent)]
ReasonWord = Annotated[str, words(Reason)]
