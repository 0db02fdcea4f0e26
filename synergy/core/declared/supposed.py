"""What may be supposed of a living queue: other shares and quotas, another policy, hosts, requests.

Why: the schema of the API, the options of the command line and what the scheduler makes of them
must agree. Must not know what follows from a supposition.
"""

from collections.abc import Mapping
from typing import Final

from synergy.core.declared.fields import schemas_of
from synergy.core.declared.kinds import (
    DAY_S,
    LONGEST_ID,
    RESOURCE_CLASS_PATTERN,
    TEXT_PATTERN,
    Properties,
    Schema,
)
from synergy.core.declared.settings import PROJECT_SETTINGS
from synergy.core.declared.shapes import object_of
from synergy.core.discipline import Discipline

OF_PROJECT: Final = ("raw_shares", "private", "borrow_limit", "lend_limit", "suspended")
_MAX: Final = 1000


def _number(what: str, maximum: int, minimum: int = 0) -> Schema:
    return {"type": "integer", "minimum": minimum, "maximum": maximum, "description": what}


_TEXT: Final[Schema] = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": TEXT_PATTERN,
}
_ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": LONGEST_ID}
# The options of [scheduler] that may be supposed, as a configuration file names them.
FORMER_NAMES: Final = {"most_reserved": "max_reserved"}  # in files of operators
POLICY: Final[Mapping[str, Schema]] = {
    "discipline": {
        "type": "string",
        "enum": [one.value for one in Discipline],
        "description": "How a round goes through the queue.",
    },
    "backfill_depth": _number("Of greedy.", 1_000_000),
    "reserve_depth": _number("Of easy and easy_sjbf.", 1000, 1),
    "max_reserved": _number("Of conservative.", 100_000, 1),
    **{
        f"weight_{name}": _number(f"Weight of the {name} factor.", 2**32 - 1)
        for name in ("age", "fairshare", "size", "qos", "partition", "association")
    },
    "weight_tres": {
        "type": "object",
        "maxProperties": 100,
        "propertyNames": {"pattern": RESOURCE_CLASS_PATTERN},
        "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1e12},
        "description": "Weight of the part of the cloud that is asked for, by resource class.",
    },
    "max_age_s": {
        "type": "number",
        "minimum": 0,
        "maximum": 366 * DAY_S,
        "description": "Seconds in the queue after which the age factor is 1.",
    },
}
_AMOUNTS: Final[Schema] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 100,
    "patternProperties": {
        RESOURCE_CLASS_PATTERN: {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
    },
    "additionalProperties": False,
}
_REQUESTS: Final[Schema] = object_of(
    {
        "project": _TEXT,
        "user": _TEXT,
        "flavor": _TEXT,
        "count": {"type": "integer", "minimum": 1, "maximum": 1000},
        "metadata": Properties().schema(),
    },
    required=("project", "flavor"),
)


def _list(items: Schema, what: str) -> Schema:
    return {"type": "array", "items": items, "minItems": 1, "maxItems": _MAX, "description": what}


SUPPOSED: Final[Mapping[str, Schema]] = {
    "projects": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": _MAX,
        "description": "By name or id: its shares, private quota, limits, or whether it is "
        "suspended.",
        "additionalProperties": object_of(
            schemas_of([one for one in PROJECT_SETTINGS if one.name in OF_PROJECT])
        ),
    },
    "policy": {**object_of(POLICY), "minProperties": 1, "description": "Options of the scheduler."},
    "half_life_s": {
        "type": "number",
        "minimum": 0,
        "maximum": 366 * DAY_S,
        "description": "After how many seconds past usage counts half from now on; 0: it never "
        "fades.",
    },
    "hosts_down": _list(_TEXT, "Hosts by name that take no more servers; what runs there goes on."),
    "hosts_added": _list(_AMOUNTS, "What each of these hosts has, by resource class."),
    "requests": _list(_REQUESTS, "Servers that somebody asks for now."),
    "withdraw": _list(_ID, "Ids of waiting requests that are withdrawn."),
}
